//! How fast batches are committed: task rows per second and time per commit, on SQLite and PostgreSQL.
//!
//! `cargo bench -p migrations`. SQLite runs in a temporary folder (`UPDRAFT_BENCH_DIR` to choose the disk). PostgreSQL
//! runs if `UPDRAFT_BENCH_POSTGRES_URL` names a server; start it with its defaults, above all with fsync on.

#![expect(
    clippy::disallowed_methods,
    reason = "a program of its own that measures: it has its clock and settings"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use dags::{
    ids::{BundleId, DagId, DagVersion, RunId, RunName, ShardId, TaskId, TenantId},
    time::{Span, Timestamp},
};
use engine::{
    journal::{Commit, Journal as _},
    rows::{Batch, Changed, EventRow, RunRow, RunType, TaskRow, Transition},
    state::{RunState, TaskState},
};
use migrations::{
    Db, Role,
    journal::{self, DbJournal},
};

/// Task rows of a measurement.
const ROWS: usize = 60_000;
/// Tasks of a run.
const TASKS: usize = 20;
/// What every row goes through after its insert.
const STATES: [TaskState; 4] =
    [TaskState::Scheduled, TaskState::Queued, TaskState::Running, TaskState::Success];

fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("invariant: the clock is past 1970");
    Timestamp(since.as_micros() as i64)
}

fn name<T: std::str::FromStr<Err = dags::ids::InvalidName>>(text: &str) -> T {
    text.parse().expect("invariant: a valid name")
}

fn run(n: usize) -> RunRow {
    let (dag_id, run_name): (DagId, RunName) = (name("daily_sales"), name(&format!("manual__{n}")));
    RunRow {
        tenant: TenantId::DEFAULT,
        run: RunId::derive(TenantId::DEFAULT, &dag_id, &run_name, n as i64),
        dag_id,
        run_name,
        run_type: RunType::Manual,
        version: DagVersion(format!("v1:{:064}", 1).into()),
        bundle: BundleId(format!("{:064}", 1).into()),
        state: RunState::Running,
        logical_date: None,
        interval: None,
        run_after: Timestamp(n as i64),
        created_at: Timestamp(n as i64),
        queued_at: Timestamp(n as i64),
        started_at: None,
        ended_at: None,
        conf: Arc::default(),
        reason: None,
        note: None,
        clear_number: 0,
        created_tasks: TASKS as u32,
        backfill: None,
        triggered_by: None,
        chain_depth: 0,
        asset_window: None,
    }
}

fn task(run: &RunRow, n: usize) -> TaskRow {
    TaskRow {
        tenant: run.tenant,
        run: run.run,
        task: name::<TaskId>(&format!("transform.step_{n:03}")),
        map_index: -1,
        state: TaskState::None,
        try_number: 0,
        max_tries: 3,
        dispatch_n: 0,
        preempted: 0,
        requeued: 0,
        scheduled_at: None,
        queued_at: None,
        started_at: None,
        ended_at: None,
        wake_at: None,
        executor: None,
        members: 1,
        host: None,
        pool: name("default_pool"),
        pool_slots: 1,
        weight: 5,
        reason: None,
        exit_code: None,
        mapped_length: None,
        skips: None,
        marked_by: None,
        worker: None,
    }
}

fn changed(row: &TaskRow, to: TaskState, now: Timestamp) -> Changed<TaskState, TaskRow> {
    let mut next = TaskRow { state: to, ..row.clone() };
    match to {
        TaskState::Scheduled => (next.try_number, next.scheduled_at) = (1, Some(now)),
        TaskState::Queued => {
            (next.dispatch_n, next.queued_at, next.executor) = (1, Some(now), Some(name("local")));
        }
        TaskState::Running => next.started_at = Some(now),
        _ => (next.ended_at, next.exit_code) = (Some(now), Some(0)),
    }
    Changed { before: row.state, row: next }
}

fn events(tasks: &[Changed<TaskState, TaskRow>], now: Timestamp) -> Vec<EventRow> {
    let of_run = |chunk: &[Changed<TaskState, TaskRow>]| EventRow {
        tenant: chunk[0].row.tenant,
        run: chunk[0].row.run,
        dag_id: name("daily_sales"),
        at: now,
        transitions: chunk
            .iter()
            .map(|changed| Transition {
                task: Some((changed.row.task.clone(), -1)),
                to: changed.row.state.as_str().into(),
                try_number: 1,
                at: now,
                reason: None,
            })
            .collect(),
    };
    tasks.chunk_by(|a, b| a.row.run == b.row.run).map(of_run).collect()
}

/// Commits batches in order and measures each.
struct Bench {
    journal: DbJournal,
    number: u64,
    times: Vec<Duration>,
}

impl Bench {
    async fn commit(&mut self, mut batch: Batch) {
        self.number += 1;
        (batch.number, batch.now) = (self.number, Timestamp(self.number as i64));
        let start = Instant::now();
        let commit = self.journal.commit(&batch).await;
        self.times.push(start.elapsed());
        assert_eq!(commit, Commit::Done);
    }

    #[expect(clippy::print_stdout, reason = "a measurement is for people")]
    fn report(&mut self, database: &str, what: &str, size: usize) {
        let total: Duration = self.times.iter().sum();
        self.times.sort();
        let at = |percent: usize| self.times[(self.times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        let rate = (size * self.times.len()) as f64 / total.as_secs_f64();
        println!(
            "{database:9} {what:22} {size:5} rows: {rate:8.0} task rows/s   p50 {:6.1} ms   p99 {:6.1} ms",
            at(50),
            at(99)
        );
        self.times.clear();
    }
}

async fn measure(database: &str, db: &Db) {
    let journal = journal::acquire(db, ShardId::DEFAULT, "bench", Span::seconds(3_600), &clock).await;
    let mut bench = Bench { journal: journal.expect("the shard is free"), number: 0, times: Vec::new() };
    let mut runs = 0;
    for size in [100, 1_000, 2_000] {
        let rows = ROWS.min(size * 60);
        let mut tasks = Vec::new();
        while tasks.len() < rows {
            let mut batch = Batch::default();
            while batch.new_tasks.len() < size {
                let run = run(runs);
                runs += 1;
                batch.new_tasks.extend((0..TASKS).map(|n| task(&run, n)));
                batch.new_runs.push(run);
            }
            tasks.extend(batch.new_tasks.iter().cloned());
            bench.commit(batch).await;
        }
        bench.report(database, "insert, with runs", size);
        for (n, state) in STATES.into_iter().enumerate() {
            for chunk in tasks.chunks_mut(size) {
                let now = Timestamp(bench.number as i64);
                let changes: Vec<_> = chunk.iter().map(|row| changed(row, state, now)).collect();
                for (row, change) in chunk.iter_mut().zip(&changes) {
                    row.clone_from(&change.row);
                }
                let events = if n < 2 { Vec::new() } else { events(&changes, now) };
                bench.commit(Batch { tasks: changes, events, ..Batch::default() }).await;
            }
            if n == 1 {
                bench.report(database, "update", size);
            }
        }
        bench.report(database, "update, with events", size);
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let folder = match std::env::var_os("UPDRAFT_BENCH_DIR") {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        };
        let folder = folder.expect("a folder for the database");
        let url = format!("sqlite:{}", folder.path().join("bench.db").display());
        let db = Db::connect(&url, Role::Owner).await.expect("SQLite opens");
        migrations::migrate::up(&db).await.expect("the schema is made");
        measure("sqlite", &db).await;
        db.close().await;
        if let Ok(url) = std::env::var("UPDRAFT_BENCH_POSTGRES_URL") {
            let db = Db::connect(&url, Role::Owner).await.expect("PostgreSQL opens");
            while migrations::migrate::schema_number(&db).await.expect("the schema has a number") > 0 {
                migrations::migrate::down(&db, 1).await.expect("the old schema goes");
            }
            migrations::migrate::up(&db).await.expect("the schema is made");
            measure("postgres", &db).await;
            db.close().await;
        }
    });
}
