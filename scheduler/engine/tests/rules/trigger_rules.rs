//! Section 6: trigger rules in running DAGs.

use dags::model::TriggerRule;
use engine::{dispatch::Outcome, state::RunState};

use crate::{builder::*, lab::*};

const TABLE: &str = "\
    rule                        ..  .S   .F   .K   .U   SS   SF   SK   SU   FF   FK   FU   KK   KU   UU
    all_success                 -   -    upf  skip upf  run  upf  skip upf  upf  upf  upf  skip upf  upf
    all_failed                  -   skip -    skip -    skip skip skip skip run  skip run  skip skip run
    all_done                    -   -    -    -    -    run  run  run  run  run  run  run  run  run  run
    all_done_min_one_success    -   -    -    skip -    run  run  skip run  upf  skip upf  skip skip upf
    all_done_setup_success      -   -    -    -    -    run  run  run  run  run  run  run  run  run  run
    one_success                 -   run  -    -    -    run  run  run  run  upf  upf  upf  skip upf  upf
    one_failed                  -   -    run  -    run  skip run  skip run  run  run  run  skip run  run
    one_done                    -   run  run  -    -    run  run  run  run  run  run  run  skip skip skip
    none_failed                 -   -    upf  -    upf  run  upf  run  upf  upf  upf  upf  run  upf  upf
    none_failed_min_one_success -   -    upf  -    upf  run  upf  run  upf  upf  upf  upf  skip upf  upf
    none_skipped                -   -    -    skip -    run  run  skip run  run  skip run  skip skip run
    all_skipped                 -   skip skip -    skip skip skip skip skip skip skip skip run  skip skip
    always                      run run  run  run  run  run  run  run  run  run  run  run  run  run  run";

/// `z` needs `x` and `y`, which need `ux` and `uy`.
fn lab_with(rule: TriggerRule) -> (Lab, String) {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("ux"))
            .task(bash("uy"))
            .task(bash("x").needs(["ux"]))
            .task(bash("y").needs(["uy"]))
            .task(bash("z").needs(["x", "y"]).rule(rule)),
    );
    let run = lab.trigger("d");
    (lab, run)
}

fn outcome(letter: char) -> Outcome {
    match letter {
        'S' => Outcome::Success,
        'F' => Outcome::Failed,
        'K' => Outcome::Skipped,
        other => panic!("no outcome {other}"),
    }
}

/// What becomes of `z` when the states of `x` and `y` become known together.
fn decide(rule: TriggerRule, letters: &str) -> String {
    let (mut lab, run) = lab_with(rule);
    let states: Vec<(char, &str)> = letters.chars().zip(["x", "y"]).collect();
    for (letter, name) in &states {
        let up = format!("u{name}");
        if *letter == 'U' { lab.run(&up).fails() } else { lab.run(&up).succeeds() }
    }
    let ends: Vec<(&str, Outcome)> = states
        .iter()
        .filter(|(letter, _)| !".U".contains(*letter))
        .map(|(letter, name)| (*name, outcome(*letter)))
        .collect();
    match &ends[..] {
        [] => {}
        [one] => lab.report_together([one.clone()]),
        [one, other, ..] => lab.report_together([one.clone(), other.clone()]),
    }
    lab.states(&run).split("z=").last().unwrap().to_owned()
}

#[test]
fn every_rule_decides_as_the_table_says() {
    let mut rows = TABLE.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let columns = rows.next().unwrap();
    let mut rules = 0;
    for row in rows {
        rules += 1;
        for (letters, cell) in columns.iter().zip(&row).skip(1) {
            let expected = match *cell {
                "run" => "queued",
                "-" => "none",
                "skip" => "skipped",
                _ => "upstream_failed",
            };
            assert_eq!(
                decide(TriggerRule::parse(row[0]).unwrap(), letters),
                expected,
                "{} {letters}",
                row[0]
            );
        }
    }
    assert_eq!(rules, TriggerRule::ALL.len());
}

#[test]
fn an_early_decision_is_not_taken_back() {
    let (mut lab, run) = lab_with(TriggerRule::AllSuccess);
    lab.run("ux").succeeds();
    lab.run("uy").succeeds();
    lab.run("x").skips();
    assert!(lab.states(&run).ends_with("z=skipped"));
    lab.run("y").fails();
    assert!(lab.states(&run).ends_with("z=skipped"));
    let (mut lab, run) = lab_with(TriggerRule::OneFailed);
    lab.run("ux").fails();
    lab.run("z").starts();
    lab.run("uy").succeeds();
    lab.run("y").succeeds();
    assert!(lab.states(&run).ends_with("z=running"));
}

#[test]
fn always_does_not_wait() {
    let (lab, run) = lab_with(TriggerRule::Always);
    assert_eq!(lab.states(&run), "ux=queued uy=queued x=none y=none z=queued");
}

#[test]
fn only_direct_upstreams_count() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("a"))
            .task(bash("b").needs(["a"]).rule(TriggerRule::AllDone))
            .task(bash("c").needs(["b"])),
    );
    let run = lab.trigger("d");
    lab.run("a").fails();
    lab.run("b").succeeds();
    assert_eq!(lab.states(&run), "a=failed b=success c=queued");
}

#[test]
fn a_retry_is_no_failure_yet() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("a").retries(1))
            .task(bash("b").needs(["a"]))
            .task(bash("c").needs(["a"]).rule(TriggerRule::OneFailed)),
    );
    let run = lab.trigger("d");
    lab.run("a").fails();
    assert_eq!(lab.states(&run), "a=up_for_retry b=none c=none");
    lab.advance(secs(300));
    lab.run("a").fails();
    assert_eq!(lab.states(&run), "a=failed b=upstream_failed c=queued");
}

#[test]
fn a_failure_travels_down_a_long_chain_at_once() {
    let mut lab = Lab::with(|config| config.step_transitions = 10);
    let chain = (1..200).map(|n| {
        let up: &'static str = Box::leak(format!("t{:03}", n - 1).into_boxed_str());
        bash(&format!("t{n:03}")).needs([up])
    });
    lab.activate(dag("d").task(bash("t000")).tasks(chain));
    let run = lab.trigger("d");
    lab.run("t000").fails();
    assert_eq!(lab.states(&run).matches("upstream_failed").count(), 199);
    assert_eq!(lab.state(&run), RunState::Failed);
}
