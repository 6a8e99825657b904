//! No-op tasks per second, and the gap from a task's end to its successor's start, with every transition durable.
//!
//! `cargo bench -p tests --bench noop`. The path is the service's own: inbox, driver, shell, one transaction per batch,
//! dispatch, report, confirmation; only the executor runs nothing and reports at once. SQLite runs in a temporary folder
//! (`UPDRAFT_BENCH_DIR` to choose the disk). PostgreSQL runs if `UPDRAFT_BENCH_POSTGRES_URL` names a server: start one
//! that is durable by `cargo xtask services up postgres --durable`. `--test` runs a little of it, without figures.

#![expect(clippy::print_stdout, reason = "a measurement is for people")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use dags::{
    ids::{DagId, ExecutorName, PoolName, RunName, ShardId, TenantId},
    installation::{Installation, Offer},
    time::Span,
};
use engine::{
    command::{Command, Trigger},
    rows::{RunRow, TaskRow},
    state::{RunState, TaskState},
};
use executor::noop::NoopExecutor;
use migrations::{
    Db, Role, TenantScope, journal, migrate,
    seal::{MasterKey, Sealer},
    store::{self, Window},
};
use scheduler::{
    clock,
    executors::{Executors, Kind},
    facts::DbFacts,
    objects::Objects,
    shell::{self, Ended, Parts, Status},
    watch::{FolderWatch, Settings},
};
use sqlx::{Connection as _, Executor as _};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

const SCOPE: TenantScope = TenantScope::new(TenantId::DEFAULT);
const EVERYTHING: Window = Window { limit: 1_000_000, offset: 0 };
/// A measurement that takes longer than this has failed.
const LIMIT: Duration = Duration::from_mins(5);
const SLOTS: u32 = 10_000;

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    runs: usize,
    tasks: usize,
    links: usize,
}

fn main() -> anyhow::Result<()> {
    let test = std::env::args().any(|argument| argument == "--test");
    let size = if test {
        Size { runs: 2, tasks: 20, links: 10 }
    } else {
        Size { runs: 20, tasks: 1_000, links: 1_001 }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = match std::env::var_os("UPDRAFT_BENCH_DIR") {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        }?;
        let only = std::env::var("UPDRAFT_BENCH_ONLY").ok();
        if only.as_deref() != Some("postgres") {
            let url = format!("sqlite:{}", folder.path().join("bench.db").display());
            measure("sqlite", &url, folder.path(), size).await?;
        }
        if let Ok(server) = std::env::var("UPDRAFT_BENCH_POSTGRES_URL")
            && only.as_deref() != Some("sqlite")
        {
            let mut admin = sqlx::PgConnection::connect(&server).await?;
            let name = format!("bench_{}", uuid::Uuid::now_v7().simple());
            admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
            let (base, _) = server.rsplit_once('/').context("the server's URL names no database")?;
            let measured = measure("postgres", &format!("{base}/{name}"), folder.path(), size).await;
            admin.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await?;
            measured?;
        }
        Ok(())
    })
}

/// What is measured: a scheduler without the service around it.
struct Bench {
    db: Db,
    wake: Arc<Notify>,
    counts: watch::Receiver<Status>,
}

async fn measure(database: &str, url: &str, folder: &Path, size: Size) -> anyhow::Result<()> {
    let folder = folder.join(database);
    let dag_folder = folder.join("dags");
    std::fs::create_dir_all(&dag_folder)?;
    std::fs::write(dag_folder.join("wide.yaml"), wide(size))?;
    std::fs::write(dag_folder.join("chain.yaml"), chain(size))?;

    let db = Db::connect(url, Role::Owner).await?;
    migrate::up(&db).await?;
    let sealer = Sealer::new(MasterKey::load_or_create(&folder.join("master.key"))?);
    let objects = Objects::open(&folder.join("objects"))?;
    let wake = Arc::new(Notify::new());
    let journal = journal::acquire(&db, ShardId::DEFAULT, "bench", Span::seconds(3_600), &clock::now).await?;
    let name: ExecutorName = "noop".parse()?;
    let offer = Offer {
        kind: "noop".to_owned(),
        slots: Some(SLOTS),
        gangs: true,
        gpus: true,
        gpu_models: None,
        custom: true,
        pods: None,
    };
    let installation = Installation {
        default_executor: name.clone(),
        executors: BTreeMap::from([(name.clone(), offer)]),
        routes: None,
    };
    let (sender, reports) = mpsc::channel(16_384);
    let parts = Parts {
        journal,
        facts: DbFacts::new(db.clone(), sealer),
        executors: Executors::from([(name.clone(), Kind::Noop(NoopExecutor::new(sender)))]),
        reports,
        fleet: None,
        slots: BTreeMap::from([(name.clone(), SLOTS)]),
        objects: objects.clone(),
        scripts: None,
        policy: plugins::policy::Policy::default(),
        config: engine::Config::new(name),
        isolate: Vec::new(),
        refuse: BTreeMap::new(),
        wake: wake.clone(),
        settled: Arc::default(),
        alerted: Arc::default(),
        looks: None,
        retire: None,
    };
    let (status, counts) = watch::channel(Status::default());
    let (drain, cancel) = (CancellationToken::new(), CancellationToken::new());
    let shell = tokio::spawn(Box::pin(shell::run(parts, status, drain.clone(), cancel)));

    let settings = Settings {
        root: dag_folder,
        tenant: TenantId::DEFAULT,
        db: db.clone(),
        objects,
        script_program: None,
        installation,
        wake: wake.clone(),
    };
    let found = FolderWatch::new(settings).look().await?;
    ensure!(found.diagnostics.is_empty(), "the DAGs have errors: {:?}", found.diagnostics);
    let bench = Bench { db: db.clone(), wake, counts };
    bench
        .ask(&Command::SetPool { name: PoolName::parse("default_pool")?, slots: -1, include_deferred: false })
        .await?;

    bench.throughput(database, size).await?;
    bench.gaps(database, size).await?;

    drain.cancel();
    ensure!(shell.await?? == Ended::Asked, "the shell ends when it is asked to");
    db.close().await;
    Ok(())
}

fn wide(size: Size) -> String {
    let Size { runs, tasks, .. } = size;
    let mut text = format!("dag: wide\nmax_active_runs: {runs}\nmax_active_tasks: {tasks}\ntasks:\n");
    for task in 0..tasks {
        writeln!(text, "  step_{task:04}: {{ bash: 'true' }}").expect("invariant: text takes everything");
    }
    text
}

fn chain(size: Size) -> String {
    let mut text = "dag: chain\ntasks:\n  step_0000: { bash: 'true' }\n".to_owned();
    for task in 1..size.links {
        writeln!(text, "  step_{task:04}: {{ needs: step_{:04}, bash: 'true' }}", task - 1)
            .expect("invariant: text takes everything");
    }
    text
}

impl Bench {
    async fn ask(&self, command: &Command) -> anyhow::Result<()> {
        store::inbox::insert(&self.db, SCOPE, "bench", command, None).await?;
        self.wake.notify_one();
        Ok(())
    }

    async fn trigger(&self, dag: &str, run: &str) -> anyhow::Result<()> {
        self.ask(&Command::Trigger(Trigger {
            dag_id: DagId::parse(dag)?,
            run_name: Some(RunName::parse(run)?),
            logical_date: None,
            run_after: None,
            conf: serde_json::Map::new(),
            note: None,
            chain_depth: 0,
        }))
        .await
    }

    async fn runs(&self, dag: &str) -> anyhow::Result<Vec<RunRow>> {
        let filter = store::run::RunFilter { dag_id: Some(DagId::parse(dag)?), ..Default::default() };
        Ok(store::run::list(&self.db, SCOPE, &filter, EVERYTHING).await?.rows)
    }

    /// Waits until so many runs of a DAG are stored as ended.
    async fn over(&self, dag: &str, count: usize) -> anyhow::Result<Vec<RunRow>> {
        let start = Instant::now();
        loop {
            let runs = self.runs(dag).await?;
            if runs.iter().filter(|run| run.ended_at.is_some()).count() == count {
                return Ok(runs);
            }
            if start.elapsed() > LIMIT {
                bail!("the runs of {dag} don't end: {:?}", *self.counts.borrow());
            }
            clock::sleep(Span::millis(5)).await;
        }
    }

    /// The tasks of so many runs, when these have ended; each was dispatched once and succeeded.
    async fn ended(&self, dag: &str, count: usize) -> anyhow::Result<Vec<Vec<TaskRow>>> {
        let runs = self.over(dag, count).await?;
        let mut all = Vec::new();
        for run in &runs {
            ensure!(run.state == RunState::Success, "{} of {dag} is {:?}", run.run_name, run.state);
            let filter = store::task_instance::TaskFilter::default();
            let rows = store::task_instance::list(&self.db, SCOPE, run.run, &filter, EVERYTHING).await?.rows;
            let dispatched = rows.iter().all(|row| {
                row.state == TaskState::Success && row.dispatch_n == 1 && row.started_at.is_some()
            });
            ensure!(dispatched, "every task was dispatched once and reported its success");
            all.push(rows);
        }
        Ok(all)
    }

    async fn throughput(&self, database: &str, size: Size) -> anyhow::Result<()> {
        let batches = self.counts.borrow().counts.batches;
        let start = Instant::now();
        for run in 0..size.runs {
            self.trigger("wide", &format!("r{run}")).await?;
        }
        // Asked every 5 ms; reading the tasks isn't in it.
        self.over("wide", size.runs).await?;
        let took = start.elapsed();
        let tasks: usize = self.ended("wide", size.runs).await?.iter().map(Vec::len).sum();
        let batches = self.counts.borrow().counts.batches - batches;
        println!(
            "{database:9} {tasks} no-op tasks in {} runs: {:.0} tasks/s ({:.2} s, {batches} commits)",
            size.runs,
            tasks as f64 / took.as_secs_f64(),
            took.as_secs_f64()
        );
        Ok(())
    }

    async fn gaps(&self, database: &str, size: Size) -> anyhow::Result<()> {
        self.trigger("chain", "idle").await?;
        let mut rows = self.ended("chain", 1).await?.pop().context("a run")?;
        rows.sort_by(|a, b| a.task.cmp(&b.task));
        let mut gaps: Vec<f64> = rows
            .windows(2)
            .filter_map(|pair| Some(pair[1].started_at?.since(pair[0].ended_at?).0 as f64 / 1e3))
            .collect();
        ensure!(gaps.len() == size.links - 1, "each link has its times");
        gaps.sort_by(f64::total_cmp);
        let at = |percent: usize| gaps[(gaps.len() - 1) * percent / 100];
        println!(
            "{database:9} {} links of a chain at idle: from end to start p50 {:.2} ms, p99 {:.2} ms",
            gaps.len(),
            at(50),
            at(99)
        );
        Ok(())
    }
}
