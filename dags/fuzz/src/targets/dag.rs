//! What must hold for whatever a compiler made of a file.

use dags::{
    canonical,
    catalog::Catalog,
    compile::Compiled,
    diagnostic::{Source, render},
    graph,
    model::Dag,
    time::Timestamp,
    timetable::{Bounds, Timetable},
};

/// The catalog of the tests of `dags`.
pub(super) fn catalog() -> Catalog {
    serde_json::from_str(include_str!("../../../tests/fixture/catalog.json"))
        .expect("invariant: the fixture is a catalog")
}

/// How many diagnostics are drawn: each shows the whole line that it is about, and that may be the whole file.
const DRAWN: usize = 10;

/// Draws diagnostics, and uses every DAG for what the service uses it for.
pub(super) fn check(source: &Source, compiled: &Compiled) {
    for diagnostic in compiled.diagnostics.iter().take(DRAWN) {
        let drawn = render(diagnostic, source, false);
        assert!(drawn.contains(diagnostic.code), "the drawn diagnostic names its code");
        serde_json::to_string(diagnostic).expect("invariant: a diagnostic has a JSON form");
    }
    compiled.dags.iter().for_each(dag);
}

fn dag(dag: &Dag) {
    let stored = canonical::bytes(dag);
    let read: Dag = serde_json::from_slice(&stored).expect("invariant: a stored DAG can be read");
    assert!(read == *dag, "a stored DAG is the same when it is read");
    assert_eq!(canonical::version(&read), canonical::version(dag), "its version stays");
    for drawn in [graph::text(dag), graph::dot(dag), graph::mermaid(dag), graph::json(dag).to_string()] {
        assert!(!drawn.is_empty());
    }
    let bounds = Bounds { start_date: dag.start_date, end_date: dag.end_date };
    let timetable =
        Timetable::new(&dag.schedule, bounds).expect("invariant: a validated schedule can be asked");
    let now = Timestamp(1_767_225_600_000_000);
    let mut last = None;
    for _ in 0..3 {
        last = timetable.next(last.as_ref(), now);
        if last.is_none() {
            break;
        }
    }
}
