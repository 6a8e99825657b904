//! Quotas: guarantees, borrowing, giving way, and why something waits for them.

use std::sync::Arc;

use dags::ids::{DagId, TenantId};
use engine::{
    command::{Command, Trigger},
    dispatch::{Kill, News, Outcome, Report},
    driver::{Action, Input},
    explain::Limit,
    journal::Commit,
    quota::{
        GroupLimit, Limits,
        figures::{AmountFigures, QuotaFigures},
    },
    rows::QuotaNode,
    sharing::{Quota, Quotas, Weight},
    state::TaskState,
};

use crate::{builder::*, lab::*};

const OTHER: TenantId = TenantId(uuid::Uuid::from_u128(7));

fn members(quota: Quota) -> Quotas {
    Quotas::from([(Arc::from("local"), [(Arc::from("members"), quota)].into())])
}

fn nominal(nominal: i64) -> Quota {
    Quota { nominal, ..Quota::default() }
}

fn set(lab: &mut Lab, tenant: TenantId, quota: Quota) {
    let quotas = members(quota);
    lab.request_as(
        tenant,
        Command::SetQuota { cohort: None, weight: Weight::ONE, quotas, limits: Limits::default() },
    )
    .unwrap();
}

/// A request for a run of that name.
fn named(dag: &str, run: &str) -> Command {
    Command::Trigger(Trigger {
        dag_id: DagId::parse(dag).unwrap(),
        run_name: Some(run.parse().unwrap()),
        logical_date: None,
        run_after: None,
        conf: serde_json::Map::new(),
        note: None,
        chain_depth: 0,
    })
}

/// A DAG of so many tasks for a tenant, and a run of it.
fn many(lab: &mut Lab, tenant: TenantId, tasks: usize, change: impl Fn(TaskBuilder) -> TaskBuilder) {
    let tasks = (0..tasks).map(|n| change(bash(&format!("t{n}"))));
    lab.activate_for(tenant, dag("d").tasks(tasks).build(), false);
    let trigger = Command::Trigger(Trigger {
        dag_id: DagId::parse("d").unwrap(),
        run_name: None,
        logical_date: None,
        run_after: None,
        conf: serde_json::Map::new(),
        note: None,
        chain_depth: 0,
    });
    lab.request_as(tenant, trigger).unwrap();
}

/// How many attempts of a tenant are held.
fn held(lab: &Lab, tenant: TenantId) -> usize {
    lab.held.iter().filter(|dispatch| dispatch.tenant == tenant).count()
}

/// The first attempt of a tenant that is held succeeds.
fn one_succeeds(lab: &mut Lab, tenant: TenantId) {
    let id = lab.held.iter().find(|dispatch| dispatch.tenant == tenant).unwrap().id;
    lab.held.retain(|dispatch| dispatch.id != id);
    lab.report(id, 0, News::Ended(end(Outcome::Success)));
}

#[test]
fn what_is_idle_is_borrowed_and_given_back_when_its_owner_comes() {
    let mut lab = Lab::new();
    lab.executor("local", 4);
    set(&mut lab, OTHER, nominal(2));
    many(&mut lab, TENANT, 6, |task| task);
    assert_eq!(held(&lab, TENANT), 4, "all of it is borrowed");
    many(&mut lab, OTHER, 2, |task| task);
    assert_eq!((held(&lab, OTHER), lab.kills.len()), (0, 2), "nothing starts before its place is free");
    let victims: Vec<_> = lab.kills.iter().map(|kill| kill.id).collect();
    assert!(lab.kills.iter().all(|kill| kill.reason.contains("borrowed")), "{:?}", lab.kills);
    lab.confirm_kills();
    assert_eq!((held(&lab, TENANT), held(&lab, OTHER)), (2, 2), "the guarantee is reached");
    for victim in victims {
        let row = lab.journal.tasks.values().find(|row| row.attempt() == victim.attempt).unwrap();
        assert_eq!((row.state.as_str(), row.try_number, row.preempted), ("scheduled", 1, 1));
        assert!(row.reason.as_ref().unwrap().contains("gave way"), "{:?}", row.reason);
    }
    // What gave way runs again, in the same try, when there is room.
    one_succeeds(&mut lab, OTHER);
    one_succeeds(&mut lab, OTHER);
    assert_eq!(held(&lab, TENANT), 4);
    assert!(lab.held.iter().all(|dispatch| dispatch.try_number == 1));
}

#[test]
fn what_belongs_to_nobody_is_shared_by_weight() {
    let mut lab = Lab::new();
    lab.executor("local", 6);
    set(&mut lab, TENANT, nominal(0));
    let (quotas, weight) = (Quotas::new(), Weight::whole(2));
    lab.request_as(OTHER, Command::SetQuota { cohort: None, weight, quotas, limits: Limits::default() })
        .unwrap();
    many(&mut lab, TENANT, 9, |task| task);
    assert_eq!(held(&lab, TENANT), 6);
    many(&mut lab, OTHER, 9, |task| task);
    lab.confirm_kills();
    assert_eq!((held(&lab, TENANT), held(&lab, OTHER)), (2, 4));
}

#[test]
fn no_more_is_borrowed_or_lent_than_allowed() {
    let mut lab = Lab::new();
    lab.executor("local", 10);
    set(&mut lab, TENANT, Quota { nominal: 1, borrow: Some(2), lend: None });
    many(&mut lab, TENANT, 8, |task| task);
    assert_eq!(held(&lab, TENANT), 3, "its own one and two more");
    set(&mut lab, TENANT, Quota { nominal: 1, borrow: None, lend: None });
    assert_eq!(held(&lab, TENANT), 8);
    let mut lab = Lab::new();
    lab.executor("local", 10);
    set(&mut lab, OTHER, Quota { nominal: 6, borrow: None, lend: Some(1) });
    many(&mut lab, TENANT, 8, |task| task);
    assert_eq!(held(&lab, TENANT), 5, "four are for everybody, and one is lent");
}

#[test]
fn what_cant_give_way_isnt_lent_anything() {
    let mut lab = Lab::new();
    lab.executor("local", 4);
    set(&mut lab, TENANT, nominal(1));
    set(&mut lab, OTHER, nominal(2));
    many(&mut lab, TENANT, 4, |task| task.with(|task| task.preemptible = false));
    assert_eq!(held(&lab, TENANT), 1);
    many(&mut lab, OTHER, 4, |task| task);
    assert_eq!((held(&lab, OTHER), lab.kills.len()), (3, 0), "nobody needs to give way");
}

#[test]
fn a_gang_gets_all_of_its_places_or_none() {
    let mut lab = Lab::new();
    lab.executor("local", 4);
    set(&mut lab, OTHER, nominal(3));
    many(&mut lab, TENANT, 4, |task| task);
    assert_eq!(held(&lab, TENANT), 4);
    many(&mut lab, OTHER, 1, |task| task.with(|task| task.gang = 3));
    assert_eq!((held(&lab, OTHER), lab.kills.len()), (0, 3), "room for three is made at once");
    let first = lab.kills.remove(0).id;
    lab.held.retain(|dispatch| dispatch.id != first);
    lab.report(first, 0, News::Ended(end(Outcome::Killed)));
    assert_eq!(held(&lab, OTHER), 0, "one place isn't enough, and nobody else takes it");
    assert_eq!(held(&lab, TENANT), 3);
    lab.confirm_kills();
    assert_eq!((held(&lab, TENANT), held(&lab, OTHER)), (1, 1));
}

#[test]
fn giving_way_survives_a_crash() {
    let mut lab = Lab::new();
    lab.executor("local", 2);
    set(&mut lab, OTHER, nominal(1));
    many(&mut lab, TENANT, 3, |task| task);
    many(&mut lab, OTHER, 1, |task| task);
    let victim = lab.kills[0].id;
    assert_eq!(lab.kills.len(), 1);
    lab.kills.clear();
    lab.crash();
    assert_eq!(
        lab.kills.iter().map(|kill| kill.id).collect::<Vec<_>>(),
        [victim],
        "the same one is told again"
    );
    lab.confirm_kills();
    assert_eq!((held(&lab, TENANT), held(&lab, OTHER)), (1, 1));
    let row = lab.journal.tasks.values().find(|row| row.attempt() == victim.attempt).unwrap();
    assert_eq!((row.try_number, row.preempted), (1, 1));
    assert_eq!(lab.journal.quotas.len(), 1, "quotas are stored");
}

/// A DAG of one task for the default tenant, and the name of its run.
fn one(lab: &mut Lab, name: &str, change: impl Fn(TaskBuilder) -> TaskBuilder) -> String {
    lab.activate(dag(name).task(change(bash(name))));
    lab.trigger(name)
}

/// The attempts for which something is kept, as it is stored.
fn promised(lab: &Lab) -> usize {
    let rows = lab.journal.continuations.values().filter_map(|row| row.work.as_ref());
    rows.filter_map(|work| work["sharing"]["reservations"].as_array()).map(Vec::len).sum()
}

#[test]
fn what_is_kept_for_a_starving_task_survives_a_restart_in_which_executors_come_late() {
    let mut lab = Lab::new();
    lab.executor("local", 2);
    set(&mut lab, TENANT, nominal(2));
    one(&mut lab, "s1", |task| task.priority(5));
    one(&mut lab, "s2", |task| task.priority(5));
    let large = one(&mut lab, "large", |task| task.with(|task| task.gang = 2).priority(1));
    lab.advance(mins(6));
    let small = one(&mut lab, "s3", |task| task.priority(5));
    assert_eq!(promised(&lab), 1, "it starves");
    lab.crash_before_executors_are_there();
    assert_eq!(promised(&lab), 1);
    lab.run("s1").succeeds();
    assert_eq!(promised(&lab), 1, "nobody said yet what there is");
    lab.executor("local", 2);
    assert_eq!((lab.states(&large), lab.states(&small)), ("large=scheduled".into(), "s3=scheduled".into()));
    lab.run("s2").succeeds();
    assert_eq!((lab.states(&large), lab.states(&small)), ("large=queued".into(), "s3=scheduled".into()));
    assert_eq!(promised(&lab), 0);
}

#[test]
fn what_others_gave_way_for_survives_a_drain_and_a_restart() {
    let mut lab = Lab::new();
    lab.executor("local", 2);
    set(&mut lab, OTHER, nominal(1));
    many(&mut lab, TENANT, 3, |task| task);
    many(&mut lab, OTHER, 1, |task| task);
    assert_eq!((lab.kills.len(), promised(&lab)), (1, 1));
    lab.executor("local", 0);
    assert_eq!(promised(&lab), 1, "the service is about to end");
    lab.crash_before_executors_are_there();
    assert_eq!((lab.kills.len(), promised(&lab)), (1, 1));
    lab.confirm_kills();
    lab.executor("local", 2);
    assert_eq!((held(&lab, TENANT), held(&lab, OTHER), promised(&lab)), (1, 1, 0));
}

#[test]
fn a_promise_is_kept_until_whoever_is_admitted_for_it_is_told() {
    let mut seen = Vec::new();
    for commits in 0..12 {
        let mut lab = Lab::with(|config| config.step_transitions = 3);
        lab.executor("local", 8);
        set(&mut lab, OTHER, nominal(8));
        many(&mut lab, TENANT, 8, |task| task);
        many(&mut lab, OTHER, 8, |task| task);
        assert_eq!((lab.kills.len(), promised(&lab)), (8, 8));
        // All end at once, so all are admitted at once; the service is killed after so many batches.
        let ended = |kill: Kill| Report::new(kill.id, 0, 1, News::Ended(end(Outcome::Killed)));
        let reports = std::mem::take(&mut lab.kills).into_iter().map(ended).collect();
        lab.commits_left = Some(commits);
        lab.put(Input::Reports(reports));
        let rows = lab.journal.tasks.values().filter(|row| row.tenant == OTHER);
        let waiting = rows.filter(|row| row.state == TaskState::Scheduled).count();
        assert_eq!(promised(&lab), waiting, "after {commits} batches");
        seen.push(waiting);
        lab.commits_left = None;
        lab.crash();
        lab.confirm_kills();
        assert_eq!((held(&lab, OTHER), promised(&lab)), (8, 0), "after {commits} batches");
    }
    assert!(seen.contains(&8) && seen.contains(&0) && seen.iter().any(|n| (1..8).contains(n)), "{seen:?}");
}

#[test]
fn who_gave_way_is_known_as_such_after_a_restart() {
    let spent = |lab: &Lab| -> usize {
        let rows = lab.journal.continuations.values().filter_map(|row| row.work.as_ref());
        rows.filter_map(|work| work["sharing"]["spent"].as_array()).map(Vec::len).sum()
    };
    let mut lab = Lab::new();
    lab.executor("local", 2);
    set(&mut lab, TENANT, nominal(2));
    for (name, priority) in [("low", 1), ("middle", 2)] {
        one(&mut lab, name, |task| task.priority(priority));
    }
    one(&mut lab, "large", |task| task.priority(5).with(|task| task.gang = 2));
    lab.confirm_kills();
    assert_eq!(spent(&lab), 2, "nobody is ended for them before something else happens");
    lab.crash();
    assert_eq!(spent(&lab), 2);
    one(&mut lab, "later", |task| task.priority(1));
    assert_eq!(spent(&lab), 0);
}

#[test]
fn what_is_admitted_and_not_told_yet_waits_again_if_its_pool_becomes_smaller() {
    let mut lab = Lab::with(|config| config.step_transitions = 3);
    set(&mut lab, TENANT, nominal(9));
    lab.pool("few", 9);
    lab.activate(dag("d").tasks((0..9).map(|n| bash(&format!("t{n}")).pool("few"))));
    let queued = |lab: &Lab| lab.journal.tasks.values().filter(|row| row.state == TaskState::Queued).count();
    let request = |lab: &mut Lab, command: Command| {
        lab.journal.request(TENANT, "ann", command);
        Input::Inbox(lab.journal.requests(&lab.driver.taken(), 100))
    };
    let trigger = Trigger {
        dag_id: DagId::parse("d").unwrap(),
        run_name: None,
        logical_date: None,
        run_after: None,
        conf: serde_json::Map::new(),
        note: None,
        chain_depth: 0,
    };
    let mut input = request(&mut lab, Command::Trigger(trigger));
    // Batch after batch, until the first of them are told.
    while queued(&lab) == 0 {
        let actions = lab.driver.next(lab.now, input);
        lab.now = lab.now.max(lab.driver.engine().now());
        input = Input::Tick;
        for action in actions {
            if let Action::Commit(batch) = action {
                assert_eq!(lab.journal.write(&batch), Commit::Done);
                input = Input::Committed(Commit::Done);
            }
        }
    }
    assert!(queued(&lab) < 9, "they are told bit by bit");
    let most = queued(&lab) + 1;
    let slots = most as i32;
    let smaller = Command::SetPool { name: "few".parse().unwrap(), slots, include_deferred: false };
    let smaller = request(&mut lab, smaller);
    lab.driver.next(lab.now, smaller);
    lab.put(input);
    assert_eq!(queued(&lab), most);
    lab.pool("few", 9);
    assert_eq!(queued(&lab), 9);
}

#[test]
fn a_higher_priority_goes_before_what_runs_on_the_tenants_own_quota() {
    let mut lab = Lab::new();
    lab.executor("local", 1);
    set(&mut lab, TENANT, nominal(1));
    lab.activate(dag("low").task(bash("a").priority(1)));
    let low = lab.trigger("low");
    assert_eq!(lab.states(&low), "a=queued");
    lab.activate(dag("high").task(bash("b").priority(5)));
    let high = lab.trigger("high");
    assert_eq!(lab.kills.len(), 1);
    assert!(lab.kills[0].reason.contains("`b` of `high`"), "{:?}", lab.kills);
    lab.confirm_kills();
    assert_eq!((lab.states(&low).as_str(), lab.states(&high).as_str()), ("a=scheduled", "b=queued"));
}

#[test]
fn who_waits_for_a_quota_is_told_so() {
    let mut lab = Lab::new();
    lab.executor("local", 4);
    set(&mut lab, TENANT, Quota { nominal: 1, borrow: Some(0), lend: None });
    lab.activate(dag("d").task(bash("a").priority(2)).task(bash("b")));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=queued b=scheduled");
    let waiting = {
        let row = lab.run_row(&run);
        let engine = lab.driver.engine();
        engine.explain(TENANT, &row.dag_id, &row.run_name, &task_id("b"), -1).unwrap()
    };
    let quota = waiting.holds.iter().find(|hold| matches!(hold.limit, Limit::Quota { .. })).unwrap();
    assert!(quota.says.contains("the tenant uses 1 of at most 1 `members` of `local`"), "{}", quota.says);
    let Limit::Quota { used, wanted, limit, held_by, .. } = &quota.limit else { unreachable!() };
    assert_eq!((*used, *wanted, *limit), (1, 1, 1));
    assert_eq!(held_by.iter().map(|by| by.task_id.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_gang_that_no_quota_will_ever_hold_is_told_so() {
    let mut lab = Lab::new();
    lab.executor("local", 8);
    set(&mut lab, TENANT, Quota { nominal: 0, borrow: Some(1), lend: None });
    lab.activate(dag("d").task(bash("a").with(|task| task.gang = 2)));
    let run = lab.trigger("d");
    lab.advance(mins(10));
    assert_eq!(lab.states(&run), "a=scheduled");
    let row = lab.run_row(&run);
    let engine = lab.driver.engine();
    let waiting = engine.explain(TENANT, &row.dag_id, &row.run_name, &task_id("a"), -1).unwrap();
    let quota = waiting.holds.iter().find(|hold| matches!(hold.limit, Limit::Quota { .. })).unwrap();
    let says = "it asks for 2 `members` of `local`, and the tenant may never use more than 1";
    assert_eq!((quota.says.as_str(), quota.frees.as_str()), (says, "the quota is raised"));
    // It keeps nothing from others while it waits.
    many(&mut lab, OTHER, 8, |task| task);
    assert_eq!(held(&lab, OTHER), 8);
    set(&mut lab, TENANT, Quota { nominal: 0, borrow: Some(2), lend: None });
    one_succeeds(&mut lab, OTHER);
    one_succeeds(&mut lab, OTHER);
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn quotas_are_shown_with_their_use() {
    let mut lab = Lab::new();
    assert_eq!(lab.request(Command::ReadQuotas {}).unwrap()["quotas"], serde_json::json!([]));
    lab.executor("local", 6);
    let quotas = members(Quota { nominal: 4, borrow: Some(0), lend: None });
    let team = || Some(Arc::from("team"));
    let (weight, parent) = (Weight::ONE, None);
    lab.request(Command::SetCohort { name: "team".into(), parent, weight, quotas }).unwrap();
    let quotas = members(Quota { nominal: 0, borrow: Some(3), lend: None });
    lab.request(Command::SetQuota {
        cohort: team(),
        weight: Weight::whole(2),
        quotas,
        limits: Limits::default(),
    })
    .unwrap();
    let quotas = Quotas::from([(Arc::from("far"), [(Arc::from("members"), nominal(7))].into())]);
    lab.request_as(
        OTHER,
        Command::SetQuota { cohort: team(), weight: Weight::ONE, quotas, limits: Limits::default() },
    )
    .unwrap();
    many(&mut lab, TENANT, 5, |task| task);
    let answer = lab.request(Command::ReadQuotas {}).unwrap();
    let found: Vec<QuotaFigures> = serde_json::from_value(answer["quotas"].clone()).unwrap();
    let shown: Vec<String> = found
        .iter()
        .map(|it| {
            let amounts: Vec<String> = it
                .amounts
                .iter()
                .map(|of| {
                    let AmountFigures {
                        executor, guaranteed, used, borrowed, limit, available, quota, ..
                    } = of;
                    let nominal = quota.map(|quota| quota.nominal);
                    format!("{executor} {nominal:?} {guaranteed} {used} {borrowed} {limit:?} {available}")
                })
                .collect();
            let of = match &it.node {
                QuotaNode::Cohort(name) => name.to_string(),
                QuotaNode::Tenant(tenant) => if *tenant == OTHER { "other" } else { "own" }.to_owned(),
            };
            let share = it.share_per_mille;
            format!(
                "{of} in {:?} x{} {share:?} {} waiting: {}",
                it.cohort,
                it.weight,
                it.waiting,
                amounts.join(", ")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "root in None x1 Some(0) 2 waiting: local None 6 3 0 Some(6) 3",
            "team in Some(\"root\") x1 Some(0) 2 waiting: local Some(4) 4 3 0 Some(4) 1",
            "other in Some(\"team\") x1 Some(0) 0 waiting: far Some(7) 0 0 0 None 0",
            "own in Some(\"team\") x2 Some(250) 2 waiting: local Some(0) 0 3 3 Some(3) 0",
        ]
    );
}

#[test]
fn quotas_that_make_no_sense_are_refused() {
    let mut lab = Lab::new();
    let code = |lab: &mut Lab, command: Command| lab.request(command).unwrap_err().code;
    let quotas = members(nominal(-1));
    let negative = Command::SetQuota { cohort: None, weight: Weight::ONE, quotas, limits: Limits::default() };
    assert_eq!(code(&mut lab, negative), "quota.amount");
    let unknown = Some(Arc::from("nobody"));
    let unknown = Command::SetQuota {
        cohort: unknown,
        weight: Weight::ONE,
        quotas: Quotas::new(),
        limits: Limits::default(),
    };
    assert_eq!(code(&mut lab, unknown), "cohort.not_found");
    let cohort = |name: &str, parent: Option<&str>| Command::SetCohort {
        name: name.into(),
        parent: parent.map(Into::into),
        weight: Weight::ONE,
        quotas: Quotas::new(),
    };
    lab.request(cohort("a", None)).unwrap();
    lab.request(cohort("b", Some("a"))).unwrap();
    assert_eq!(code(&mut lab, cohort("a", Some("b"))), "cohort.cycle");
    assert_eq!(code(&mut lab, Command::DeleteCohort { name: "a".into() }), "cohort.in_use");
    assert_eq!(code(&mut lab, cohort("root", Some("a"))), "cohort.root");
    assert_eq!(code(&mut lab, cohort("a b", None)), "cohort.name");
    assert_eq!(code(&mut lab, cohort("6f9619ff-8b86-d011-b42d-00c04fc964ff", None)), "cohort.name");
    assert!(lab.journal.quotas.contains_key(&QuotaNode::Cohort("a".into())));
    lab.request(Command::DeleteCohort { name: "b".into() }).unwrap();
    lab.request(Command::DeleteCohort { name: "a".into() }).unwrap();
    assert!(lab.journal.quotas.is_empty());
}

#[test]
fn without_quotas_everything_is_as_before() {
    let mut lab = Lab::new();
    lab.executor("local", 2);
    set(&mut lab, TENANT, Quota { nominal: 1, borrow: Some(0), lend: None });
    many(&mut lab, TENANT, 4, |task| task);
    assert_eq!(held(&lab, TENANT), 1);
    lab.request(Command::DeleteQuota {}).unwrap();
    assert_eq!(held(&lab, TENANT), 2);
    for _ in 0..4 {
        one_succeeds(&mut lab, TENANT);
    }
    assert_eq!(held(&lab, TENANT), 0);
}

/// Sets limits of the default tenant.
fn limit(lab: &mut Lab, limits: Limits) {
    let quotas = Quotas::new();
    lab.request(Command::SetQuota { cohort: None, weight: Weight::ONE, quotas, limits }).unwrap();
}

/// What holds a task of a run, in sentences.
fn says(lab: &Lab, run: &str, task: &str) -> String {
    let row = lab.run_row(run);
    let engine = lab.driver.engine();
    let waiting = engine.explain(row.tenant, &row.dag_id, &row.run_name, &task_id(task), -1).unwrap();
    waiting.holds.into_iter().map(|hold| hold.says).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_tenant_has_no_more_at_once_than_its_limit() {
    let mut lab = Lab::new();
    lab.executor("local", 10);
    limit(&mut lab, Limits { tasks: Some(3), ..Limits::default() });
    lab.activate(dag("d").tasks((0..5).map(|n| bash(&format!("t{n}")))));
    let run = lab.trigger("d");
    many(&mut lab, OTHER, 4, |task| task);
    assert_eq!((held(&lab, TENANT), held(&lab, OTHER)), (3, 4));
    let why = says(&lab, &run, "t4");
    assert!(
        why.contains("3 of at most 3 tasks of the tenant are handed over; 1 of the same tenant go"),
        "{why}"
    );
    lab.crash();
    one_succeeds(&mut lab, TENANT);
    assert_eq!(held(&lab, TENANT), 3);
    limit(&mut lab, Limits::default());
    assert_eq!(held(&lab, TENANT), 4);
}

#[test]
fn users_and_groups_have_limits_of_their_own() {
    let mut lab = Lab::new();
    lab.executor("local", 20);
    let group = GroupLimit { tasks: 3, users: ["ann".into(), "bob".into()].into() };
    let users = [("cy".into(), 4)].into();
    let groups = [("interns".into(), group)].into();
    limit(&mut lab, Limits { tasks_per_user: Some(2), users, groups, ..Limits::default() });
    lab.activate(dag("d").max_active_runs(9).tasks((0..5).map(|n| bash(&format!("t{n}")))));
    let held_of = |lab: &mut Lab, user: &str| {
        lab.request_by(TENANT, user, named("d", user)).unwrap();
        lab.held.iter().filter(|dispatch| dispatch.run_name.as_str() == user).count()
    };
    assert_eq!(held_of(&mut lab, "ann"), 2, "her own limit");
    assert_eq!(held_of(&mut lab, "bob"), 1, "the group's");
    assert_eq!(held_of(&mut lab, "cy"), 4, "his own");
    assert_eq!(held_of(&mut lab, "dan"), 2, "each user's");
    let why = says(&lab, "bob", "t4");
    assert!(why.contains("3 of at most 3 tasks of group `interns` are handed over"), "{why}");
    let why = says(&lab, "dan", "t4");
    assert!(why.contains("2 of at most 2 tasks of user `dan` are handed over"), "{why}");
    lab.crash();
    assert_eq!(lab.held.len(), 9);
}

#[test]
fn while_the_queue_is_full_no_run_is_made() {
    let mut lab = Lab::new();
    lab.executor("local", 1);
    limit(&mut lab, Limits { queued: Some(2), ..Limits::default() });
    lab.activate(dag("d").max_active_runs(9).tasks((0..3).map(|n| bash(&format!("t{n}")))));
    lab.trigger("d");
    let refused = lab.trigger_with("d", |_| {}).unwrap_err();
    assert_eq!(refused.code, "tenant.queue_full", "{refused:?}");
    assert!(refused.message.contains("2 task instances of the tenant wait"), "{refused:?}");
    lab.activate(dag("s").cron("* * * * *").task(bash("a")));
    lab.advance(mins(3));
    let made = |lab: &Lab| lab.journal.runs.values().filter(|row| row.dag_id.as_str() == "s").count();
    assert_eq!(made(&lab), 0, "the schedule waits too");
    one_succeeds(&mut lab, TENANT);
    lab.advance(mins(1));
    assert_eq!(made(&lab), 1);
}

#[test]
fn a_tenant_says_when_room_is_kept_for_what_waits() {
    for (hold_after_s, no_hold, kept) in [(Some(60), false, true), (None, true, false), (None, false, false)]
    {
        let mut lab = Lab::new();
        lab.executor("local", 2);
        limit(&mut lab, Limits { hold_after_s, no_hold, ..Limits::default() });
        one(&mut lab, "s1", |task| task.priority(5));
        one(&mut lab, "s2", |task| task.priority(5));
        let large = one(&mut lab, "large", |task| task.with(|task| task.gang = 2).priority(1));
        let says = says(&lab, &large, "large");
        assert_eq!(says.contains("on what becomes free is kept for it"), !no_hold, "{says}");
        lab.advance(mins(2));
        assert_eq!(promised(&lab), usize::from(kept), "{hold_after_s:?} {no_hold}");
    }
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let mut lab = Lab::new();
    let group = GroupLimit { tasks: 1, users: std::collections::BTreeSet::new() };
    let both = Limits { hold_after_s: Some(1), no_hold: true, ..Limits::default() };
    for limits in [both, Limits { groups: [("g".into(), group)].into(), ..Limits::default() }] {
        let quotas = Quotas::new();
        let command = Command::SetQuota { cohort: None, weight: Weight::ONE, quotas, limits };
        assert_eq!(lab.request(command).unwrap_err().code, "quota.limits");
    }
}

#[test]
fn nothing_of_a_suspended_tenant_starts() {
    for quotas in [false, true] {
        let mut lab = Lab::new();
        lab.executor("local", 2);
        if quotas {
            set(&mut lab, OTHER, nominal(1));
        }
        many(&mut lab, OTHER, 3, |task| task);
        assert_eq!(held(&lab, OTHER), 2);
        let suspend = |lab: &mut Lab, suspended: bool| {
            lab.request_as(OTHER, Command::SuspendTenant { suspended }).unwrap();
            if suspended {
                lab.journal.suspended.insert(OTHER);
            } else {
                lab.journal.suspended.remove(&OTHER);
            }
        };
        suspend(&mut lab, true);
        one_succeeds(&mut lab, OTHER);
        assert_eq!((held(&lab, OTHER), lab.kills.len()), (1, 0), "what runs goes on, and nothing starts");
        let run = lab.journal.runs.values().next().unwrap().run_name.to_string();
        let why = says(&lab, &run, "t2");
        assert!(why.starts_with("the tenant is suspended"), "{why}");
        many(&mut lab, TENANT, 3, |task| task);
        assert_eq!(held(&lab, TENANT), 1, "what it doesn't use is lent");
        lab.crash();
        one_succeeds(&mut lab, OTHER);
        assert_eq!((held(&lab, TENANT), held(&lab, OTHER)), (2, 0));
        suspend(&mut lab, false);
        if quotas {
            assert_eq!(lab.kills.len(), 1, "it has its own back");
            lab.confirm_kills();
        } else {
            one_succeeds(&mut lab, TENANT);
        }
        assert_eq!(held(&lab, OTHER), 1);
    }
}

#[test]
fn what_is_being_ended_by_hand_counts_against_limits_until_it_has_ended() {
    for crashes in [false, true] {
        let mut lab = Lab::new();
        lab.executor("local", 20);
        limit(&mut lab, Limits { tasks_per_user: Some(2), ..Limits::default() });
        lab.activate(dag("d").tasks((0..4).map(|n| bash(&format!("t{n}")))));
        lab.request_by(TENANT, "ann", named("d", "by_ann")).unwrap();
        assert_eq!(lab.held.len(), 2);
        let first = lab.held[0].task_id.to_string();
        lab.mark("by_ann", [first.as_str()], TaskState::Success);
        assert_eq!(lab.kills.len(), 1);
        if crashes {
            lab.crash();
        }
        assert_eq!(lab.held.len(), 2, "its place is taken until its end is confirmed: {crashes}");
        lab.confirm_kills();
        assert_eq!(lab.held.len(), 2, "the next one has its place: {crashes}");
        assert!(lab.held.iter().all(|dispatch| dispatch.task_id.as_str() != first), "{crashes}");
    }
}

#[test]
fn a_task_that_is_being_ended_counts_against_the_limit_of_its_dag() {
    for crashes in [false, true] {
        let mut lab = Lab::new();
        lab.executor("local", 20);
        set(&mut lab, TENANT, nominal(20));
        let one = bash("a").with(|task| task.max_active = Some(1));
        lab.activate(dag("d").max_active_runs(9).task(one));
        for run in ["first", "second"] {
            lab.request(named("d", run)).unwrap();
        }
        assert_eq!(lab.held.len(), 1);
        let run = lab.held[0].run_name.to_string();
        lab.mark(&run, ["a"], TaskState::Success);
        if crashes {
            lab.crash();
        }
        assert_eq!(lab.held.len(), 1, "its place is taken until its end is confirmed: {crashes}");
        lab.confirm_kills();
        assert_eq!(lab.held.len(), 1, "{crashes}");
        assert_ne!(lab.held[0].run_name.as_str(), run, "{crashes}");
    }
}
