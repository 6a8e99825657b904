//! Queues that outlast `hold_after`: holds go by age, fair shares don't, and nobody pays for that with tasks that are ended.

use serde_json::{Value, json};

use crate::{
    fast::Fast,
    scenario::{Run, Scenario},
};

/// Places that the tenants share.
const PLACES: i64 = 24;
/// The longest time that a task runs.
const LONGEST: i64 = 9;

/// When the last tenant comes.
const LAST_COMES: i64 = 50;

/// Three tenants on one flavor: the first fills it, the others come later, and all have more to do than fits for long.
fn story(hold_after: Option<i64>) -> Scenario {
    let tenants = [("vision", 8, 1, 0, 240), ("speech", 8, 2, 25, 160), ("search", 4, 1, LAST_COMES, 80)];
    let quota = |nominal: i64| json!({"k/f": {"members": {"nominal": nominal}}});
    let nodes: Vec<Value> = tenants
        .iter()
        .map(|(id, nominal, weight, ..)| json!({"id": id, "parent": "root", "weight": weight, "quota": quota(*nominal)}))
        .collect();
    let mut events = Vec::new();
    for (id, _, _, t, tasks) in tenants {
        for n in 0..tasks {
            events.push(
                json!({"t": t, "submit": {"id": format!("{id}{n}"), "tenant": id, "request": {"members": 1},
                "duration": 5 + n % (LONGEST - 4)}}),
            );
        }
    }
    let text = json!({"name": "queues", "hold_after": hold_after, "end_delay": 1,
        "flavors": [{"id": "k/f", "cluster": "k", "capacity": {"members": PLACES}}],
        "cohorts": [{"id": "root", "quota": quota(4)}], "tenants": nodes, "events": events});
    serde_json::from_value(text).unwrap()
}

#[test]
fn tasks_dont_give_way_for_as_long_as_queues_last() {
    for hold_after in [0, 5, 20] {
        let mut run = Run::<Fast>::new(&story(Some(hold_after)));
        while run.step(None) {}
        let all =
            |what: &str| -> Vec<&Value> { run.trace.iter().filter(|entry| entry["do"] == what).collect() };
        let at = |entry: &Value| entry["t"].as_i64().unwrap();
        let holds = all("hold");
        assert!(
            holds.len() > 100 && at(holds[holds.len() - 1]) > LAST_COMES + 50,
            "with {hold_after} the queues last, and holds let most of it in: {}",
            holds.len()
        );
        let gave_way = all("preempt");
        let says = format!("with {hold_after} {} tasks gave way: {gave_way:?}", gave_way.len());
        assert!(gave_way.len() as i64 <= PLACES, "{says}");
        // Each tenant that comes has its own back, and then everybody keeps what he has.
        assert!(gave_way.iter().all(|entry| at(entry) <= LAST_COMES + LONGEST), "{says}");
    }
}
