//! Random batches that could come from the engine: each row at most once, each change with the state before it.

use std::sync::Arc;

use dags::{
    ids::{ShardId, TenantId, WorkerId},
    time::Timestamp,
};
use engine::{
    command::{Backfill, Reprocess},
    dispatch::ResultRef,
    rows::{
        AssetEventRow, AttemptRow, BackfillRow, Batch, Changed, ContinuationRow, Cursor, EventRow,
        PendingAssetRow, PoolRow, ResultRow, RunRow, RunType, TaskRow, Transition,
    },
    state::{RunState, TaskState},
};
use migrations::{Db, TenantScope, store::tenant};

use crate::{fixture, model::Model};

pub(crate) const DAGS: [&str; 3] = ["a.b", "d", "überblick"];
pub(crate) const TENANTS: [TenantId; 2] = [TenantId::DEFAULT, fixture::OTHER];

/// A second tenant, and two versions of each DAG of both.
pub(crate) async fn prepare(db: &Db) {
    tenant::insert(db, "test", fixture::OTHER, "other", ShardId::DEFAULT).await.unwrap();
    for tenant in TENANTS {
        for dag in DAGS {
            for doc in ["one", "two"] {
                fixture::store_version(db, TenantScope::new(tenant), dag, doc).await;
            }
        }
    }
}

/// SplitMix64: a seed gives the same batches on every database.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
    fn time(&mut self) -> Timestamp {
        Timestamp((self.next() >> 12) as i64 - (1 << 50))
    }
    fn maybe_time(&mut self) -> Option<Timestamp> {
        self.chance(60).then(|| self.time())
    }
    fn maybe_text(&mut self) -> Option<Arc<str>> {
        let texts =
            ["", "plain", "a \"quoted\" \\ one\n\t", "ünïcödé 🦀", "{\"json\": [1]}", "null", "\u{1}"];
        self.chance(50).then(|| self.pick(&texts).into())
    }
}

fn change_task(random: &mut Random, row: &mut TaskRow) {
    row.state = random.pick(TaskState::ALL);
    row.max_tries = random.below(5) as u32;
    row.dispatch_n += 1;
    row.preempted = random.below(3) as u32;
    row.requeued = random.below(3) as u32;
    row.scheduled_at = random.maybe_time();
    row.queued_at = random.maybe_time();
    row.started_at = random.maybe_time();
    row.ended_at = random.maybe_time();
    row.wake_at = random.maybe_time();
    row.executor = random.chance(50).then(|| "local".parse().unwrap());
    row.members = 1 + random.below(3) as u32;
    row.host = random.maybe_text();
    row.pool = random.pick(&["default_pool", "other"]).parse().unwrap();
    row.pool_slots = random.below(4) as u32;
    row.weight = random.next() as i32;
    row.reason = random.maybe_text();
    row.exit_code = random.chance(50).then(|| random.below(256) as i32 - 1);
    row.mapped_length = random.chance(50).then(|| random.below(100_000) as u32);
    row.skips = random.chance(30).then(|| vec![fixture::task_id("a"), fixture::task_id("g.b")].into());
    row.marked_by = random.maybe_text();
    row.worker = random.chance(50).then(|| WorkerId(uuid::Uuid::from_u128(u128::from(random.next()))));
}

fn change_run(random: &mut Random, row: &mut RunRow) {
    row.state = random.pick(RunState::ALL);
    row.run_type = random.pick(&RunType::ALL);
    row.version = fixture::version(row.dag_id.as_str(), random.pick(&["one", "two"]));
    row.bundle = fixture::bundle_id(random.pick(&["b1", "b2"]));
    row.queued_at = random.time();
    row.started_at = random.maybe_time();
    row.ended_at = random.maybe_time();
    row.reason = random.maybe_text();
    row.note = random.maybe_text();
    row.clear_number += 1;
    row.created_tasks = random.below(100) as u32;
    row.backfill = random.chance(30).then(|| (random.below(9) as i64, random.below(9) as u32));
}

fn value(random: &mut Random) -> ResultRef {
    if random.chance(70) {
        let value = serde_json::json!({
            "n": random.next() as i64, "text": random.maybe_text(), "list": [1.5, null, true, "\u{0}"],
        });
        ResultRef::Inline(value)
    } else {
        ResultRef::Stored { digest: format!("{:064x}", random.next()), bytes: random.next() >> 20 }
    }
}

/// The next batch. Rows that it changes are in the model already.
pub(crate) fn next(random: &mut Random, model: &Model) -> Batch {
    let mut batch = Batch {
        number: model.batch + 1,
        now: Timestamp(model.now.0 + 1 + random.below(1_000) as i64),
        ..Batch::default()
    };
    let now = batch.now;
    delete_some(random, model, &mut batch);
    let deleted = |tenant: TenantId, dag: &str, batch: &Batch| {
        batch.deleted_dags.iter().any(|(t, d)| *t == tenant && d.as_str() == dag)
    };
    for n in 0..random.below(3) {
        let (tenant, dag) = (random.pick(&TENANTS), random.pick(&DAGS));
        let mut run = fixture::run(tenant, dag, &format!("r{}-{n}", batch.number));
        change_run(random, &mut run);
        run.logical_date = random.chance(60).then_some(Timestamp(now.0 * 4 + n as i64));
        run.interval = random.chance(50).then(|| (random.time(), random.time()));
        run.run_after = random.time();
        run.conf =
            Arc::new(serde_json::from_str(random.pick(&["{}", r#"{"a":[1,{"b":"c\u0000"}]}"#])).unwrap());
        run.triggered_by = random.maybe_text();
        run.chain_depth = random.below(11) as u32;
        run.asset_window = random.chance(30).then(|| (random.time(), random.time()));
        for (task, index) in
            [("a", -1), ("g.b", 0), ("g.b", 1), ("ž", 100_000)].into_iter().take(random.below(5))
        {
            batch.new_tasks.push(fixture::task(&run, task, index));
        }
        batch.new_runs.push(run);
    }
    let gone = |run: &RunRow, batch: &Batch| {
        batch.deleted_runs.contains(&(run.tenant, run.run)) || deleted(run.tenant, run.dag_id.as_str(), batch)
    };
    for run in model.runs.values() {
        if gone(run, &batch) {
            continue;
        }
        if random.chance(30) {
            let mut row = run.clone();
            change_run(random, &mut row);
            batch.runs.push(Changed { before: run.state, row });
        }
        for task in model.tasks.values().filter(|task| task.run == run.run) {
            if random.chance(60) {
                continue;
            }
            if random.chance(5) {
                batch.deleted_tasks.push((task.tenant, task.run, task.task.clone(), task.map_index));
                continue;
            }
            let mut row = task.clone();
            if random.chance(30) {
                batch.attempts.push(AttemptRow { row: task.clone() });
                row.try_number += 1;
            }
            change_task(random, &mut row);
            if random.chance(30) {
                batch.results.push(ResultRow {
                    tenant: row.tenant,
                    run: row.run,
                    task: row.task.clone(),
                    map_index: row.map_index,
                    attempt: row.attempt(),
                    value: value(random),
                });
            }
            batch.tasks.push(Changed { before: task.state, row });
        }
        batch.events.push(EventRow {
            tenant: run.tenant,
            run: run.run,
            dag_id: run.dag_id.clone(),
            at: now,
            transitions: vec![Transition {
                task: random.chance(50).then(|| (fixture::task_id("a"), -1)),
                to: "running".into(),
                try_number: 1,
                at: now,
                reason: random.maybe_text(),
            }],
        });
    }
    aggregates(random, model, &mut batch);
    batch
}

fn delete_some(random: &mut Random, model: &Model, batch: &mut Batch) {
    if random.chance(5) {
        let (tenant, dag) = (random.pick(&TENANTS), fixture::dag_id(random.pick(&DAGS)));
        batch.deleted_dags.push((tenant, dag));
    }
    for run in model.runs.values() {
        let with_dag =
            batch.deleted_dags.iter().any(|(tenant, dag)| *tenant == run.tenant && *dag == run.dag_id);
        if run.state.is_finished() && !with_dag && random.chance(5) {
            batch.deleted_runs.push((run.tenant, run.run));
        }
    }
}

fn aggregates(random: &mut Random, model: &Model, batch: &mut Batch) {
    let now = batch.now;
    for tenant in TENANTS {
        for name in DAGS {
            if random.chance(20) {
                let mut dag = fixture::dag(tenant, name, random.pick(&["one", "two"]));
                dag.paused = random.chance(50);
                dag.stale = random.chance(50);
                dag.cursor = random.chance(50).then(|| Cursor {
                    run_after: random.time(),
                    logical_date: random.maybe_time(),
                    interval: random.chance(50).then(|| (random.time(), random.time())),
                });
                dag.next = random.chance(50).then(|| Cursor {
                    run_after: random.time(),
                    logical_date: random.maybe_time(),
                    interval: random.chance(50).then(|| (random.time(), random.time())),
                });
                dag.reserved = random.maybe_time().into_iter().collect();
                dag.listening_since = random.maybe_time();
                dag.failed_in_row = random.below(9) as u32;
                batch.dags.push(dag);
            }
            if random.chance(10) {
                batch.consumed_assets.push((tenant, fixture::dag_id(name)));
            }
            if random.chance(20) {
                batch.pending_assets.push(PendingAssetRow {
                    tenant,
                    dag_id: fixture::dag_id(name),
                    asset: random.pick(&["s3://x/y", "ä"]).into(),
                    at: random.time(),
                });
            }
        }
        if random.chance(30) {
            let name = random.pick(&["p", "q"]).parse().unwrap();
            if random.chance(30) {
                batch.deleted_pools.push((tenant, name));
            } else {
                let slots = random.below(100) as i32 - 1;
                batch.pools.push(PoolRow { tenant, name, slots, include_deferred: random.chance(50) });
            }
        }
        if random.chance(30) {
            batch.asset_events.push(AssetEventRow {
                tenant,
                asset: "s3://x/y".into(),
                at: now,
                source: model.runs.keys().next().map(|key| (key.1, fixture::task_id("a"), 0)),
                extra: Arc::default(),
            });
        }
        if random.chance(30) {
            batch.backfills.push(BackfillRow {
                tenant,
                id: 1 + random.below(5) as i64,
                spec: Arc::new(Backfill {
                    dag_id: fixture::dag_id("d"),
                    from: random.time(),
                    to: random.time(),
                    reprocess: random.pick(&[Reprocess::None, Reprocess::Failed, Reprocess::Completed]),
                    reverse: random.chance(50),
                    max_active_runs: 3,
                    conf: serde_json::Map::new(),
                }),
                paused: random.chance(50),
                created_at: now,
                ended_at: random.maybe_time(),
                next_date: random.maybe_time(),
                made: random.below(9) as u32,
            });
        }
    }
    for id in 0..3 {
        if random.chance(30) {
            let work = random.chance(60).then(|| serde_json::json!({"cursor": random.below(1_000)}));
            batch.continuations.push(ContinuationRow { id, format: 1, work });
        }
    }
}
