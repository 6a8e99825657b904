//! Two tenants that share an executor: one borrows what the other leaves idle. A machine runs attempts of one tenant only, so
//! that the other has it back is shown by the engine's rules and the simulator.

use std::process::{Command, Output};

use dags::ids::{RunName, TenantId};
use engine::{
    rows::{RunRow, TaskRow},
    state::{RunState, TaskState},
};
use migrations::{
    TenantScope,
    store::{self, tenant},
};
use serde_json::Value;

use crate::{
    history, on_both,
    site::{LATE, SCOPE, Site, program},
};

on_both!(what_the_other_tenant_leaves_idle_is_borrowed);

/// A DAG of so many tasks that run until a file is there.
fn dag(site: &Site, tasks: usize) -> String {
    let go = site.path("effects/go");
    let task = |n| format!("  t{n}: {{ bash: 'until test -e {}; do sleep 0.05; done' }}\n", go.display());
    format!("dag: long\ntasks:\n{}", (0..tasks).map(task).collect::<String>())
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
    site.write_dag("long.yaml", &dag(&site, 5));
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
