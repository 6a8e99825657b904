//! What is stored about a run, checked against the engine's rules.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use dags::ids::TaskId;
use engine::{
    rows::{RunRow, TaskRow},
    state::TaskState,
    transition::{self, Event},
};
use migrations::{
    Db, TenantScope,
    store::{
        self, Window,
        task_instance::{TaskFilter, list},
    },
};

const EVERYTHING: Window = Window { limit: 100_000, offset: 0 };

/// The task instances of a run.
pub async fn tasks(db: &Db, scope: TenantScope, run: &RunRow) -> anyhow::Result<Vec<TaskRow>> {
    Ok(list(db, scope, run.run, &TaskFilter::default(), EVERYTHING).await?.rows)
}

/// Every step of every task instance is one that the engine's rules allow, and the last one is the stored state.
pub async fn is_legal(db: &Db, scope: TenantScope, run: &RunRow) -> anyhow::Result<()> {
    let mut states: BTreeMap<(TaskId, i32), (TaskState, u32)> = BTreeMap::new();
    let mut steps = 0;
    for event in store::event::of_run(db, scope, run.run).await? {
        for step in event.transitions {
            let Some(task) = step.task else { continue };
            if &*step.to == "repaired" {
                ensure!(step.reason.is_some(), "what was put right about {task:?} isn't told");
                continue;
            }
            let to = TaskState::ALL.iter().find(|state| state.as_str() == &*step.to);
            let to = *to.with_context(|| format!("{} is no state", step.to))?;
            let (state, try_number) = states.entry(task.clone()).or_insert((TaskState::None, 0));
            let legal = Event::ALL.iter().any(|event| transition::next(*state, *event) == Ok(to));
            ensure!(legal, "{task:?} of {} went from {state} to {to}", run.run_name);
            ensure!(
                step.try_number == *try_number || step.try_number == *try_number + 1,
                "{task:?} of {} went from try {try_number} to {}",
                run.run_name,
                step.try_number
            );
            (*state, *try_number) = (to, step.try_number);
            steps += 1;
        }
    }
    ensure!(steps > 0, "{} has no history", run.run_name);
    for row in tasks(db, scope, run).await? {
        let key = (row.task.clone(), row.map_index);
        let last = states.get(&key).copied();
        ensure!(
            last == Some((row.state, row.try_number)),
            "the history of {key:?} of {} ends as {last:?}, but its row says {:?} in try {}",
            run.run_name,
            row.state,
            row.try_number
        );
    }
    Ok(())
}

/// Nothing of a run is under way any more.
pub async fn is_settled(db: &Db, scope: TenantScope, run: &RunRow) -> anyhow::Result<()> {
    for row in tasks(db, scope, run).await? {
        let RunRow { run_name, .. } = run;
        ensure!(
            row.state.is_finished(),
            "{} {} of {run_name} is left {}",
            row.task,
            row.map_index,
            row.state
        );
    }
    Ok(())
}
