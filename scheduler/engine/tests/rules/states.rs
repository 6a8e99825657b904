//! Section 1: states of task instances.

use crate::support::{builder::*, lab::*};

#[test]
fn a_chain_runs_one_after_the_other() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=queued b=none");
    lab.run("a").starts();
    assert_eq!(lab.states(&run), "a=running b=none");
    lab.run("a").succeeds();
    assert_eq!(lab.states(&run), "a=success b=queued");
    lab.run("b").succeeds();
    assert_eq!(lab.states(&run), "a=success b=success");
    assert_eq!(lab.runs("d"), "r1=success");
}
