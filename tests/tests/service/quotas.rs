//! Two tenants that share an executor: one borrows what the other leaves idle, and gives it back when the other comes.

use std::process::{Command, Output};

use dags::ids::{RunName, TenantId};
use engine::{
    command,
    rows::{RunRow, TaskRow},
    state::{RunState, TaskState},
};
use migrations::{
    TenantScope,
    store::{
        self,
        bundle::{NewBundle, NewVersion},
        inbox, tenant,
    },
};
use serde_json::Value;

use crate::{
    history, on_both,
    site::{LATE, SCOPE, SOON, Site, program},
};

on_both!(what_one_tenant_borrows_the_other_has_back);

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

/// The default tenant's DAG, for another tenant too.
async fn share(site: &Site, scope: TenantScope) {
    let found = site.dag("long").await.unwrap();
    let digest = found.row.bundle.clone();
    let (version, model) = (found.row.version.clone(), found.model().unwrap().clone());
    let activated = command::ActivatedDag {
        dag_id: found.row.dag_id.clone(),
        version: version.clone(),
        bundle: None,
        paused_upon_creation: false,
    };
    let versions = vec![NewVersion { version, model, source: found.source }];
    let new = NewBundle { digest: digest.clone(), bytes: 1, files: 1, created_by: None, versions };
    store::bundle::store(&site.db, scope, &new).await.unwrap();
    let command = command::Command::ActivateBundle { bundle: digest, dags: vec![activated] };
    inbox::insert(&site.db, scope, "tests", &command, None).await.unwrap();
    site.until(SOON, "the other tenant has the DAG", async || {
        let found = store::dag::get(&site.db, scope, &"long".parse().unwrap()).await.unwrap();
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
        let states: Vec<TaskState> = tasks(site, scope).await.iter().map(|row| row.state).collect();
        let count = |state| states.iter().filter(|of| **of == state).count();
        let settled = (count(TaskState::Running), count(TaskState::Queued)) == (wanted, 0);
        if settled { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
}

/// What a tenant has of `members` of the local executor.
fn members(site: &Site, tenant: &str) -> Value {
    let shown = updraft(site, &["quotas", "show", "tenant", tenant, "--format", "json"]);
    let quota: Value = serde_json::from_str(&shown).unwrap();
    quota["amounts"].as_array().unwrap().iter().find(|of| of["resource"] == "members").unwrap().clone()
}

async fn what_one_tenant_borrows_the_other_has_back(site: Site) {
    site.write_dag("long.yaml", &dag(&site, 5));
    let service = site.start_with(&["--set", "executors.local.slots=4"]);
    service.ready(&site).await;
    updraft(&site, &["tenants", "create", "other"]);
    let other = tenant::by_name(&site.db, "other").await.unwrap().unwrap().id;
    let other = TenantScope::new(other);
    share(&site, other).await;
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

    // The owner comes: what was lent is ended and waits again, in the same try.
    updraft(&site, &["dags", "trigger", "long", "--run", "r", "--tenant", "other"]);
    running(&site, other, 2).await;
    running(&site, SCOPE, 2).await;
    let gave_way: Vec<TaskRow> =
        tasks(&site, SCOPE).await.into_iter().filter(|row| row.preempted == 1).collect();
    let seen: Vec<_> = gave_way.iter().map(|row| (row.state, row.try_number)).collect();
    assert_eq!(seen, [(TaskState::Scheduled, 1); 2]);
    assert!(
        gave_way.iter().all(|row| row.reason.as_ref().unwrap().starts_with("it gave way")),
        "{gave_way:?}"
    );
    assert_eq!(members(&site, &own)["borrowed"], 0);
    let waiting =
        tasks(&site, other).await.into_iter().find(|row| row.state == TaskState::Scheduled).unwrap();
    let why = updraft(&site, &["tasks", "why", "long", "r", waiting.task.as_str(), "--tenant", "other"]);
    assert!(why.contains("the tenant uses 2 of at most 2 `members` of `local`, and it asks for 1"), "{why}");

    std::fs::write(site.path("effects/go"), "").unwrap();
    assert_eq!(site.ended("long", "r").await.state, RunState::Success);
    site.until(LATE, "the other tenant's run ends", async || match run(&site, other).await {
        row if row.ended_at.is_some() => Ok(()),
        row => Err(format!("{row:?}")),
    })
    .await;
    assert_eq!(run(&site, other).await.state, RunState::Success);
    history::is_legal(&site, &run(&site, SCOPE).await).await;
    updraft(&site, &["quotas", "delete", "tenant", "other"]);
    updraft(&site, &["quotas", "delete", "tenant", &own]);
    updraft(&site, &["quotas", "delete", "cohort", "team"]);
    assert!(updraft(&site, &["quotas", "list"]).contains("no quota is set"));
}
