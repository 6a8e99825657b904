//! The single node: scheduler, local executor, embedded database and a watched folder of DAGs in one process.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    pin::pin,
    sync::{Arc, PoisonError},
};

use anyhow::Context as _;
use api::{Api, Socket};
use dags::{
    ids::{ExecutorName, ShardId, TenantId},
    time::Span,
};
use engine::driver::Stop;
use executor::local;
use migrations::{
    Db, Role,
    journal::{Lease, acquire},
    migrate,
    seal::{MasterKey, Sealer},
};
use plugins::script::{Language, Options as ScriptOptions, Policy as ScriptPolicy, ScriptPool};
use scheduler::{
    clock,
    conflicts::Conflicts,
    delivery::Deliverer,
    executors::{Executors, Kind},
    facts::DbFacts,
    objects::Objects,
    shell::{self, Ended, Parts, Status},
    watch::{FolderWatch, Found, Settings},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    listen::{self, ListenArgs},
    node_objects::{Current, NodeObjects},
};

/// How long the lease on the shard lasts; it is renewed three times as often.
const LEASE: Span = Span::seconds(10);
/// Reports that may wait for the scheduler.
const REPORTS_MAX: usize = 16_384;
/// How long a drain waits for running attempts; after that they go on under the supervisor and are found again.
const DRAIN_MAX: Span = Span::seconds(30);
/// How long the supervisor may take to say whether it ends.
const RETIRE_MAX: Span = Span::seconds(3);

/// The settings of a single node.
#[derive(Debug, Clone)]
pub(crate) struct NodeSettings {
    /// The folder of DAGs.
    pub(crate) dags: PathBuf,
    /// The folder of everything else.
    pub(crate) data: PathBuf,
    /// The database; a SQLite file in the data folder if absent.
    pub(crate) database: Option<String>,
    /// How many attempts may run at once.
    pub(crate) slots: u32,
    /// The TCP port of the API.
    pub(crate) listen: ListenArgs,
}

/// Runs until Ctrl-C: the first one drains, the second one leaves at once.
pub(crate) async fn run(settings: NodeSettings) -> anyhow::Result<()> {
    let NodeSettings { dags, data, database, slots, listen: listen_args } = settings;
    std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
        .create(&data)
        .with_context(|| format!("failed to make the data folder {}", data.display()))?;
    let data = data.canonicalize()?;
    // First of all: it says whether another service runs here, which would take the shard from us under our own name.
    let socket = Socket::bind(&data.join("updraft.sock")).context("failed to open the socket")?;
    let tcp = listen_args.open().await?;
    let url = database.unwrap_or_else(|| format!("sqlite:{}", data.join("updraft.db").display()));
    let db = Db::connect(&url, Role::Owner).await.context("failed to open the database")?;
    migrate::up(&db).await.context("failed to bring the database's schema up to date")?;
    listen::first_admin(&db, &data).await?;
    let sealer = Sealer::new(MasterKey::load_or_create(&data.join("master.key"))?);
    let objects = Objects::open(&data.join("objects"))?;
    let script_program = plugins::script::locate(None).ok();
    if script_program.is_none() {
        tracing::warn!(
            program = plugins::script::PROGRAM,
            "Rhai files and expressions that the service evaluates are off: the program isn't beside this one"
        );
    }
    let (cancel, drain) = (CancellationToken::new(), CancellationToken::new());
    listen_for_signals(cancel.clone(), drain.clone()).context("failed to listen for signals")?;
    let (wake, settled) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let current = Current::default();
    tracing::info!(url = tcp.url(), "the API listens; see it with `updraft login {}`", tcp.url());
    tracing::info!(socket = %socket.path().display(), "see the runs with `updraft runs list --socket {}`", socket.path().display());
    let config = engine::Config::new("local".parse().context("invariant: a plain word is a name")?);
    let api = Api::new(api::Parts {
        db: db.clone(),
        sealer: sealer.clone(),
        tenant: TenantId::DEFAULT,
        wake: {
            let wake = wake.clone();
            Arc::new(move || wake.notify_one())
        },
        settled: settled.clone(),
        objects: NodeObjects { objects: objects.clone(), executor: current.clone() },
        default_pool_slots: config.default_pool_slots,
        owner_wait: Api::OWNER_WAIT,
    });
    let folder = FolderWatch::new(Settings {
        root: dags
            .canonicalize()
            .with_context(|| format!("failed to find the folder of DAGs {}", dags.display()))?,
        tenant: TenantId::DEFAULT,
        db: db.clone(),
        objects: objects.clone(),
        script_program: script_program.clone(),
        wake: wake.clone(),
    });
    let scripts = script_program.map(|program| {
        let options = ScriptOptions { policy: ScriptPolicy::BestEffort, ..ScriptOptions::new(program) };
        ScriptPool::new(options, Language::of(&plugins::catalog()))
    });
    let name = config.default_executor.clone();
    let node = Node { db, sealer, objects, scripts, wake, settled, config, current, data, name, slots };
    let (status, _) = watch::channel(Status::default());
    tokio::select! {
        ended = node.schedule(status, drain, cancel.clone()) => ended,
        stopped = listen(socket, api.clone(), cancel.clone()) => Err(stopped),
        stopped = listen::serve(tcp, api, cancel.clone()) => Err(stopped),
        watched = folder.run(tell) => watched.map_err(anyhow::Error::from),
    }
}

/// Serves the API. It ends with the scheduler, never before it but for an error.
async fn listen(socket: Socket, api: Api, cancel: CancellationToken) -> anyhow::Error {
    match api::serve(socket, api, cancel).await {
        Ok(()) => std::future::pending().await,
        Err(error) => anyhow::Error::from(error).context("the API stopped"),
    }
}

struct Node {
    db: Db,
    sealer: Sealer,
    objects: Objects,
    scripts: Option<ScriptPool>,
    wake: Arc<Notify>,
    settled: Arc<Notify>,
    config: engine::Config,
    current: Current,
    data: PathBuf,
    name: ExecutorName,
    slots: u32,
}

impl Node {
    /// Owns the shard and schedules, again and again until it is asked to end.
    async fn schedule(
        &self,
        status: watch::Sender<Status>,
        drain: CancellationToken,
        cancel: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut conflicts = Conflicts::default();
        loop {
            let owner = format!("standalone:{}", self.data.display());
            let journal = acquire(&self.db, ShardId::DEFAULT, &owner, LEASE, &clock::now)
                .await
                .context("failed to become the owner of the shard")?;
            let (lease, scope) = (journal.lease(), journal.scope());
            let alerted = Arc::new(Notify::new());
            tracing::info!(owner, "the shard is ours");
            let (reports, received) = mpsc::channel(REPORTS_MAX);
            let options = local::Options {
                slots: self.slots,
                ..local::Options::new(self.data.join("supervisor"), &self.objects.results())?
            };
            let (executor, service) = local::open(options, reports);
            *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(executor.clone());
            let mut executors = Executors::new();
            executors.insert(self.name.clone(), Kind::Local(executor.clone()));
            let parts = Parts {
                journal,
                facts: DbFacts::new(self.db.clone(), self.sealer.clone()),
                executors,
                reports: received,
                slots: BTreeMap::from([(self.name.clone(), self.slots)]),
                objects: self.objects.clone(),
                scripts: self.scripts.clone(),
                policy: plugins::policy::Policy::default(),
                config: self.config.clone(),
                isolate: conflicts.isolated(),
                wake: self.wake.clone(),
                settled: self.settled.clone(),
                alerted: alerted.clone(),
            };
            let deliverer = Deliverer {
                db: self.db.clone(),
                scope,
                sealer: self.sealer.clone(),
                policy: parts.policy.clone(),
                alerted,
                wake: self.wake.clone(),
            };
            let term = cancel.child_token();
            let mut service = pin!(service.run(term.clone()));
            let ended = tokio::select! {
                ended = Box::pin(shell::run(parts, status.clone(), drain.clone(), term.clone())) => ended?,
                fenced = renew(&lease) => return Err(fenced.context("the shard's lease was lost")),
                never = deliverer.run() => match never {},
                () = &mut service => Ended::Asked,
                () = overdue(&drain) => Ended::Asked,
            };
            if ended == Ended::Asked && drain.is_cancelled() && !cancel.is_cancelled() {
                // Whatever still runs under the supervisor keeps it, to be found at the next start.
                tokio::select! {
                    closed = executor.close() => match closed {
                        Ok(()) => tracing::info!("the supervisor has ended"),
                        Err(error) => tracing::warn!(%error, "the supervisor goes on"),
                    },
                    () = service => {}
                    () = cancel.cancelled() => {}
                    () = clock::sleep(RETIRE_MAX) => tracing::warn!("the supervisor doesn't answer; it goes on"),
                }
            }
            term.cancel();
            match ended {
                Ended::Asked => {
                    lease.release().await.context("failed to give back the shard")?;
                    return Ok(());
                }
                Ended::Stopped(Stop::Rebuild) => {
                    tracing::info!("the scheduler is built again, with what was released");
                    conflicts.forget();
                }
                Ended::Stopped(Stop::Conflict(conflict)) => {
                    tracing::error!(%conflict, culprits = ?conflict.culprits, "the scheduler is built again from the database");
                    conflicts.note(&conflict, clock::now());
                    clock::sleep(conflicts.wait()).await;
                }
                Ended::Stopped(Stop::Fenced) => {
                    tracing::error!("another owner has the shard; the scheduler is built again");
                    clock::sleep(Span::seconds(1)).await;
                }
            }
        }
    }
}

/// Keeps the lease until it can't.
async fn renew(lease: &Lease) -> anyhow::Error {
    loop {
        clock::sleep(Span(LEASE.0 / 3)).await;
        match lease.renew(LEASE, &clock::now).await {
            Ok(()) => {}
            Err(error @ migrations::Error::Fenced { .. }) => return error.into(),
            // The fence protects what is stored; the next try may succeed.
            Err(error) => tracing::warn!(error = %anyhow::Error::from(error), "failed to renew the lease"),
        }
    }
}

/// When a drain has taken too long.
async fn overdue(drain: &CancellationToken) {
    drain.cancelled().await;
    clock::sleep(DRAIN_MAX).await;
    tracing::warn!("attempts are still running; they go on and are found again at the next start");
}

/// The first signal drains, the second one cancels.
fn listen_for_signals(cancel: CancellationToken, drain: CancellationToken) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    clock::background(async move {
        for (token, what) in [
            (drain, "draining: what runs may end, a second signal leaves at once"),
            (cancel, "leaving at once"),
        ] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::info!("{what}");
            token.cancel();
        }
    });
    Ok(())
}

/// Says what was found in the folder.
fn tell(found: Result<Found, scheduler::watch::Error>) {
    match found {
        Ok(found) => {
            for (diagnostic, source) in &found.diagnostics {
                let shown = dags::diagnostic::render(diagnostic, source, false);
                tracing::warn!("{}\n{shown}", diagnostic.file);
            }
            if found.activated {
                tracing::info!(dags = found.dags, "the folder's DAGs are active");
            }
        }
        Err(error) => tracing::error!(error = error.explain(), "failed to take over the folder of DAGs"),
    }
}
