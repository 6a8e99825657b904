//! What is stored about a run, checked against the rules.

use std::collections::BTreeMap;

use dags::ids::TaskId;
use engine::{
    rows::RunRow,
    state::TaskState,
    transition::{self, Event},
};
use migrations::store;

use crate::site::{SCOPE, Site};

/// Every step of every task instance is one that the engine's rules allow, and the last one is the stored state.
pub(crate) async fn is_legal(site: &Site, run: &RunRow) {
    let mut states: BTreeMap<(TaskId, i32), (TaskState, u32)> = BTreeMap::new();
    let mut steps = 0;
    for event in store::event::of_run(&site.db, SCOPE, run.run).await.unwrap() {
        for step in event.transitions {
            let Some(task) = step.task else { continue };
            if &*step.to == "repaired" {
                assert!(step.reason.is_some(), "it says what was put right");
                continue;
            }
            let to: TaskState =
                *TaskState::ALL.iter().find(|state| state.as_str() == &*step.to).expect("a known state");
            let (state, try_number) = states.entry(task.clone()).or_insert((TaskState::None, 0));
            let legal = Event::ALL.iter().any(|event| transition::next(*state, *event) == Ok(to));
            assert!(legal, "{task:?} of {} went from {state} to {to}", run.run_name);
            assert!(
                step.try_number == *try_number || step.try_number == *try_number + 1,
                "{task:?} went from try {try_number} to {}",
                step.try_number
            );
            (*state, *try_number) = (to, step.try_number);
            steps += 1;
        }
    }
    assert!(steps > 0, "{} has a history", run.run_name);
    for row in site.tasks(run).await {
        let key = (row.task.clone(), row.map_index);
        let last = states.get(&key).copied();
        assert_eq!(last, Some((row.state, row.try_number)), "the history of {key:?} ends as its row says");
    }
}

/// Nothing of a run is under way any more.
pub(crate) async fn is_settled(site: &Site, run: &RunRow) {
    for row in site.tasks(run).await {
        assert!(row.state.is_finished(), "{} {} is left {}", row.task, row.map_index, row.state);
    }
}
