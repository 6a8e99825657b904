//! Section 12: pools, the order of admission, and limits.

use dags::{
    ids::{PoolName, TenantId},
    model::WeightRule,
};
use engine::{command::Command, state::TaskState};

use crate::{builder::*, lab::*};

/// The tasks in the order in which they were handed over.
fn order(lab: &Lab) -> String {
    let names: Vec<String> = lab.dispatched.iter().map(|d| d.task_id.to_string()).collect();
    names.join(" ")
}

/// Ends everything that is held, one after the other, until nothing is.
fn drain(lab: &mut Lab) {
    while let Some(dispatch) = lab.held.first() {
        let name = match dispatch.map_index {
            -1 => format!("{}/{}", dispatch.run_name, dispatch.task_id),
            index => format!("{}/{}[{index}]", dispatch.run_name, dispatch.task_id),
        };
        lab.run(&name).succeeds();
    }
}

#[test]
fn the_highest_priority_goes_first() {
    let mut lab = Lab::new();
    lab.executor("local", 1);
    lab.activate(
        dag("d")
            .task(bash("a").priority(1))
            .task(bash("b").priority(3))
            .task(bash("c").priority(2))
            .task(bash("e").priority(-5)),
    );
    lab.trigger("d");
    drain(&mut lab);
    assert_eq!(order(&lab), "b c a e");
}

#[test]
fn an_older_date_goes_first() {
    let mut lab = Lab::new();
    lab.executor("local", 0);
    lab.activate(dag("d").task(bash("a").priority(1)));
    for date in ["2025-01-02T00:00:00Z", "2025-01-01T00:00:00Z", "2025-01-03T00:00:00Z"] {
        lab.trigger_for("d", date).unwrap();
    }
    lab.executor("local", 1);
    drain(&mut lab);
    let runs: Vec<&str> = lab.dispatched.iter().map(|d| d.run_name.as_str()).collect();
    assert_eq!(runs, ["r2", "r1", "r3"]);
}

#[test]
fn a_lower_map_index_goes_first() {
    let mut lab = Lab::new();
    lab.executor("local", 1);
    lab.activate(dag("d").task(bash("m").map(times(12))));
    lab.trigger("d");
    drain(&mut lab);
    let indexes: Vec<i32> = lab.dispatched.iter().map(|d| d.map_index).collect();
    assert_eq!(indexes, (0..12).collect::<Vec<_>>());
}

#[test]
fn what_has_more_behind_it_goes_first() {
    let mut lab = Lab::new();
    lab.executor("local", 1);
    let weigh = |rule: WeightRule| move |task: &mut dags::model::Task| task.weight_rule = rule;
    lab.activate(
        dag("d")
            .task(bash("a"))
            .task(bash("b"))
            .task(bash("b1").needs(["b"]))
            .task(bash("b2").needs(["b", "b1"]))
            .task(bash("z").with(weigh(WeightRule::Absolute)).with(|task| task.priority = 2)),
    );
    let run = lab.trigger("d");
    assert_eq!(lab.task_row(&run, "b").weight, 3, "itself and two distinct tasks");
    drain(&mut lab);
    assert_eq!(order(&lab), "b b1 z a b2");
}

#[test]
fn weights_upstream_count_what_came_before() {
    let mut lab = Lab::new();
    let up = |task: &mut dags::model::Task| task.weight_rule = WeightRule::Upstream;
    lab.activate(
        dag("d")
            .task(bash("a").with(up))
            .task(bash("b").needs(["a"]).with(up))
            .task(bash("c").needs(["a", "b"]).with(up)),
    );
    let run = lab.trigger("d");
    let weights = ["a", "b", "c"].map(|name| lab.task_row(&run, name).weight);
    assert_eq!(weights, [1, 2, 3]);
}

#[test]
fn weights_stay_within_their_range() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("a").with(|task| task.priority = i32::MAX))
            .task(bash("b").needs(["a"]).with(|task| task.priority = i32::MAX)),
    );
    let run = lab.trigger("d");
    assert_eq!(lab.task_row(&run, "a").weight, i32::MAX);
}

#[test]
fn a_pool_admits_what_fits() {
    let mut lab = Lab::new();
    lab.pool("p", 3);
    lab.activate(dag("d").tasks(["a", "b", "c", "e"].map(|name| bash(name).pool("p"))));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=queued b=queued c=queued e=scheduled");
    lab.run("b").succeeds();
    assert_eq!(lab.states(&run), "a=queued b=success c=queued e=queued");
}

#[test]
fn smaller_ones_of_lower_priority_may_pass() {
    let mut lab = Lab::new();
    lab.pool("p", 4);
    lab.activate(
        dag("d")
            .task(bash("a").pool("p").slots(3).priority(9))
            .task(bash("b").pool("p").slots(2).priority(5))
            .task(bash("c").pool("p").slots(1).priority(1)),
    );
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=queued b=scheduled c=queued");
    lab.run("c").succeeds();
    assert_eq!(lab.states(&run), "a=queued b=scheduled c=success");
    lab.run("a").succeeds();
    assert_eq!(lab.states(&run), "a=success b=queued c=success");
}

#[test]
fn what_asks_for_more_than_the_pool_has_never_runs_until_it_grows() {
    let mut lab = Lab::new();
    lab.pool("p", 2);
    lab.activate(dag("d").task(bash("a").pool("p").slots(3)));
    let run = lab.trigger("d");
    lab.advance(hours(24));
    assert_eq!(lab.states(&run), "a=scheduled");
    lab.pool("p", 3);
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn a_pool_without_limit_admits_all() {
    let mut lab = Lab::new();
    lab.pool("p", -1);
    lab.activate(dag("d").task(bash("m").pool("p").slots(1_000).map(times(500))));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run).matches("=queued").count(), 500);
}

#[test]
fn a_pool_that_does_not_exist_admits_nothing() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").pool("nope")).task(bash("b")));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=scheduled b=queued");
    lab.pool("nope", 1);
    assert_eq!(lab.states(&run), "a=queued b=queued");
}

#[test]
fn a_shrunken_pool_admits_nothing_before_enough_ended() {
    let mut lab = Lab::new();
    lab.pool("p", 3);
    lab.activate(dag("d").tasks(["a", "b", "c", "e"].map(|name| bash(name).pool("p"))));
    let run = lab.trigger("d");
    lab.pool("p", 1);
    assert_eq!(lab.states(&run), "a=queued b=queued c=queued e=scheduled");
    lab.run("a").succeeds();
    lab.run("b").succeeds();
    assert!(lab.states(&run).ends_with("e=scheduled"));
    lab.run("c").succeeds();
    assert!(lab.states(&run).ends_with("e=queued"));
}

#[test]
fn a_deleted_pool_admits_nothing() {
    let mut lab = Lab::new();
    lab.pool("p", 1);
    lab.activate(dag("d").tasks(["a", "b"].map(|name| bash(name).pool("p"))));
    let run = lab.trigger("d");
    let name = PoolName::parse("p").unwrap();
    lab.request(Command::DeletePool { name: name.clone() }).unwrap();
    lab.run("a").succeeds();
    assert_eq!(lab.states(&run), "a=success b=scheduled");
    assert_eq!(lab.request(Command::DeletePool { name }).unwrap_err().code, "pool.not_found");
    lab.crash();
    lab.pool("p", 1);
    assert_eq!(lab.states(&run), "a=success b=queued");
}

#[test]
fn the_default_pool_can_be_changed_but_not_deleted() {
    let mut lab = Lab::new();
    lab.activate(dag("d").tasks(["a", "b", "c"].map(bash)));
    lab.pool("default_pool", 2);
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=queued b=queued c=scheduled");
    let name = PoolName::parse("default_pool").unwrap();
    assert_eq!(lab.request(Command::DeletePool { name }).unwrap_err().code, "pool.default");
    let name = PoolName::parse("q").unwrap();
    let refused = lab.request(Command::SetPool { name, slots: -2, include_deferred: false });
    assert_eq!(refused.unwrap_err().code, "pool.slots");
}

#[test]
fn pools_are_a_tenants_own() {
    let mut lab = Lab::new();
    let other = TenantId(TENANT.0.to_string().replace("00000001", "00000009").parse().unwrap());
    lab.pool("p", 5);
    lab.activate_for(other, dag("d").task(bash("a").pool("p")).build(), false);
    let trigger = engine::command::Trigger {
        dag_id: "d".parse().unwrap(),
        run_name: Some("r".parse().unwrap()),
        logical_date: None,
        run_after: None,
        conf: serde_json::Map::new(),
        note: None,
        chain_depth: 0,
    };
    lab.request_as(other, Command::Trigger(trigger)).unwrap();
    assert_eq!(lab.states("r"), "a=scheduled");
    let name = PoolName::parse("p").unwrap();
    lab.request_as(other, Command::SetPool { name, slots: 1, include_deferred: false }).unwrap();
    assert_eq!(lab.states("r"), "a=queued");
}

#[test]
fn tenants_take_turns_whatever_their_weights() {
    let mut lab = Lab::new();
    let other = TenantId(TENANT.0.to_string().replace("00000001", "00000009").parse().unwrap());
    lab.executor("local", 0);
    lab.activate(dag("d").task(bash("m").priority(1_000).map(times(6))));
    lab.activate_for(other, dag("o").task(bash("m").priority(1).map(times(3))).build(), false);
    lab.trigger("d");
    let trigger = engine::command::Trigger {
        dag_id: "o".parse().unwrap(),
        run_name: Some("theirs".parse().unwrap()),
        logical_date: None,
        run_after: None,
        conf: serde_json::Map::new(),
        note: None,
        chain_depth: 0,
    };
    lab.request_as(other, Command::Trigger(trigger)).unwrap();
    lab.executor("local", 4);
    let of = |lab: &Lab, tenant| lab.held.iter().filter(|d| d.tenant == tenant).count();
    assert_eq!((of(&lab, TENANT), of(&lab, other)), (2, 2));
    lab.executor("local", 9);
    assert_eq!((of(&lab, TENANT), of(&lab, other)), (6, 3));
}

#[test]
fn max_active_tasks_is_per_run() {
    let mut lab = Lab::new();
    lab.activate(dag("d").max_active_tasks(2).task(bash("m").map(times(3))));
    let one = lab.trigger("d");
    let two = lab.trigger("d");
    assert_eq!(lab.states(&one), "m[0]=queued m[1]=queued m[2]=scheduled");
    assert_eq!(lab.states(&two), "m[0]=queued m[1]=queued m[2]=scheduled");
    lab.run("r1/m[1]").succeeds();
    assert_eq!(lab.states(&one), "m[0]=queued m[1]=success m[2]=queued");
    lab.crash();
    lab.run("r2/m[0]").succeeds();
    assert_eq!(lab.states(&two), "m[0]=success m[1]=queued m[2]=queued");
}

#[test]
fn max_active_tasks_lets_the_more_important_in_first() {
    let mut lab = Lab::new();
    lab.executor("local", 0);
    lab.activate(
        dag("d")
            .max_active_tasks(1)
            .task(bash("a").priority(1))
            .task(bash("b").priority(2))
            .task(bash("c").priority(3)),
    );
    lab.trigger("d");
    lab.executor("local", 5);
    drain(&mut lab);
    assert_eq!(order(&lab), "c b a");
}

#[test]
fn the_window_of_a_run_may_be_taken_by_what_can_not_go() {
    // As in Airflow: at most max_active_tasks of a run are looked at, so a full pool can hold the rest of the run.
    let mut lab = Lab::new();
    lab.pool("p", 0);
    lab.activate(
        dag("d").max_active_tasks(1).task(bash("a").pool("p").priority(9)).task(bash("b").priority(1)),
    );
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=scheduled b=scheduled");
    lab.pool("p", 1);
    assert_eq!(lab.states(&run), "a=queued b=scheduled");
}

#[test]
fn max_active_of_a_task_counts_over_all_runs() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").max_active(2)).task(bash("b")));
    for _ in 0..4 {
        lab.trigger("d");
    }
    assert_eq!(lab.holding(), "r1/a r1/b r2/a r2/b r3/b r4/b");
    lab.run("r1/a").succeeds();
    assert!(lab.holds("r3/a") && !lab.holds("r4/a"));
    lab.crash();
    assert!(!lab.holds("r4/a"));
    lab.run("r3/a").fails();
    assert!(lab.holds("r4/a"));
}

#[test]
fn max_active_of_a_task_in_a_run() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("m").map(times(3)).max_active_per_run(1)));
    let one = lab.trigger("d");
    let two = lab.trigger("d");
    assert_eq!(lab.states(&one), "m[0]=queued m[1]=scheduled m[2]=scheduled");
    assert_eq!(lab.states(&two), "m[0]=queued m[1]=scheduled m[2]=scheduled");
    lab.run("r1/m[0]").succeeds();
    assert_eq!(lab.states(&one), "m[0]=success m[1]=queued m[2]=scheduled");
    lab.crash();
    lab.run("r1/m[1]").fails();
    assert_eq!(lab.states(&one), "m[0]=success m[1]=failed m[2]=queued");
}

#[test]
fn a_waiting_retry_gives_its_place_under_max_active_away() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("m").map(times(2)).retries(1).max_active_per_run(1)));
    let run = lab.trigger("d");
    lab.run("m[0]").fails();
    assert_eq!(lab.states(&run), "m[0]=up_for_retry m[1]=queued");
}

#[test]
fn an_executor_admits_as_much_as_it_has_room() {
    let mut lab = Lab::new();
    lab.executor("gpu", 2);
    lab.activate(dag("d").task(bash("m").map(times(3)).executor("gpu")).task(bash("z")));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "m[0]=queued m[1]=queued m[2]=scheduled z=queued");
    lab.run("m[0]").succeeds();
    assert_eq!(lab.states(&run), "m[0]=success m[1]=queued m[2]=queued z=queued");
}

#[test]
fn an_executor_that_is_not_there_admits_nothing() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").executor("far")).task(bash("b")));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=scheduled b=queued");
    lab.executor("far", 1);
    assert_eq!(lab.states(&run), "a=queued b=queued");
}

#[test]
fn a_gang_is_admitted_whole_or_not_at_all() {
    let mut lab = Lab::new();
    lab.executor("local", 3);
    lab.activate(
        dag("d")
            .task(bash("a").gang(2).priority(9))
            .task(bash("b").gang(2).priority(8))
            .task(bash("c").priority(1)),
    );
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=queued b=scheduled c=queued");
    lab.run("c").succeeds();
    assert_eq!(lab.states(&run), "a=queued b=scheduled c=success");
    lab.run("a").succeeds();
    assert_eq!(lab.states(&run), "a=success b=queued c=success");
}

#[test]
fn an_engine_task_takes_no_slots() {
    let mut lab = Lab::new();
    lab.executor("local", 0);
    lab.pool("default_pool", 0);
    lab.activate(dag("d").task(branch("a")).task(empty("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.follow("a", ["b"]);
    assert_eq!(lab.states(&run), "a=success b=success");
}

#[test]
fn a_place_that_a_runs_own_limit_leaves_free_is_passed_on() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("t").map(times(2)).max_active(2).max_active_per_run(1)));
    for _ in 0..3 {
        lab.trigger("d");
    }
    assert_eq!(lab.holding(), "r1/t[0] r2/t[0]");
    lab.mark("r1", ["t[1]"], TaskState::Success);
    lab.mark("r2", ["t[1]"], TaskState::Success);
    lab.run("r1/t[0]").succeeds();
    assert_eq!(lab.holding(), "r2/t[0] r3/t[0]");
    lab.trigger("d");
    // The next in line is the other one of r3, which has as many as a run may.
    lab.run("r2/t[0]").succeeds();
    assert_eq!(lab.holding(), "r3/t[0] r4/t[0]");
}
