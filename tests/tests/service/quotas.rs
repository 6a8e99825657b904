//! Two tenants that share an executor: one borrows what the other leaves idle, and gives it back when the other comes.

use std::{
    fs,
    process::{Command, Output},
};

use dags::ids::{DagId, RunName, TenantId};
use engine::{
    command::{self, ActivatedDag},
    rows::{RunRow, TaskRow},
    state::{RunState, TaskState},
};
use migrations::{
    TenantScope,
    store::{
        self,
        bundle::{NewBundle, NewVersion},
        tenant,
    },
};
use serde_json::Value;

use crate::{
    history, on_both,
    site::{LATE, SCOPE, SOON, Site, program},
    workers::Fleet,
};

on_both!(what_the_other_tenant_leaves_idle_is_borrowed, what_was_borrowed_is_given_back);

/// A DAG of so many tasks that run until a file is there. Told to end, they wait for another file before they do.
fn dag(site: &Site, executor: &str, tasks: usize) -> String {
    let (go, way) = (site.path("effects/go"), site.path("effects/way"));
    let (go, way, effects) = (go.display(), way.display(), site.effects());
    let task = |n| {
        format!(
            "  t{n}:\n    bash: |\n      trap 'until test -e {way}; do sleep 0.05; done; exit 7' TERM\n      \
             echo t{n} try {{{{ ti.try_number }}}} >> {}\n      until test -e {go}; do sleep 0.05; done\n",
            effects.display()
        )
    };
    let tasks: String = (0..tasks).map(task).collect();
    format!("dag: long\ndefaults: {{ executor: {executor} }}\ntasks:\n{tasks}")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// `updraft` with these arguments, for the service of this place.
fn updraft(site: &Site, arguments: &[&str]) -> String {
    let socket = site.path("data/updraft.sock");
    let output = Command::new(program()).args(arguments).arg("--socket").arg(&socket).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Lets a machine become a worker for attempts of a tenant.
fn enrol(site: &Site, machine: &str, tenant: &str) {
    let own = format!("sqlite:{}", site.path("data/updraft.db").display());
    let made = Command::new(program())
        .args(["workers", "enrol", "--tenant", tenant])
        .env("UPDRAFT__DATABASE__URL", site.url().unwrap_or(&own))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made));
    fs::write(site.path(&format!("{machine}.token")), made.stdout).unwrap();
}

/// Gives another tenant the DAG that the folder gave the default one.
async fn share(site: &Site, scope: TenantScope) {
    let dag: DagId = "long".parse().unwrap();
    let known = store::bundle::versions(&site.db, SCOPE, &dag).await.unwrap().remove(0);
    let (digest, version) = (known.bundle, known.version);
    let versions =
        vec![NewVersion { version: version.clone(), model: known.model, source: known.source.clone() }];
    let new = NewBundle { digest: digest.clone(), bytes: 1, files: 1, created_by: None, versions };
    store::bundle::store(&site.db, scope, &new).await.unwrap();
    let dags = vec![ActivatedDag { dag_id: dag.clone(), version, bundle: None, paused_upon_creation: false }];
    let command = command::Command::ActivateBundle { bundle: digest, base: command::Base::Any, dags };
    store::inbox::insert(&site.db, scope, "tests", &command, None).await.unwrap();
    site.until(SOON, "the other tenant has the DAG", async || {
        let found = store::dag::get(&site.db, scope, &dag).await.unwrap();
        found.map(|_| ()).ok_or_else(|| "no such DAG".to_owned())
    })
    .await;
}

async fn run(site: &Site, scope: TenantScope) -> RunRow {
    let (dag, name): (_, RunName) = ("long".parse().unwrap(), "r".parse().unwrap());
    store::run::by_name(&site.db, scope, &dag, &name).await.unwrap().unwrap()
}

async fn tasks(site: &Site, scope: TenantScope) -> Vec<TaskRow> {
    let everything = store::Window { limit: 100, offset: 0 };
    let run = run(site, scope).await.run;
    let filter = store::task_instance::TaskFilter::default();
    store::task_instance::list(&site.db, scope, run, &filter, everything).await.unwrap().rows
}

/// Waits until so many tasks of a tenant run, and no more are handed over.
async fn running(site: &Site, scope: TenantScope, wanted: usize) {
    site.until(LATE, &format!("{wanted} tasks run"), async || {
        let tasks = tasks(site, scope).await;
        let count = |state| tasks.iter().filter(|row| row.state == state).count();
        let settled = (count(TaskState::Running), count(TaskState::Queued)) == (wanted, 0);
        let seen: Vec<_> = tasks.iter().map(|row| (row.state, row.reason.as_deref())).collect();
        if settled { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

/// What a tenant has of `members` of the local executor.
fn members(site: &Site, tenant: &str) -> Value {
    let shown = updraft(site, &["quotas", "show", "tenant", tenant, "--format", "json"]);
    let quota: Value = serde_json::from_str(&shown).unwrap();
    quota["amounts"].as_array().unwrap().iter().find(|of| of["resource"] == "members").unwrap().clone()
}

async fn what_the_other_tenant_leaves_idle_is_borrowed(site: Site) {
    site.write_dag("long.yaml", &dag(&site, "local", 5));
    let service = site.start_with(&["--set", "executors.local.slots=4"]);
    service.ready(&site).await;
    updraft(&site, &["tenants", "create", "other"]);
    site.dag_is_there("long").await;
    let own = tenant::by_id(&site.db, TenantId::DEFAULT).await.unwrap().unwrap().name;
    updraft(&site, &["quotas", "set", "cohort", "team"]);
    let quota = ["--cohort", "team", "--quota"];
    let set = |tenant: &str, amounts: &str| {
        updraft(&site, &[&["quotas", "set", "tenant", tenant], &quota[..], &[amounts]].concat());
    };
    set(&own, "local:members=2");
    set("other", "local:members=2,borrow=0");

    // Nobody else is there, so all of it is lent.
    updraft(&site, &["dags", "trigger", "long", "--run", "r"]);
    running(&site, SCOPE, 4).await;
    let shown = members(&site, &own);
    assert_eq!((&shown["used"], &shown["borrowed"], &shown["available"]), (&4.into(), &2.into(), &0.into()));
    let waiting =
        tasks(&site, SCOPE).await.into_iter().find(|row| row.state == TaskState::Scheduled).unwrap();
    let why = updraft(&site, &["tasks", "why", "long", "r", waiting.task.as_str()]);
    assert!(why.contains("executor `local` runs 4 of at most 4"), "{why}");

    std::fs::write(site.path("effects/go"), "").unwrap();
    assert_eq!(site.ended("long", "r").await.state, RunState::Success);
    history::is_legal(&site, &run(&site, SCOPE).await).await;
    updraft(&site, &["quotas", "delete", "tenant", "other"]);
    updraft(&site, &["quotas", "delete", "tenant", &own]);
    updraft(&site, &["quotas", "delete", "cohort", "team"]);
    assert!(updraft(&site, &["quotas", "list"]).contains("no quota is set"));
}

/// What a tenant's tasks are, in order of their names.
async fn seen(site: &Site, scope: TenantScope) -> Vec<(TaskState, u32, u32)> {
    let mut tasks = tasks(site, scope).await;
    tasks.sort_by(|a, b| a.task.cmp(&b.task));
    tasks.iter().map(|row| (row.state, row.try_number, row.preempted)).collect()
}

/// Each tenant has a machine with room for four, and both together may run three: two of them are guaranteed to the second.
async fn what_was_borrowed_is_given_back(site: Site) {
    site.write_dag("long.yaml", &dag(&site, "workers", 4));
    let fleet = Fleet::of(site);
    let site = &fleet.site;
    let service = fleet.start();
    service.ready(site).await;
    updraft(site, &["tenants", "create", "other"]);
    let other = tenant::by_name(&site.db, "other").await.unwrap().unwrap();
    let other = TenantScope::new(other.id);
    let own = tenant::by_id(&site.db, TenantId::DEFAULT).await.unwrap().unwrap().name;
    site.dag_is_there("long").await;
    share(site, other).await;
    enrol(site, "worker1", &own);
    enrol(site, "worker2", "other");
    let _workers = ["worker1", "worker2"].map(|name| fleet.worker(name, &["--slots", "4"]));
    updraft(site, &["quotas", "set", "cohort", "root", "--quota", "workers:members=0"]);
    updraft(site, &["quotas", "set", "tenant", &own, "--quota", "workers:members=1"]);
    updraft(site, &["quotas", "set", "tenant", "other", "--quota", "workers:members=2"]);

    updraft(site, &["dags", "trigger", "long", "--run", "r"]);
    running(site, SCOPE, 3).await;
    let last =
        tasks(site, SCOPE).await.into_iter().find(|row| row.state == TaskState::Scheduled).unwrap().task;
    let why = updraft(site, &["tasks", "why", "long", "r", last.as_str()]);
    assert!(
        why.contains("cohort `root` uses 3 of at most 3 `members` of `workers`, and it asks for 1"),
        "{why}"
    );
    assert!(why.contains("0 of the same tenant go before it"), "{why}");

    site.until(SOON, "they don't end at once when they are told to", async || {
        if site.lines().len() == 3 { Ok(()) } else { Err(format!("{:?}", site.lines())) }
    })
    .await;

    // Its owner comes: two must give way, and aren't quick to.
    updraft(site, &["dags", "trigger", "long", "--run", "r", "--tenant", "other"]);
    let why_other = |task: &str| updraft(site, &["tasks", "why", "long", "r", task, "--tenant", "other"]);
    site.until(SOON, "room is made for two at once", async || {
        let why = ["t0", "t1", "t2"].map(why_other);
        let made = |why: &String| why.contains("1 running task is being ended so that it can run");
        if why.iter().map(made).eq([true, true, false]) { Ok(()) } else { Err(why.concat()) }
    })
    .await;
    service.kill();
    let service = fleet.start();
    service.ready(site).await;
    site.until(SOON, "the service is back and hears its workers", async || {
        let why = why_other("t0");
        if why.contains("is being ended so that it can run") { Ok(()) } else { Err(why) }
    })
    .await;
    assert_eq!(site.lines().len(), 3, "nothing else has started: {:?}", site.lines());
    let held = (TaskState::Running, 1, 0);
    let waits = (TaskState::Scheduled, 1, 0);
    assert_eq!(seen(site, SCOPE).await, [held, held, held, waits]);
    fs::write(site.path("effects/way"), "").unwrap();
    running(site, other, 2).await;
    let gave_way = (TaskState::Scheduled, 1, 1);
    let mut now = seen(site, SCOPE).await;
    now.sort();
    assert_eq!(now, [waits, gave_way, gave_way, held], "they wait again, in the same try");
    let reasons: Vec<_> = tasks(site, SCOPE).await.into_iter().filter_map(|row| row.reason).collect();
    assert!(reasons.iter().filter(|why| why.contains("it gave way")).count() == 2, "{reasons:?}");

    fs::write(site.path("effects/go"), "").unwrap();
    for scope in [SCOPE, other] {
        site.until(LATE, "both runs end", async || {
            let row = run(site, scope).await;
            if row.state.is_finished() { Ok(()) } else { Err(format!("{row:?}")) }
        })
        .await;
        assert_eq!(run(site, scope).await.state, RunState::Success);
        tests::history::is_legal(&site.db, scope, &run(site, scope).await).await.unwrap();
    }
    assert!(site.lines().iter().all(|line| line.ends_with("try 1")), "{:?}", site.lines());
    assert_eq!(site.lines().len(), 4 + 4 + 2, "{:?}", site.lines());
}
