//! What the service and the API read and write.

use std::{
    collections::{BTreeMap, BTreeSet},
    task::Poll,
};

use dags::{
    ids::{DispatchId, ShardId, TenantId, WorkerId},
    time::{Span, Timestamp},
};
use engine::{
    dispatch::{ResultRef, Withdrawn},
    fleet::WorkerSpec,
    journal::{Commit, Journal as _},
    rows::{AttemptRow, Batch, Changed, EventRow, PoolRow, ResultRow, TaskRow},
    state::{RunState, TaskState},
};
use migrations::{
    Error, TenantScope,
    policy::Visible,
    seal::{MasterKey, SealError, Sealer},
    store::{
        Window,
        asset::{self, EventFilter},
        attempt_claim,
        attempt_claim::{Claim, Wanted},
        audit, backfill, bundle, connection, dag, event,
        event::EventCursor,
        inbox, pool, result, run,
        run::RunFilter,
        task_instance,
        task_instance::TaskFilter,
        tenant, variable, worker,
    },
};

use migrations::wake::{self, Ear, Topic};

use crate::{
    batches::{self, Random},
    fixture::{self, OTHER, batch, first_batch, owned, scope, to},
    model::Model,
    support::{TestDb, on_both},
};

on_both!(
    lists_filter_and_page,
    results_are_those_of_the_current_attempt,
    the_first_claimant_of_a_current_dispatch_wins,
    what_is_withdrawn_goes_to_nobody_unless_it_was_claimed_before,
    a_worker_enrols_once_and_registers_at_each_start,
    events_are_read_in_the_order_of_commits,
    bundles_and_versions_are_stored_once,
    variables_are_write_only_when_secret,
    connections_keep_their_secrets_to_themselves,
    a_secret_moved_to_another_row_does_not_open,
    a_tenant_sees_nothing_of_another,
    hints_wake_whoever_listens,
);

const ALL: Window = Window { limit: 10_000, offset: 0 };

fn other() -> TenantScope {
    TenantScope::new(OTHER)
}

async fn lists_filter_and_page(test: TestDb) {
    let db = &test.db;
    for name in ["d", "e"] {
        fixture::store_version(db, scope(), name, "one").await;
    }
    let mut journal = owned(db, "one").await;
    let (mut first, ..) = first_batch();
    first.new_runs.clear();
    first.new_tasks.clear();
    for n in 0..10 {
        let mut run = fixture::run(TenantId::DEFAULT, if n < 7 { "d" } else { "e" }, &format!("r{n}"));
        (run.run_after, run.logical_date) = (Timestamp(n), Some(Timestamp(n)));
        run.state = if n % 2 == 0 { RunState::Success } else { RunState::Failed };
        first.new_runs.push(run);
    }
    let mut paused = fixture::dag(TenantId::DEFAULT, "e", "one");
    paused.paused = true;
    first.dags.push(paused);
    let pool =
        PoolRow { tenant: TenantId::DEFAULT, name: "p".parse().unwrap(), slots: 3, include_deferred: true };
    first.pools.push(pool.clone());
    assert_eq!(journal.commit(&first).await, Commit::Done);

    let names = async |filter: RunFilter, limit: u64, offset: u64| {
        let page = run::list(db, scope(), &filter, Window { limit, offset }).await.unwrap();
        (page.rows.iter().map(|run| run.run_name.to_string()).collect::<Vec<_>>().join(" "), page.total)
    };
    let all = RunFilter::default();
    assert_eq!(names(all.clone(), 3, 0).await, ("r9 r8 r7".to_owned(), 10));
    assert_eq!(names(all.clone(), 3, 8).await, ("r1 r0".to_owned(), 10));
    let of_d = RunFilter { dag_id: Some(fixture::dag_id("d")), ..all.clone() };
    assert_eq!(names(of_d.clone(), 2, 0).await, ("r6 r5".to_owned(), 7));
    let failed = RunFilter { states: vec![RunState::Failed, RunState::Running], ..of_d };
    assert_eq!(names(failed, 9, 0).await, ("r5 r3 r1".to_owned(), 3));
    let between = RunFilter {
        run_after_from: Some(Timestamp(2)),
        run_after_to: Some(Timestamp(5)),
        logical_date_from: Some(Timestamp(3)),
        logical_date_to: Some(Timestamp(4)),
        ..all
    };
    assert_eq!(names(between, 9, 0).await, ("r4 r3".to_owned(), 2));
    let by_name =
        run::by_name(db, scope(), &fixture::dag_id("d"), &first.new_runs[3].run_name).await.unwrap();
    assert_eq!(by_name.as_ref(), Some(&first.new_runs[3]));

    let found = async |filter: dag::DagFilter| {
        let page = dag::list(db, scope(), &filter, ALL).await.unwrap();
        page.rows.iter().map(|dag| dag.row.dag_id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found(dag::DagFilter::default()).await, "d e");
    assert_eq!(found(dag::DagFilter { paused: Some(true), ..dag::DagFilter::default() }).await, "e");
    for (text, expected) in [("d", "d"), ("%", ""), ("_", "")] {
        let filter = dag::DagFilter { name_contains: Some(text.to_owned()), ..dag::DagFilter::default() };
        assert_eq!(found(filter).await, expected, "{text}");
    }
    let one = dag::get(db, scope(), &fixture::dag_id("d")).await.unwrap().unwrap();
    assert_eq!((&*one.source, one.model().unwrap()), ("d.yaml", &fixture::model("d", "one")));
    assert_eq!(pool::list(db, scope()).await.unwrap(), std::slice::from_ref(&pool));
    assert_eq!(pool::get(db, scope(), &pool.name).await.unwrap(), Some(pool));
}

fn next_try(row: &TaskRow, state: TaskState) -> Changed<TaskState, TaskRow> {
    let mut changed = to(row, state);
    changed.row.try_number += 1;
    changed.row.dispatch_n = 1;
    changed
}

async fn results_are_those_of_the_current_attempt(test: TestDb) {
    let db = &test.db;
    let mut journal = owned(db, "one").await;
    let (first, run, task) = first_batch();
    assert_eq!(journal.commit(&first).await, Commit::Done);
    let running = next_try(&task, TaskState::Running);
    assert_eq!(journal.commit(&Batch { tasks: vec![running.clone()], ..batch(2) }).await, Commit::Done);

    let key = (run.run, &task.task, -1);
    let read = async || result::get(db, scope(), key.0, key.1, key.2).await.unwrap().map(|row| row.value);
    let put = async |dispatch: DispatchId, n: i64| {
        let value = ResultRef::Inline(n.into());
        result::put(db, scope(), key.0, key.1, key.2, dispatch, &value).await.unwrap()
    };
    let dispatch = DispatchId { attempt: running.row.attempt(), n: 1 };
    assert_eq!(read().await, None);
    assert!(put(dispatch, 1).await);
    assert!(put(dispatch, 2).await);
    assert!(!put(DispatchId { n: 2, ..dispatch }, 3).await);
    assert!(!put(DispatchId { attempt: task.attempt(), n: 1 }, 3).await);
    assert_eq!(read().await, Some(ResultRef::Inline(2.into())));

    // The end of the attempt brings the final value.
    let stored = ResultRef::Stored { digest: "ab".repeat(32), bytes: 70_000 };
    let ended = to(&running.row, TaskState::Success);
    let results = vec![ResultRow {
        tenant: run.tenant,
        run: run.run,
        task: task.task.clone(),
        map_index: -1,
        attempt: ended.row.attempt(),
        value: stored.clone(),
    }];
    assert_eq!(
        journal.commit(&Batch { tasks: vec![ended.clone()], results, ..batch(3) }).await,
        Commit::Done
    );
    assert_eq!(read().await, Some(stored));
    assert_eq!(result::of_task(db, scope(), run.run, &task.task).await.unwrap().len(), 1);
    assert!(!put(dispatch, 4).await, "the attempt is over");

    // A new try, and the old value is there no more.
    let again = next_try(&ended.row, TaskState::None);
    let attempts = vec![AttemptRow { row: ended.row.clone() }];
    assert_eq!(journal.commit(&Batch { tasks: vec![again], attempts, ..batch(4) }).await, Commit::Done);
    assert_eq!(read().await, None);
    assert!(result::of_task(db, scope(), run.run, &task.task).await.unwrap().is_empty());
    let tries = task_instance::tries(db, scope(), key.0, key.1, key.2).await.unwrap();
    assert_eq!(tries, [AttemptRow { row: ended.row }]);
}

async fn the_first_claimant_of_a_current_dispatch_wins(test: TestDb) {
    let db = &test.db;
    let mut journal = owned(db, "one").await;
    let run = fixture::run(TenantId::DEFAULT, "d", "r1");
    let task = TaskRow {
        state: TaskState::Queued,
        try_number: 1,
        dispatch_n: 2,
        members: 2,
        worker: Some(WorkerId(uuid::Uuid::from_u128(7))),
        ..fixture::task(&run, "a", -1)
    };
    let new = Batch { new_runs: vec![run.clone()], new_tasks: vec![task.clone()], ..batch(1) };
    assert_eq!(journal.commit(&new).await, Commit::Done);
    let wanted = Wanted {
        dispatch: DispatchId { attempt: task.attempt(), n: 2 },
        member: 0,
        tenant: run.tenant,
        run: run.run,
        task: task.task.clone(),
        map_index: -1,
        try_number: 1,
    };
    let claim = async |wanted: &Wanted, who: &str| {
        attempt_claim::claim(db, who, std::slice::from_ref(wanted)).await.unwrap().remove(0)
    };
    assert_eq!(attempt_claim::current(db, wanted.dispatch, 0).await.unwrap(), None, "nobody claimed it");
    let (one, two) = tokio::join!(claim(&wanted, "w1"), claim(&wanted, "w2"));
    let winner = if matches!(one, Claim::Yours(_)) { "w1" } else { "w2" };
    let loser = if winner == "w1" { two } else { one };
    assert_eq!(loser, Claim::Taken { by: winner.to_owned() });
    let Claim::Yours(place) = claim(&wanted, winner).await else { panic!("the same claimant again") };
    assert_eq!((place.worker, place.executor), (task.worker, task.executor.clone()));
    let current = attempt_claim::current(db, wanted.dispatch, 0).await.unwrap().unwrap();
    assert_eq!((current.run, current.claimant.as_str()), (run.run, winner));
    // Each member has its own claim.
    let second = Wanted { member: 1, ..wanted.clone() };
    assert_eq!(
        attempt_claim::current(db, wanted.dispatch, 1).await.unwrap(),
        None,
        "nobody claimed that one"
    );
    assert!(matches!(claim(&second, "w3").await, Claim::Yours(_)));
    assert_eq!(claim(&second, winner).await, Claim::Taken { by: "w3".to_owned() });
    // Other numbers, tenants and places don't belong together.
    for strange in [
        Wanted { dispatch: DispatchId { n: 1, ..wanted.dispatch }, ..wanted.clone() },
        Wanted { tenant: other().tenant(), ..wanted.clone() },
        Wanted { map_index: 0, ..wanted.clone() },
        Wanted { try_number: 2, ..wanted.clone() },
        Wanted { member: 2, ..wanted.clone() },
    ] {
        assert_eq!(claim(&strange, winner).await, Claim::Gone, "{strange:?}");
    }
    let done = Batch { tasks: vec![to(&task, TaskState::Success)], ..batch(2) };
    assert_eq!(journal.commit(&done).await, Commit::Done);
    assert_eq!(claim(&wanted, winner).await, Claim::Gone);
    assert_eq!(attempt_claim::current(db, wanted.dispatch, 0).await.unwrap(), None);
}

async fn what_is_withdrawn_goes_to_nobody_unless_it_was_claimed_before(test: TestDb) {
    let db = &test.db;
    let mut journal = owned(db, "one").await;
    let run = fixture::run(TenantId::DEFAULT, "d", "r1");
    let queued = |name: &str| TaskRow {
        state: TaskState::Queued,
        try_number: 1,
        dispatch_n: 1,
        worker: Some(WorkerId(uuid::Uuid::from_u128(7))),
        ..fixture::task(&run, name, -1)
    };
    let tasks = ["claimed", "unclaimed", "raced"].map(queued);
    let new = Batch { new_runs: vec![run.clone()], new_tasks: tasks.to_vec(), ..batch(1) };
    assert_eq!(journal.commit(&new).await, Commit::Done);
    let [claimed, unclaimed, raced] = tasks.each_ref().map(|task| Wanted {
        dispatch: DispatchId { attempt: task.attempt(), n: 1 },
        member: attempt_claim::SPEAKER,
        tenant: run.tenant,
        run: run.run,
        task: task.task.clone(),
        map_index: -1,
        try_number: 1,
    });
    let claim = async |wanted: &Wanted| {
        let claims = attempt_claim::claim(db, "w1", std::slice::from_ref(wanted)).await.unwrap();
        matches!(claims[..], [Claim::Yours(_)])
    };
    assert!(claim(&claimed).await);
    let both = [unclaimed.clone(), claimed.clone()];
    // Said again, also by another owner, it is the same.
    for _ in 0..2 {
        let outcomes = attempt_claim::withdraw(db, &both).await.unwrap();
        assert_eq!(outcomes, [Withdrawn::Unclaimed, Withdrawn::Claimed]);
    }
    assert!(!claim(&unclaimed).await && claim(&claimed).await);
    assert_eq!(attempt_claim::current(db, claimed.dispatch, 0).await.unwrap().unwrap().claimant, "w1");
    // Whoever is first, the other one knows.
    let wanted = [raced.clone()];
    let (has_it, outcomes) = tokio::join!(claim(&raced), attempt_claim::withdraw(db, &wanted));
    let expected = if has_it { Withdrawn::Claimed } else { Withdrawn::Unclaimed };
    assert_eq!((outcomes.unwrap(), claim(&raced).await), (vec![expected], has_it));
    // Nothing is known of what isn't current.
    let over = Wanted { dispatch: DispatchId { n: 2, ..raced.dispatch }, ..raced };
    assert_eq!(attempt_claim::withdraw(db, &[over]).await.unwrap(), [Withdrawn::Claimed]);
}

async fn a_worker_enrols_once_and_registers_at_each_start(test: TestDb) {
    let db = &test.db;
    let hashed = |n: u8| worker::Hashed { hash: [n; 32], prefix: format!("p{n}") };
    let limits = worker::Limits {
        tenants: Some([TenantId::DEFAULT].into()),
        queues: Some(["gpu".to_owned()].into()),
        slots: Some(4),
    };
    worker::enrol(db, "ann", &hashed(1), &limits, Span::seconds(3600)).await.unwrap();
    worker::enrol(db, "ann", &hashed(2), &limits, Span::ZERO).await.unwrap();
    assert!(!worker::redeem(db, &[9; 32], &hashed(10), "m").await.unwrap(), "unknown");
    assert!(!worker::redeem(db, &[2; 32], &hashed(10), "m").await.unwrap(), "expired");
    let (tenth, eleventh) = (hashed(10), hashed(11));
    let (one, two) =
        tokio::join!(worker::redeem(db, &[1; 32], &tenth, "m"), worker::redeem(db, &[1; 32], &eleventh, "m"));
    assert_ne!(one.unwrap(), two.unwrap(), "single use");
    let mut found = worker::credential(db, &[10; 32]).await.unwrap();
    if found.is_none() {
        found = worker::credential(db, &[11; 32]).await.unwrap();
    }
    let credential = found.unwrap();
    assert_eq!((credential.name.as_str(), &credential.limits), ("m", &limits));
    let spec = WorkerSpec {
        worker: WorkerId(uuid::Uuid::from_u128(7)),
        slots: 100,
        cpu_milli: 2_000,
        memory_bytes: 1 << 30,
        gpus: BTreeMap::new(),
        custom: BTreeMap::new(),
        queues: ["gpu".to_owned(), "default".to_owned()].into(),
        tenants: None,
    };
    let new = worker::Worker {
        spec: limits.cut(spec.clone()),
        credential: credential.id,
        name: "m".to_owned(),
        executor: "fleet".parse().unwrap(),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        release: "0".to_owned(),
        registered_at: Timestamp(0),
        ended_at: None,
        lost_at: None,
    };
    assert_eq!((new.spec.slots, new.spec.queues.len(), &new.spec.tenants), (4, 1, &limits.tenants));
    assert_eq!(limits.cut(WorkerSpec { queues: BTreeSet::new(), ..spec.clone() }).slots, 0);
    worker::register(db, &new).await.unwrap();
    let present = worker::present(db, spec.worker).await.unwrap().unwrap();
    assert!(present.registered_at.0 > 0);
    assert_eq!(worker::Worker { registered_at: Timestamp(0), ..present }, new);
    assert_eq!(worker::list(db, false, 10).await.unwrap().len(), 1);
    worker::lost(db, spec.worker).await.unwrap();
    assert!(worker::list(db, false, 10).await.unwrap().is_empty());
    let lost = worker::present(db, spec.worker).await.unwrap().unwrap();
    assert!(lost.lost_at.is_some(), "it may come back");
    worker::returned(db, spec.worker).await.unwrap();
    assert_eq!(worker::list(db, false, 10).await.unwrap().len(), 1);
    let (far, none) = (Timestamp(i64::MAX), BTreeSet::new());
    let heard = BTreeSet::from([spec.worker]);
    assert_eq!(worker::lose_unheard(db, &new.executor, &heard, far).await.unwrap(), 0);
    assert_eq!(worker::lose_unheard(db, &new.executor, &none, Timestamp(5)).await.unwrap(), 0, "just came");
    assert_eq!(worker::lose_unheard(db, &"other".parse().unwrap(), &none, far).await.unwrap(), 0);
    assert_eq!(worker::lose_unheard(db, &new.executor, &none, far).await.unwrap(), 1);
    assert!(worker::list(db, false, 10).await.unwrap().is_empty());
    worker::returned(db, spec.worker).await.unwrap();
    assert_eq!(worker::revoke(db, "m").await.unwrap(), 1);
    assert_eq!(worker::present(db, spec.worker).await.unwrap(), None, "its credential was revoked");
    worker::end(db, spec.worker).await.unwrap();
    assert!(worker::list(db, false, 10).await.unwrap().is_empty());
    assert_eq!(worker::list(db, true, 10).await.unwrap().len(), 1);
}

async fn events_are_read_in_the_order_of_commits(test: TestDb) {
    let db = &test.db;
    let mut journal = owned(db, "one").await;
    let run = fixture::run(TenantId::DEFAULT, "d", "r1");
    for number in 1..=3 {
        let event = EventRow {
            tenant: run.tenant,
            run: run.run,
            dag_id: run.dag_id.clone(),
            at: Timestamp(number as i64),
            transitions: Vec::new(),
        };
        let foreign = EventRow { tenant: OTHER, ..event.clone() };
        let events = vec![event.clone(), foreign, event];
        assert_eq!(journal.commit(&Batch { events, ..batch(number) }).await, Commit::Done);
    }
    let mut cursor = EventCursor::default();
    let mut seen = Vec::new();
    loop {
        let page = event::since(db, scope(), ShardId::DEFAULT, cursor, 2).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        cursor = *last;
        seen.extend(page.iter().map(|(cursor, event)| (cursor.batch, cursor.n, event.at.0)));
    }
    assert_eq!(seen, [(1, 0, 1), (1, 2, 1), (2, 0, 2), (2, 2, 2), (3, 0, 3), (3, 2, 3)]);
    let rest = event::since(db, scope(), ShardId::DEFAULT, EventCursor::after(2), 9).await.unwrap();
    assert_eq!(rest.len(), 2);
    assert_eq!(event::of_run(db, scope(), run.run).await.unwrap().len(), 6);
}

async fn bundles_and_versions_are_stored_once(test: TestDb) {
    let db = &test.db;
    fixture::store_version(db, scope(), "d", "one").await;
    fixture::store_version(db, scope(), "d", "one").await;
    fixture::store_version(db, scope(), "d", "two").await;
    let all = bundle::versions(db, scope(), &fixture::dag_id("d")).await.unwrap();
    assert_eq!(all.len(), 2);
    let one =
        bundle::version(db, scope(), &fixture::dag_id("d"), &fixture::version("d", "one")).await.unwrap();
    assert_eq!(one.unwrap().model, fixture::model("d", "one"));
    let bundles = bundle::list(db, scope(), 10).await.unwrap();
    assert_eq!((bundles.len(), bundles[0].activated_at), (1, None));
}

fn sealer(folder: &tempfile::TempDir) -> Sealer {
    Sealer::new(MasterKey::load_or_create(&folder.path().join("master.key")).unwrap())
}

fn secret_variable(name: &str, value: &str) -> variable::NewVariable {
    variable::NewVariable { name: name.to_owned(), value: value.to_owned(), secret: true, description: None }
}

async fn variables_are_write_only_when_secret(test: TestDb) {
    let db = &test.db;
    let folder = tempfile::tempdir().unwrap();
    let sealer = sealer(&folder);
    let plain = variable::NewVariable { secret: false, ..secret_variable("region", "eu") };
    variable::set(db, scope(), &sealer, "ann", &plain).await.unwrap();
    for value in ["hunter2", "hunter3"] {
        variable::set(db, scope(), &sealer, "ann", &secret_variable("token", value)).await.unwrap();
    }
    let shown = variable::list(db, scope()).await.unwrap();
    assert_eq!(shown[0].value.as_deref(), Some("eu"));
    assert_eq!((shown[1].secret, &shown[1].value), (true, &None));
    let names = ["region", "token", "none"].map(str::to_owned);
    let values = variable::values(db, scope(), &sealer, &names).await.unwrap();
    assert_eq!(
        values.into_iter().map(|(name, opened)| (name, opened.value, opened.secret)).collect::<Vec<_>>(),
        [("region", "eu", false), ("token", "hunter3", true)].map(|(name, value, secret)| (
            name.to_owned(),
            value.to_owned(),
            secret
        ))
    );
    assert_eq!(test.number("SELECT count(*) FROM audit WHERE payload LIKE '%hunter%'").await, 0);
    assert_eq!(audit::list(db, scope(), ALL).await.unwrap().rows[0].kind, "set_variable");
    assert!(variable::delete(db, scope(), "ann", "region").await.unwrap());
    assert!(!variable::delete(db, scope(), "ann", "region").await.unwrap());
    assert_eq!(variable::get(db, scope(), "region").await.unwrap(), None);
    assert!(!format!("{:?}", secret_variable("token", "hunter2")).contains("hunter2"));
}

fn warehouse(secrets: Option<connection::Secrets>) -> connection::NewConnection {
    connection::NewConnection {
        name: "warehouse".to_owned(),
        address: connection::Address {
            conn_type: "postgres".to_owned(),
            host: Some("db.example".to_owned()),
            port: Some(5432),
            schema: Some("sales".to_owned()),
            login: Some("etl".to_owned()),
        },
        secrets,
        description: None,
    }
}

fn secrets() -> connection::Secrets {
    let extra = serde_json::json!({"sslmode": "require"}).as_object().unwrap().clone();
    connection::Secrets { password: Some("hunter2".to_owned()), extra }
}

async fn connections_keep_their_secrets_to_themselves(test: TestDb) {
    let db = &test.db;
    let folder = tempfile::tempdir().unwrap();
    let sealer = sealer(&folder);
    let new = warehouse(Some(secrets()));
    connection::set(db, scope(), &sealer, "ann", &new).await.unwrap();
    let shown = connection::list(db, scope()).await.unwrap();
    assert!(shown[0].has_secrets && !format!("{shown:?}").contains("hunter2"));
    let opened = async || connection::open(db, scope(), &sealer, "warehouse").await.unwrap().unwrap();
    assert_eq!(opened().await, (new.address.clone(), secrets()));

    // Another schema: the secrets stay. Another host: nobody may send them there.
    let mut change = warehouse(None);
    change.address.schema = Some("other".to_owned());
    connection::set(db, scope(), &sealer, "ann", &change).await.unwrap();
    assert_eq!(opened().await, (change.address.clone(), secrets()));
    change.address.host = Some("evil.example".to_owned());
    connection::set(db, scope(), &sealer, "ann", &change).await.unwrap();
    assert_eq!(opened().await.1, connection::Secrets::default());
    assert!(!connection::get(db, scope(), "warehouse").await.unwrap().unwrap().has_secrets);
    assert!(connection::delete(db, scope(), "ann", "warehouse").await.unwrap());
    assert_eq!(connection::open(db, scope(), &sealer, "warehouse").await.unwrap(), None);
    assert_eq!(test.number("SELECT count(*) FROM audit WHERE payload LIKE '%hunter%'").await, 0);
}

async fn a_secret_moved_to_another_row_does_not_open(test: TestDb) {
    let db = &test.db;
    let folder = tempfile::tempdir().unwrap();
    let sealer = sealer(&folder);
    variable::set(db, scope(), &sealer, "ann", &secret_variable("a", "hunter2")).await.unwrap();
    variable::set(db, scope(), &sealer, "ann", &secret_variable("b", "swordfish")).await.unwrap();
    test.sql("UPDATE variable SET sealed = (SELECT sealed FROM variable WHERE name = 'a')").await;
    let opened = variable::values(db, scope(), &sealer, &["b".to_owned()]).await;
    assert!(matches!(opened, Err(Error::Seal(SealError::Refused { .. }))), "{opened:?}");
    let elsewhere = tempfile::tempdir().unwrap();
    let opened = variable::values(db, scope(), &self::sealer(&elsewhere), &["a".to_owned()]).await;
    assert!(matches!(opened, Err(Error::Seal(SealError::Refused { .. }))), "{opened:?}");
}

/// Both tenants have rows of every kind under the same names; what one reads is never the other's.
async fn a_tenant_sees_nothing_of_another(test: TestDb) {
    let db = &test.db;
    let folder = tempfile::tempdir().unwrap();
    let sealer = sealer(&folder);
    batches::prepare(db).await;
    let mut journal = owned(db, "one").await;
    let (mut random, mut model) = (Random(7), Model::default());
    for _ in 0..40 {
        let batch = batches::next(&mut random, &model);
        assert_eq!(journal.commit(&batch).await, Commit::Done);
        model.apply(&batch);
    }
    for (scope, value) in [(scope(), "ours"), (other(), "theirs")] {
        variable::set(db, scope, &sealer, value, &secret_variable("v", value)).await.unwrap();
        let mut new = warehouse(Some(connection::Secrets::default()));
        new.address.host = Some(value.to_owned());
        connection::set(db, scope, &sealer, value, &new).await.unwrap();
    }
    for (scope, foreign, value) in [(scope(), other(), "ours"), (other(), scope(), "theirs")] {
        let (tenant, shard) = (scope.tenant(), ShardId::DEFAULT);
        let runs = run::list(db, scope, &RunFilter::default(), ALL).await.unwrap();
        assert!(runs.total > 0 && runs.rows.iter().all(|row| row.tenant == tenant));
        for row in &runs.rows {
            let (dag, filter) = (&row.dag_id, TaskFilter::default());
            assert_eq!(run::by_id(db, foreign, row.run).await.unwrap(), None);
            let same_name = run::by_name(db, foreign, dag, &row.run_name).await.unwrap();
            assert!(same_name.is_none_or(|other| other.tenant == foreign.tenant()));
            assert_eq!(task_instance::list(db, foreign, row.run, &filter, ALL).await.unwrap().total, 0);
            assert!(task_instance::counts(db, foreign, row.run).await.unwrap().is_empty());
            assert!(event::of_run(db, foreign, row.run).await.unwrap().is_empty());
            for task in task_instance::list(db, scope, row.run, &filter, ALL).await.unwrap().rows {
                let key = (row.run, &task.task, task.map_index);
                assert_eq!(task.tenant, tenant);
                assert_eq!(task_instance::get(db, foreign, key.0, key.1, key.2).await.unwrap(), None);
                assert!(task_instance::tries(db, foreign, key.0, key.1, key.2).await.unwrap().is_empty());
                assert_eq!(result::get(db, foreign, key.0, key.1, key.2).await.unwrap(), None);
                assert!(result::of_task(db, foreign, key.0, key.1).await.unwrap().is_empty());
                let dispatch = DispatchId { attempt: task.attempt(), n: task.dispatch_n };
                let put =
                    result::put(db, foreign, key.0, key.1, key.2, dispatch, &ResultRef::Inline(1.into()))
                        .await;
                assert!(!put.unwrap());
            }
        }
        let events = event::since(db, scope, shard, EventCursor::default(), 100_000).await.unwrap();
        assert!(!events.is_empty() && events.iter().all(|(_, row)| row.tenant == tenant));
        let dags = dag::list(db, scope, &dag::DagFilter { with_stale: true, ..Default::default() }, ALL)
            .await
            .unwrap();
        assert!(dags.total > 0 && dags.rows.iter().all(|dag| dag.row.tenant == tenant));
        assert!(pool::list(db, scope).await.unwrap().iter().all(|row| row.tenant == tenant));
        let assets = asset::events(db, scope, &Visible::all(), &EventFilter::default(), ALL).await.unwrap();
        assert!(assets.total > 0 && assets.rows.iter().all(|row| row.1.tenant == tenant));
        let backfills = backfill::list(db, scope, &Visible::all(), None, ALL).await.unwrap();
        assert!(backfills.total > 0 && backfills.rows.iter().all(|row| row.tenant == tenant));
        let values = variable::values(db, scope, &sealer, &["v".to_owned()]).await.unwrap();
        assert_eq!(values["v"].value, value);
        let (address, _) = connection::open(db, scope, &sealer, "warehouse").await.unwrap().unwrap();
        assert_eq!(address.host.as_deref(), Some(value));
        assert_eq!(connection::list(db, scope).await.unwrap().len(), 1);
        assert_eq!(variable::list(db, scope).await.unwrap().len(), 1);
        let log = audit::list(db, scope, ALL).await.unwrap();
        assert!(log.total == 2 && log.rows.iter().all(|entry| entry.actor == value));
        let pause = engine::command::Command::PauseDag { dag_id: fixture::dag_id("d"), paused: true };
        let ticket = inbox::insert(db, scope, value, &pause, Some("same")).await.unwrap();
        assert!(ticket.new, "an idempotency key counts per tenant");
        assert_eq!(inbox::progress(db, foreign, ticket.id).await.unwrap(), inbox::Progress::Gone);
        assert!(!inbox::withdraw(db, foreign, ticket.id).await.unwrap());
    }
    assert_eq!(tenant::list(db).await.unwrap().len(), 2);
}

async fn hints_wake_whoever_listens(test: TestDb) {
    let mut inbox = Ear::open(&test.db, Topic::Inbox).await.unwrap();
    let mut outcomes = Ear::open(&test.db, Topic::Outcomes).await.unwrap();
    // Many at once: at least one arrives, and it comes after all of them had asked.
    let sent = (0..50).map(|_| wake::send(&test.db, Topic::Inbox));
    for done in futures_of(sent).await {
        done.unwrap();
    }
    inbox.heard().await.unwrap();
    wake::send(&test.db, Topic::Outcomes).await.unwrap();
    outcomes.heard().await.unwrap();
}

/// Polls all of them together, as requests that arrive at the same time are.
async fn futures_of<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut ready = true;
        for (future, done) in &mut futures {
            if done.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *done = Some(value),
                    Poll::Pending => ready = false,
                }
            }
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(|(_, done)| done).collect()
}
