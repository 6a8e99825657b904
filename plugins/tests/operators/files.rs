//! `file_sensor` on a real folder.

use crate::attempt::Attempt;
use dags::time::Span;
use plugins::operator::Outcome;
use serde_json::json;

fn sensor(folder: &tempfile::TempDir, more: &serde_json::Value) -> Attempt {
    let mut args = json!({"path": folder.path().join("*.csv"), "interval": "10ms"});
    for (name, value) in more.as_object().unwrap() {
        args[name] = value.clone();
    }
    Attempt::of("file_sensor", &args)
}

#[test]
fn a_sensor_that_pokes_stays_until_the_file_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    let poking = sensor(&folder, &json!({"mode": "poke", "min_bytes": 1}));
    let ended = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| poking.run());
        std::fs::write(folder.path().join("empty.csv"), "").unwrap();
        std::fs::write(folder.path().join("a.txt"), "1").unwrap();
        std::fs::write(&path, "1").unwrap();
        waiting.join().unwrap()
    });
    assert_eq!((ended.outcome, ended.result), (Outcome::Success, Some(json!([path]))));
}

#[test]
fn a_sensor_that_pokes_gives_up_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let reason = format!("gave up after 100ms: nothing matches {}", folder.path().join("*.csv").display());
    let hard = sensor(&folder, &json!({"mode": "poke", "timeout": "100ms"})).run();
    assert_eq!(hard.outcome, Outcome::FailedForGood { reason: reason.clone() });
    let soft = sensor(&folder, &json!({"mode": "poke", "timeout": "100ms", "soft_fail": true})).run();
    assert_eq!(soft.outcome, Outcome::Skipped { reason });
}

#[test]
fn otherwise_a_sensor_gives_its_slot_back_after_one_look() {
    let folder = tempfile::tempdir().unwrap();
    let ended = sensor(&folder, &json!({"interval": "5m"})).run();
    assert_eq!(ended.outcome, Outcome::Reschedule { after: Span::seconds(300) });
    std::fs::write(folder.path().join("a.csv"), "1").unwrap();
    assert_eq!(sensor(&folder, &json!({})).run().outcome, Outcome::Success);
}
