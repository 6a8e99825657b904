//! Section 15: assets.

use dags::model::{AssetCondition, When};
use engine::{command::Command, driver::Input, state::TaskState};

use crate::{builder::*, lab::*};

/// `p` updates `x` and `y`; `c` consumes as the caller says.
fn lab_with(consumer: DagBuilder) -> Lab {
    let mut lab = Lab::new();
    lab.activate(dag("p").task(bash("px").outlets(["x"])).task(bash("py").outlets(["y"])));
    lab.activate(consumer);
    lab
}

fn consumer() -> DagBuilder {
    dag("c").task(bash("c"))
}

fn event(lab: &mut Lab, asset: &str) {
    lab.request(Command::AssetEvent { asset: asset.to_owned(), extra: serde_json::Map::new() }).unwrap();
}

fn runs(lab: &Lab) -> usize {
    lab.journal.runs.values().filter(|row| row.dag_id.as_str() == "c").count()
}

#[test]
fn a_success_is_an_event_and_makes_a_run() {
    let mut lab = lab_with(consumer().on_any_asset(["x"]));
    lab.trigger("p");
    lab.run("px").succeeds();
    assert_eq!(runs(&lab), 1);
    let row = lab.journal.runs.values().find(|row| row.dag_id.as_str() == "c").unwrap();
    let event = &lab.journal.asset_events[0];
    assert_eq!((row.logical_date, row.run_after), (None, event.at));
    assert!(row.run_name.as_str().starts_with("asset_triggered__"));
    assert_eq!(event.source.as_ref().unwrap().1.as_str(), "px");
    assert!(lab.journal.pending_assets.is_empty());
}

#[test]
fn only_a_success_is_an_event() {
    let mut lab = lab_with(consumer().on_any_asset(["x", "y"]));
    lab.trigger("p");
    lab.run("px").fails();
    lab.run("py").skips();
    assert_eq!((runs(&lab), lab.journal.asset_events.len()), (0, 0));
}

#[test]
fn all_wants_one_of_each() {
    let mut lab = lab_with(consumer().on_all_assets(["x", "y"]));
    event(&mut lab, "x");
    assert_eq!(runs(&lab), 0);
    lab.crash();
    event(&mut lab, "y");
    assert_eq!(runs(&lab), 1);
    event(&mut lab, "y");
    assert_eq!(runs(&lab), 1, "all pending events were used");
}

#[test]
fn conditions_nest() {
    let asset = |name: &str| AssetCondition::Asset(name.to_owned());
    let condition = AssetCondition::Any(vec![asset("z"), AssetCondition::All(vec![asset("x"), asset("y")])]);
    let mut lab = lab_with(consumer().when(When::Assets(condition)));
    event(&mut lab, "x");
    assert_eq!(runs(&lab), 0);
    event(&mut lab, "z");
    assert_eq!(runs(&lab), 1);
    event(&mut lab, "y");
    assert_eq!(runs(&lab), 1, "`x` was used together with `z`");
}

#[test]
fn several_updates_make_one_run() {
    let mut lab = lab_with(consumer().on_any_asset(["x"]).max_active_runs(1));
    event(&mut lab, "x");
    assert_eq!(runs(&lab), 1);
    for _ in 0..3 {
        lab.advance(secs(10));
        event(&mut lab, "x");
    }
    assert_eq!(runs(&lab), 1);
    let newest = lab.journal.asset_events.last().unwrap().at;
    lab.run("c").succeeds();
    assert_eq!(runs(&lab), 2);
    assert_eq!(lab.journal.runs.values().map(|row| row.run_after).max(), Some(newest));
}

#[test]
fn a_paused_consumer_keeps_nothing() {
    let mut lab = lab_with(consumer().on_any_asset(["x"]));
    lab.pause("c", true);
    event(&mut lab, "x");
    lab.pause("c", false);
    assert_eq!(runs(&lab), 0, "unpausing fires nothing by itself");
    event(&mut lab, "x");
    assert_eq!(runs(&lab), 1);
}

#[test]
fn events_from_before_the_consumer_are_not_its_own() {
    let mut lab = Lab::new();
    event(&mut lab, "x");
    lab.activate(consumer().on_any_asset(["x"]));
    assert_eq!(runs(&lab), 0);
    assert_eq!(lab.journal.asset_events.len(), 1);
}

#[test]
fn assets_or_time_whichever_comes() {
    let crons = vec!["30 * * * *".to_owned()];
    let assets = AssetCondition::Asset("x".to_owned());
    let mut lab = lab_with(consumer().when(When::AssetsOrCrons { assets, crons }));
    event(&mut lab, "x");
    assert_eq!(runs(&lab), 1);
    lab.advance(hours(1));
    assert_eq!(runs(&lab), 2);
}

#[test]
fn a_consumer_that_listens_to_something_else_now_drops_the_rest() {
    let mut lab = lab_with(consumer().on_all_assets(["x", "y"]));
    event(&mut lab, "x");
    lab.activate(consumer().on_any_asset(["y"]));
    event(&mut lab, "x");
    assert_eq!(runs(&lab), 0);
    event(&mut lab, "y");
    assert_eq!(runs(&lab), 1);
}

#[test]
fn a_task_that_is_marked_successful_is_an_event_too() {
    let mut lab = lab_with(consumer().on_any_asset(["x"]));
    let run = lab.trigger("p");
    lab.mark(&run, ["px"], TaskState::Success);
    assert_eq!(lab.journal.asset_events.len(), 1);
}

#[test]
fn two_events_at_once_for_a_consumer_that_is_free_make_one_run_each_batch() {
    let mut lab = lab_with(consumer().on_any_asset(["x", "y"]));
    lab.trigger("p");
    let ends = [("px", engine::dispatch::Outcome::Success), ("py", engine::dispatch::Outcome::Success)];
    lab.report_together(ends);
    assert_eq!(runs(&lab), 1, "they were pending together");
}

#[test]
fn a_mapped_producer_makes_an_event_per_index() {
    let mut lab = Lab::new();
    lab.activate(dag("p").task(bash("m").map(times(2)).outlets(["x"])));
    lab.trigger("p");
    lab.run("m[0]").succeeds();
    lab.run("m[1]").succeeds();
    assert_eq!(lab.journal.asset_events.len(), 2);
}

/// The windows of the runs of `c`, and for each the assets of the events in it.
fn windows(lab: &Lab) -> Vec<Vec<&str>> {
    let mut runs: Vec<_> = lab.journal.runs.values().filter(|row| row.dag_id.as_str() == "c").collect();
    runs.sort_by_key(|row| row.asset_window);
    let within = |row: &engine::rows::RunRow| {
        let (after, until) = row.asset_window.expect("assets made it");
        let events = lab.journal.asset_events.iter().filter(|event| after < event.at && event.at <= until);
        events.map(|event| &*event.asset).collect()
    };
    runs.into_iter().map(within).collect()
}

#[test]
fn a_run_stands_for_the_events_since_the_last_one() {
    let mut lab = lab_with(consumer().on_all_assets(["x", "y"]));
    for asset in ["x", "x", "y", "x", "y"] {
        event(&mut lab, asset);
        lab.crash();
    }
    assert_eq!(windows(&lab), [vec!["x", "x", "y"], vec!["x", "y"]]);
}

#[test]
fn an_event_of_the_same_batch_belongs_to_one_run_only() {
    let mut lab = lab_with(consumer().on_any_asset(["x", "y"]).max_active_runs(10));
    let of = |asset: &str| Command::AssetEvent { asset: asset.to_owned(), extra: serde_json::Map::new() };
    for asset in ["x", "y", "x", "x"] {
        lab.journal.request(TENANT, "ann", of(asset));
    }
    let inbox = lab.journal.requests(&lab.driver.taken(), 100);
    lab.put(Input::Inbox(inbox));
    let windows = windows(&lab);
    assert_eq!(windows.concat(), ["x", "y", "x", "x"], "each in one window: {windows:?}");
    let times: std::collections::BTreeSet<_> =
        lab.journal.asset_events.iter().map(|event| event.at).collect();
    assert_eq!(times.len(), 4);
}

#[test]
fn the_window_reaches_back_over_a_pause_and_begins_when_the_dag_began_to_listen() {
    let mut lab = lab_with(consumer());
    event(&mut lab, "x");
    lab.activate(consumer().on_any_asset(["x", "y"]));
    lab.pause("c", true);
    event(&mut lab, "y");
    lab.pause("c", false);
    assert!(windows(&lab).is_empty());
    event(&mut lab, "x");
    assert_eq!(windows(&lab), [vec!["y", "x"]]);
}
