//! Runs that aren't kept any more: marked in a batch, and nobody's from then on.

use dags::{
    ids::{DagId, RunId},
    time::Timestamp,
};
use engine::{
    command::Command,
    driver::Input,
    rows::{RETIRED, Subject},
    state::RunState,
};

use crate::{builder::*, lab::*};

fn retire(lab: &mut Lab, run: &str) -> RunId {
    let id = lab.run_row(run).run;
    lab.put(Input::Retire(vec![(TENANT, DagId::parse("d").unwrap(), id)]));
    id
}

fn marked(lab: &Lab, run: RunId) -> bool {
    lab.journal.quarantined.get(&Subject::Run(TENANT, run)).is_some_and(|reason| &**reason == RETIRED)
}

#[test]
fn an_unfinished_run_is_kept_and_a_finished_one_is_marked() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    lab.trigger("d");
    lab.trigger("d");
    let first = retire(&mut lab, "r1");
    assert!(!marked(&lab, first), "it is in memory");
    lab.run("r1/a").succeeds();
    let first = retire(&mut lab, "r1");
    assert!(marked(&lab, first));
    assert!(lab.quarantined.is_empty(), "nobody is told: it isn't a fault");
    lab.crash();
    lab.run("r2/a").succeeds();
    assert_eq!(lab.state("r2"), RunState::Success);
}

#[test]
fn what_is_asked_about_a_marked_run_is_refused_but_its_deletion() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    lab.trigger("d");
    lab.run("r1/a").succeeds();
    let id = retire(&mut lab, "r1");
    let (dag_id, run_name) = (DagId::parse("d").unwrap(), "r1".parse().unwrap());
    let release = Command::Release { dag_id: dag_id.clone(), run_name: Some("r1".parse().unwrap()) };
    let refusal = lab.request(release).unwrap_err();
    assert!(refusal.message.contains("gone in a moment"), "{refusal}");
    assert!(marked(&lab, id) && lab.stopped.is_none(), "it isn't released");
    let again = lab.trigger_with("d", |trigger| trigger.run_name = Some("r1".parse().unwrap())).unwrap_err();
    assert!(again.message.contains("gone in a moment"), "{again}");
    lab.request(Command::DeleteRun { dag_id, run_name }).unwrap();
    assert!(!lab.journal.runs.contains_key(&id));
    lab.trigger_with("d", |trigger| trigger.run_name = Some("r1".parse().unwrap())).unwrap();
}

#[test]
fn nothing_depends_on_a_marked_run() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").depends_on_past()).task(bash("b")));
    lab.trigger_for("d", "2025-12-01T00:00:00Z").unwrap();
    lab.run("r1/b").succeeds();
    lab.run("r1/a").fails();
    lab.crash();
    retire(&mut lab, "r1");
    lab.trigger_for("d", "2025-12-02T00:00:00Z").unwrap();
    assert_eq!(lab.states("r2"), "a=queued b=queued", "as if it were gone already");
}

#[test]
fn the_schedule_goes_on_where_it_was_when_all_of_its_runs_are_gone() {
    let mut lab = Lab::new();
    lab.activate(dag("d").cron("0 * * * *").task(bash("a")));
    lab.advance(secs(2 * 3_600));
    let names: Vec<String> = lab.journal.runs.values().map(|run| run.run_name.to_string()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in &names {
        lab.run(&format!("{name}/a")).succeeds();
        let id = retire(&mut lab, name);
        let (dag_id, run_name) = (DagId::parse("d").unwrap(), name.parse().unwrap());
        lab.request(Command::DeleteRun { dag_id, run_name }).unwrap();
        assert!(!lab.journal.runs.contains_key(&id));
    }
    lab.crash();
    lab.advance(secs(3_600));
    let dates: Vec<Option<Timestamp>> = lab.journal.runs.values().map(|run| run.logical_date).collect();
    assert_eq!(dates, [Some(at("2026-01-01T03:00:00Z"))], "no tick comes twice, none is left out");
}
