//! Section 10: dynamic mapping.

use dags::model::{Map, MapSource, TriggerRule};
use engine::state::{RunState, TaskState};

use crate::{builder::*, lab::*};

fn mapped() -> DagBuilder {
    dag("d").task(bash("src")).task(bash("m").needs(["src"]).map(over("src"))).task(bash("z").needs(["m"]))
}

fn mapped_run(length: u32) -> (Lab, String) {
    let mut lab = Lab::new();
    lab.activate(mapped());
    let run = lab.trigger("d");
    lab.run("src").returns(length);
    (lab, run)
}

#[test]
fn before_expansion_there_is_one_instance_without_an_index() {
    let mut lab = Lab::new();
    lab.activate(mapped());
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "m=none src=queued z=none");
    lab.run("src").returns(3);
    assert_eq!(lab.states(&run), "m[0]=queued m[1]=queued m[2]=queued src=success z=none");
}

#[test]
fn a_length_of_one_is_index_zero() {
    let (lab, run) = mapped_run(1);
    assert_eq!(lab.states(&run), "m[0]=queued src=success z=none");
    assert_eq!(lab.journal.tasks.len(), 3);
}

#[test]
fn a_downstream_waits_for_all_indexes() {
    let (mut lab, run) = mapped_run(3);
    lab.run("m[2]").succeeds();
    lab.run("m[0]").succeeds();
    assert!(lab.states(&run).ends_with("z=none"));
    lab.run("m[1]").succeeds();
    assert!(lab.states(&run).ends_with("z=queued"));
    lab.run("z").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn one_failed_index_is_a_failed_upstream() {
    let (mut lab, run) = mapped_run(2);
    lab.run("m[0]").fails();
    assert_eq!(lab.states(&run), "m[0]=failed m[1]=queued src=success z=upstream_failed");
    lab.run("m[1]").succeeds();
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn a_length_of_zero_skips_the_unexpanded_instance() {
    let (lab, run) = mapped_run(0);
    assert_eq!(lab.states(&run), "m=skipped src=success z=skipped");
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn a_known_empty_list_skips_at_once() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("m").map(times(0))).task(bash("z").needs(["m"])));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "m=skipped z=skipped");
}

#[test]
fn a_failed_source_is_a_failed_upstream() {
    let mut lab = Lab::new();
    lab.activate(mapped());
    let run = lab.trigger("d");
    lab.run("src").fails();
    assert_eq!(lab.states(&run), "m=upstream_failed src=failed z=upstream_failed");
}

#[test]
fn a_skipped_source_skips() {
    let mut lab = Lab::new();
    lab.activate(mapped());
    let run = lab.trigger("d");
    lab.run("src").skips();
    assert_eq!(lab.states(&run), "m=skipped src=skipped z=skipped");
}

#[test]
fn a_missing_value_is_a_failed_upstream() {
    let mut lab = Lab::new();
    lab.activate(mapped());
    let run = lab.trigger("d");
    lab.mark(&run, ["src"], TaskState::Success);
    assert_eq!(lab.states(&run), "m=upstream_failed src=success z=upstream_failed");
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn a_source_whose_result_is_no_list_fails() {
    let mut lab = Lab::new();
    lab.activate(mapped());
    let run = lab.trigger("d");
    lab.run("src").succeeds();
    assert_eq!(lab.states(&run), "m=upstream_failed src=failed z=upstream_failed");
    let reason = lab.task_row(&run, "src").reason.clone().unwrap();
    assert!(reason.contains("neither a list nor an object"), "{reason}");
}

#[test]
fn a_list_that_is_too_long_fails_the_task_that_made_it() {
    let (lab, run) = mapped_run(1_025);
    assert_eq!(lab.states(&run), "m=upstream_failed src=failed z=upstream_failed");
    let (lab, run) = mapped_run(1_024);
    assert_eq!(lab.states(&run).matches("=queued").count(), 128, "as many as the pool has");
    assert_eq!(lab.states(&run).matches("m[").count(), 1_024);
}

#[test]
fn a_product_that_is_too_long_fails() {
    let mut lab = Lab::new();
    let map = product([MapSource::Output(task_id("src")), MapSource::Literal(vec![1.into(), 2.into()])]);
    lab.activate(dag("d").task(bash("src")).task(bash("m").needs(["src"]).map(map)));
    let run = lab.trigger("d");
    lab.run("src").returns(600);
    assert_eq!(lab.states(&run), "m=failed src=success");
}

#[test]
fn several_inputs_multiply() {
    let mut lab = Lab::new();
    let map =
        product([MapSource::Literal(vec![1.into(), 2.into(), 3.into()]), MapSource::Output(task_id("src"))]);
    lab.activate(dag("d").task(bash("src")).task(bash("m").needs(["src"]).map(map)));
    let run = lab.trigger("d");
    lab.run("src").returns(4);
    assert_eq!(lab.states(&run).matches("m[").count(), 12);
}

#[test]
fn zipped_inputs_stop_at_the_shortest() {
    let mut lab = Lab::new();
    let mut map =
        product([MapSource::Literal(vec![1.into(), 2.into(), 3.into()]), MapSource::Output(task_id("src"))]);
    map.zip = true;
    lab.activate(dag("d").task(bash("src")).task(bash("m").needs(["src"]).map(map)));
    let run = lab.trigger("d");
    lab.run("src").returns(2);
    assert_eq!(lab.states(&run), "m[0]=queued m[1]=queued src=success");
}

#[test]
fn two_sources_are_waited_for() {
    let mut lab = Lab::new();
    let map = product([MapSource::Output(task_id("x")), MapSource::Output(task_id("y"))]);
    lab.activate(dag("d").task(bash("x")).task(bash("y")).task(bash("m").needs(["x", "y"]).map(map)));
    let run = lab.trigger("d");
    lab.run("x").returns(2);
    assert_eq!(lab.states(&run), "m=none x=success y=queued");
    lab.run("y").returns(2);
    assert_eq!(lab.states(&run).matches("m[").count(), 4);
}

#[test]
fn a_mapped_source_counts_its_instances_that_succeeded() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("m").map(times(3)))
            .task(bash("n").needs(["m"]).map(over("m")).rule(TriggerRule::NoneFailedMinOneSuccess)),
    );
    let run = lab.trigger("d");
    lab.run("m[0]").succeeds();
    lab.run("m[1]").skips();
    lab.run("m[2]").succeeds();
    assert_eq!(lab.states(&run), "m[0]=success m[1]=skipped m[2]=success n[0]=queued n[1]=queued");
}

#[test]
fn fewer_items_on_another_run_remove_the_surplus() {
    let (mut lab, run) = mapped_run(3);
    for index in 0..3 {
        lab.run(&format!("m[{index}]")).succeeds();
    }
    lab.run("z").succeeds();
    lab.clear_with(&run, ["src"], |clear| clear.select.downstream = true).unwrap();
    assert_eq!(lab.states(&run), "m[0]=none m[1]=none m[2]=none src=queued z=none");
    lab.run("src").returns(2);
    assert_eq!(lab.states(&run), "m[0]=queued m[1]=queued m[2]=removed src=success z=none");
    lab.run("m[0]").succeeds();
    lab.run("m[1]").succeeds();
    lab.run("z").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
    // Afterwards as many as before: the removed one is back.
    lab.clear_with(&run, ["src"], |clear| clear.select.downstream = true).unwrap();
    lab.run("src").returns(3);
    assert_eq!(lab.states(&run), "m[0]=queued m[1]=queued m[2]=queued src=success z=none");
}

#[test]
fn more_items_on_another_run_create_the_missing() {
    let (mut lab, run) = mapped_run(1);
    lab.run("m[0]").succeeds();
    lab.run("z").succeeds();
    lab.clear_with(&run, ["src"], |clear| clear.select.downstream = true).unwrap();
    lab.crash();
    lab.run("src").returns(3);
    assert_eq!(lab.states(&run), "m[0]=queued m[1]=queued m[2]=queued src=success z=none");
    for index in 0..3 {
        lab.run(&format!("m[{index}]")).succeeds();
    }
    assert!(lab.states(&run).ends_with("z=queued"));
}

#[test]
fn a_source_that_runs_again_alone_changes_what_it_must() {
    let (mut lab, run) = mapped_run(2);
    lab.run("m[0]").succeeds();
    lab.run("m[1]").starts();
    lab.clear(&run, ["src"]);
    lab.run("src").returns(1);
    assert_eq!(lab.states(&run), "m[0]=success m[1]=removed src=success z=queued");
    assert_eq!(lab.kills.len(), 1);
    lab.clear(&run, ["src"]);
    lab.run("src").returns(3);
    assert_eq!(lab.states(&run), "m[0]=success m[1]=queued m[2]=queued src=success z=queued");
}

#[test]
fn no_items_on_another_run_remove_all() {
    let (mut lab, run) = mapped_run(2);
    lab.run("m[0]").succeeds();
    lab.run("m[1]").succeeds();
    lab.run("z").succeeds();
    lab.clear_with(&run, ["src"], |clear| clear.select.downstream = true).unwrap();
    lab.run("src").returns(0);
    assert!(lab.states(&run).starts_with("m[0]=removed m[1]=removed src=success"), "{}", lab.states(&run));
    assert_ne!(lab.states(&run).split("z=").last().unwrap(), "none");
}

#[test]
fn an_empty_list_that_is_no_longer_empty_expands() {
    let (mut lab, run) = mapped_run(0);
    assert_eq!(lab.state(&run), RunState::Success);
    lab.clear_with(&run, ["src"], |clear| clear.select.downstream = true).unwrap();
    assert_eq!(lab.states(&run), "m=none src=queued z=none");
    lab.run("src").returns(2);
    assert_eq!(lab.states(&run), "m[0]=queued m[1]=queued src=success z=none");
}

#[test]
fn early_rules_do_not_decide_before_expansion() {
    for (rule, fails) in [
        (TriggerRule::OneSuccess, false),
        (TriggerRule::OneFailed, true),
        (TriggerRule::OneDone, false),
        (TriggerRule::NoneFailedMinOneSuccess, true),
        (TriggerRule::Always, false),
    ] {
        let mut lab = Lab::new();
        lab.activate(
            dag("d")
                .task(bash("src"))
                .task(bash("x"))
                .task(bash("m").needs(["src", "x"]).map(over("src")).rule(rule)),
        );
        let run = lab.trigger("d");
        if fails {
            lab.run("x").fails();
        } else {
            lab.run("x").succeeds();
        }
        assert!(lab.states(&run).starts_with("m=none"), "{rule}: {}", lab.states(&run));
        lab.run("src").returns(2);
        // When both have ended, the placeholder may be decided, too.
        let expected = match rule {
            TriggerRule::NoneFailedMinOneSuccess => "m=upstream_failed ",
            _ => "m[0]=queued m[1]=queued ",
        };
        assert!(lab.states(&run).starts_with(expected), "{rule}: {}", lab.states(&run));
    }
}

fn grouped(map: Map) -> DagBuilder {
    dag("d")
        .group("g", None, Some(map))
        .task(bash("src"))
        .task(bash("g.a").needs(["src"]).group("g"))
        .task(bash("g.b").needs(["g.a"]).group("g"))
        .task(bash("z").needs(["g.b"]))
}

#[test]
fn inside_a_mapped_group_an_index_waits_for_its_own_index() {
    let mut lab = Lab::new();
    lab.activate(grouped(over("src")));
    let run = lab.trigger("d");
    lab.run("src").returns(2);
    assert_eq!(lab.states(&run), "g.a[0]=queued g.a[1]=queued g.b[0]=none g.b[1]=none src=success z=none");
    lab.run("g.a[1]").succeeds();
    assert_eq!(lab.states(&run), "g.a[0]=queued g.a[1]=success g.b[0]=none g.b[1]=queued src=success z=none");
    lab.run("g.a[0]").fails();
    assert_eq!(
        lab.states(&run),
        "g.a[0]=failed g.a[1]=success g.b[0]=upstream_failed g.b[1]=queued src=success z=upstream_failed"
    );
}

#[test]
fn what_follows_a_mapped_group_waits_for_all_indexes() {
    let mut lab = Lab::new();
    lab.activate(grouped(times(3)));
    let run = lab.trigger("d");
    lab.run("src").succeeds();
    for index in [2, 0, 1] {
        assert!(lab.states(&run).ends_with("z=none"));
        lab.run(&format!("g.a[{index}]")).succeeds();
        lab.run(&format!("g.b[{index}]")).succeeds();
    }
    assert!(lab.states(&run).ends_with("z=queued"));
}

#[test]
fn a_mapped_group_survives_a_crash() {
    let mut lab = Lab::new();
    lab.activate(grouped(over("src")));
    let run = lab.trigger("d");
    lab.run("src").returns(2);
    lab.run("g.a[1]").succeeds();
    lab.crash();
    lab.run("g.a[0]").succeeds();
    assert_eq!(
        lab.states(&run),
        "g.a[0]=success g.a[1]=success g.b[0]=queued g.b[1]=queued src=success z=none"
    );
    lab.run("g.b[0]").succeeds();
    lab.crash();
    lab.run("g.b[1]").succeeds();
    lab.run("z").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn a_mapped_group_of_length_zero_is_skipped() {
    let mut lab = Lab::new();
    lab.activate(grouped(over("src")));
    let run = lab.trigger("d");
    lab.run("src").returns(0);
    assert_eq!(lab.states(&run), "g.a=skipped g.b=skipped src=success z=skipped");
}

#[test]
fn a_mapped_group_grows_on_another_run() {
    let mut lab = Lab::new();
    lab.activate(grouped(over("src")));
    let run = lab.trigger("d");
    lab.run("src").returns(1);
    lab.run("g.a[0]").succeeds();
    lab.run("g.b[0]").succeeds();
    lab.run("z").succeeds();
    lab.clear_with(&run, ["src"], |clear| clear.select.downstream = true).unwrap();
    lab.run("src").returns(2);
    lab.run("g.a[1]").succeeds();
    assert_eq!(lab.states(&run), "g.a[0]=queued g.a[1]=success g.b[0]=none g.b[1]=queued src=success z=none");
}

#[test]
fn nested_groups_multiply_and_blocks_belong_together() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .group("o", None, Some(times(2)))
            .group("o.i", Some("o"), Some(times(3)))
            .task(bash("o.a").group("o"))
            .task(bash("o.i.b").needs(["o.a"]).group("o.i"))
            .task(bash("o.i.c").needs(["o.i.b"]).group("o.i"))
            .task(bash("o.z").needs(["o.i.c"]).group("o")),
    );
    let run = lab.trigger("d");
    lab.run("o.a[1]").succeeds();
    let states = lab.states(&run);
    assert!(states.contains("o.i.b[2]=none o.i.b[3]=queued o.i.b[4]=queued o.i.b[5]=queued"), "{states}");
    for index in 3..6 {
        assert!(lab.states(&run).ends_with("o.z[0]=none o.z[1]=none"));
        lab.run(&format!("o.i.b[{index}]")).succeeds();
        lab.run(&format!("o.i.c[{index}]")).succeeds();
    }
    assert!(lab.states(&run).ends_with("o.z[0]=none o.z[1]=queued"), "{}", lab.states(&run));
}

#[test]
fn clearing_a_whole_mapped_task_runs_every_index_again() {
    let (mut lab, run) = mapped_run(2);
    lab.run("m[0]").succeeds();
    lab.run("m[1]").fails();
    lab.clear(&run, ["m"]);
    assert_eq!(lab.states(&run), "m[0]=queued m[1]=queued src=success z=upstream_failed");
}

#[test]
fn many_instances_are_made_a_step_at_a_time() {
    let mut lab = Lab::with(|config| config.map_length_max = 100_000);
    lab.activate(mapped());
    let run = lab.trigger("d");
    lab.run("src").returns(5_000);
    assert_eq!(lab.states(&run).matches("m[").count(), 5_000);
    let most = lab.largest_batch;
    assert!(most <= 4_000, "a batch of {most} rows");
}

#[test]
fn a_crash_while_instances_are_made_leaves_none_out() {
    let mut lab = Lab::with(|config| config.map_length_max = 100_000);
    lab.activate(mapped());
    let run = lab.trigger("d");
    lab.commits_left = Some(2);
    lab.run("src").returns(5_000);
    assert!(lab.journal.tasks.len() < 5_000, "{}", lab.journal.tasks.len());
    lab.commits_left = None;
    lab.crash();
    assert_eq!(lab.states(&run).matches("m[").count(), 5_000);
    assert!(lab.states(&run).ends_with("z=none"));
    while !lab.held.is_empty() {
        let name = format!("m[{}]", lab.held[0].map_index);
        lab.run(&name).succeeds();
        if lab.dispatched.len() > 1_100 {
            return;
        }
    }
}

#[test]
fn marking_a_task_leaves_indexes_that_are_gone_alone() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("m").needs(["a"]).map(over("a"))));
    let run = lab.trigger("d");
    lab.run("a").returns(2);
    lab.run("m[0]").fails();
    lab.run("m[1]").fails();
    lab.clear(&run, ["a", "m"]);
    lab.run("a").returns(1);
    lab.run("m[0]").fails();
    assert_eq!(lab.states(&run), "a=success m[0]=failed m[1]=removed");
    lab.mark(&run, ["m"], TaskState::Success);
    assert_eq!(lab.states(&run), "a=success m[0]=success m[1]=removed");
    lab.mark(&run, ["m[1]"], TaskState::Failed);
    assert_eq!(lab.states(&run), "a=success m[0]=success m[1]=removed");
}

#[test]
fn clearing_a_mapped_task_leaves_indexes_that_are_gone_alone() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("m").needs(["a"]).map(over("a")).retries(1)));
    let run = lab.trigger("d");
    lab.run("a").returns(2);
    lab.run("m[0]").succeeds();
    lab.run("m[1]").succeeds();
    lab.clear(&run, ["a", "m"]);
    lab.run("a").returns(1);
    lab.run("m[0]").succeeds();
    assert_eq!(lab.states(&run), "a=success m[0]=success m[1]=removed");
    lab.clear(&run, ["m"]);
    assert_eq!(lab.states(&run), "a=success m[0]=queued m[1]=removed");
    lab.run("m[0]").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
    // A longer list brings it back, with tries of its own.
    lab.clear(&run, ["a", "m"]);
    lab.run("a").returns(2);
    assert_eq!(lab.states(&run), "a=success m[0]=queued m[1]=queued");
    lab.run("m[1]").fails();
    assert_eq!(lab.states(&run), "a=success m[0]=queued m[1]=up_for_retry");
}
