//! How this process is: what each role knows of itself, brought together for probes, for Prometheus and for people.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::scheduler::{clock, look::Window};
use anyhow::Context as _;
use api::monitoring::{Check, Monitor, Monitored, Port};
use dags::time::Span;
use executor::{fleet::FleetExecutor, worker};
use futures::future::BoxFuture;
use migrations::{Db, migrate, store::inbox};
use serde_json::{Value, json};
use telemetry::{Gauges, Metric, Recorder};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

mod process;

/// How long the database may take to answer.
const DATABASE_MAX: Span = Span::seconds(2);
/// How often what was measured is sorted, so that it doesn't pile up between two looks.
const UPKEEP: Span = Span::seconds(5);

/// How a process stands to the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It hasn't tried yet, or is about to try again.
    Trying(String),
    /// Somebody else owns it, and that is well.
    By(String),
    /// It owns it.
    Owner(i64),
}

/// The fleet of the present term.
pub(crate) type CurrentFleet = Arc<Mutex<Option<FleetExecutor>>>;

/// What a process that may own the shard knows of that.
#[derive(Debug, Clone)]
pub(crate) struct Owning {
    pub(crate) window: Window,
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) fleet: CurrentFleet,
    /// Whether there are workers, so that the broker is needed.
    pub(crate) with_fleet: bool,
    /// Whether nobody else may own it.
    pub(crate) alone: bool,
}

impl Owning {
    pub(crate) fn new(with_fleet: bool, alone: bool) -> Self {
        let (standing, _) =
            watch::channel(Standing::Trying("the shard hasn't been taken over yet".to_owned()));
        Self { window: Window::default(), standing, fleet: CurrentFleet::default(), with_fleet, alone }
    }
}

/// What a process waits for before it can do anything: its name, and why it isn't there yet.
#[derive(Debug, Clone)]
pub(crate) struct Waits(Arc<Mutex<Option<(&'static str, String)>>>);

impl Waits {
    /// For the database, which hasn't been asked yet.
    pub(crate) fn for_database() -> Self {
        Self(Arc::new(Mutex::new(Some(("database", "it hasn't been asked yet".to_owned())))))
    }

    pub(crate) fn say(&self, name: &'static str, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((name, why));
    }

    /// It waits no longer.
    pub(crate) fn over(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn check(&self) -> Option<Check> {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        waits.map(|(name, says)| Check { name, ok: false, needed: true, says })
    }
}

/// A process.
pub(crate) struct Process {
    pub(crate) role: &'static str,
    pub(crate) recorder: Recorder,
    /// The database, and whether that is still waited for.
    pub(crate) db: Option<(Db, Waits)>,
    pub(crate) owning: Option<Owning>,
    pub(crate) worker: Option<worker::Watch>,
    pub(crate) gauges: Arc<Mutex<Gauges>>,
}

/// The port of monitoring, if the settings have one, with the token for it.
pub(crate) async fn open(settings: &Settings) -> anyhow::Result<Option<Port>> {
    let Some(listen) = settings.monitoring.listen else { return Ok(None) };
    let token = settings.monitoring.token()?;
    let port = Port::bind(listen, token.as_deref()).await;
    let port = port.with_context(|| format!("failed to listen on {listen} (`monitoring.listen`)"))?;
    let address = port.address();
    if !address.ip().is_loopback() && token.is_none() {
        tracing::warn!(%address, "only /livez and /readyz are answered: what is inside needs `monitoring.token_file`");
    }
    tracing::info!(%address, "how this process is: /livez, /readyz, /metrics, /debug/state");
    Ok(Some(port))
}

/// Answers on the port, if there is one, until `cancel`. It ends by itself for an error only.
pub(crate) async fn serve(
    port: Option<Port>,
    monitor: Monitor,
    recorder: Recorder,
    cancel: CancellationToken,
) -> anyhow::Error {
    let upkeep = async {
        loop {
            clock::sleep(UPKEEP).await;
            recorder.upkeep();
        }
    };
    let answering = async {
        let Some(port) = port else { return std::future::pending().await };
        match api::monitoring::serve(port, monitor, cancel).await {
            Ok(()) => std::future::pending().await,
            Err(error) => anyhow::Error::from(error).context("the monitoring port stopped"),
        }
    };
    tokio::select! {
        never = upkeep => never,
        error = answering => error,
    }
}

impl Process {
    pub(crate) fn new(role: &'static str, recorder: Recorder) -> Self {
        let (db, owning, worker) = (None, None, None);
        Self { role, recorder, db, owning, worker, gauges: Arc::default() }
    }

    async fn checks(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        if let Some((db, waits)) = &self.db {
            match waits.check() {
                Some(waiting) => checks.push(waiting),
                None => checks.extend([database(db).await, migrations(db).await]),
            }
        }
        if let Some(owning) = &self.owning {
            checks.push(owning.lease());
            if owning.with_fleet {
                checks.push(owning.broker());
            }
        }
        if let Some(worker) = &self.worker {
            checks.extend(of_worker(&worker.glance()));
        }
        checks
    }

    async fn collect(&self) -> String {
        let ready = self.checks().await.iter().all(|check| check.ok || !check.needed);
        let inbox = match &self.db {
            Some((db, waits)) if waits.check().is_none() => within(inbox::waiting(db)).await.ok(),
            _ => None,
        };
        let figures = match &self.owning {
            Some(owning) => owning.window.figures().await,
            None => None,
        };
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.set(Metric::Ready, &[], f64::from(u8::from(ready)));
        gauges.set(Metric::Build, &[("version", env!("CARGO_PKG_VERSION")), ("role", self.role)], 1.0);
        if let Some((db, _)) = &self.db {
            let (used, idle) = db.connections();
            gauges.set(Metric::DatabaseConnections, &[("state", "used")], used.into());
            gauges.set(Metric::DatabaseConnections, &[("state", "idle")], idle.into());
        }
        if let Some((waiting, lag)) = inbox {
            gauges.set(Metric::InboxWaiting, &[], waiting as f64);
            gauges.set(Metric::InboxLag, &[], lag.0 as f64 / 1e6);
        }
        if let Some(owning) = &self.owning {
            let epoch = match &*owning.standing.borrow() {
                Standing::Owner(epoch) => Some(*epoch),
                Standing::Trying(_) | Standing::By(_) => None,
            };
            gauges.set(Metric::ShardOwned, &[], f64::from(u8::from(epoch.is_some())));
            if let Some(epoch) = epoch {
                gauges.set(Metric::ShardEpoch, &[], epoch as f64);
            }
            if owning.with_fleet {
                gauges.set(Metric::BrokerConnected, &[], f64::from(u8::from(owning.broker().ok)));
            }
        }
        if let Some(figures) = figures {
            set_figures(&mut gauges, &figures);
        }
        if let Some(worker) = &self.worker {
            let glance = worker.glance();
            for (stage, count) in
                [("taken", glance.taken), ("started", glance.started), ("ended", glance.ended)]
            {
                gauges.set(Metric::WorkerHeld, &[("stage", stage)], count as f64);
            }
            gauges.set(Metric::WorkerOwnSlots, &[], glance.slots.into());
            gauges.set(Metric::WorkerDraining, &[], f64::from(u8::from(glance.draining)));
            gauges.set(Metric::BrokerConnected, &[], f64::from(u8::from(glance.broker == Ok(true))));
        }
        process::set(&mut gauges);
        gauges.finish();
        drop(gauges);
        self.recorder.text()
    }

    async fn look(&self) -> Value {
        let mut state = json!({
            "role": self.role,
            "version": env!("CARGO_PKG_VERSION"),
            "checks": self.checks().await.iter().map(|check| json!({
                "name": check.name, "ok": check.ok, "needed": check.needed, "says": check.says,
            })).collect::<Vec<_>>(),
        });
        if let Some(owning) = &self.owning {
            state["engine"] = match owning.window.overview().await {
                Some(overview) => json!(overview),
                None => Value::Null,
            };
            state["figures"] = json!(owning.window.figures().await);
        }
        if let Some(worker) = &self.worker {
            let glance = worker.glance();
            state["worker"] = json!({
                "id": glance.worker.map(|id| id.to_string()), "slots": glance.slots, "draining": glance.draining,
                "taken": glance.taken, "started": glance.started, "ended": glance.ended,
            });
        }
        state
    }
}

impl Monitored for Process {
    fn ready(&self) -> BoxFuture<'_, Vec<Check>> {
        Box::pin(self.checks())
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        Box::pin(self.look())
    }

    fn metrics(&self) -> BoxFuture<'_, String> {
        Box::pin(self.collect())
    }
}

fn set_figures(gauges: &mut Gauges, figures: &engine::figures::Figures) {
    for (state, count) in &figures.runs {
        gauges.set(Metric::Runs, &[("state", state.as_str())], *count as f64);
    }
    for (cause, count) in &figures.waiting {
        gauges.set(Metric::QueueDepth, &[("cause", cause.as_str())], *count as f64);
    }
    for (name, used, slots) in &figures.executors {
        let label = [("executor", name.as_str())];
        gauges.set(Metric::ExecutorUsed, &label, (*used).into());
        gauges.set(Metric::ExecutorSlots, &label, slots.unwrap_or(0).into());
    }
    gauges.set(Metric::Ending, &[], figures.ending as f64);
    let workers = figures.workers;
    for (state, count) in [
        ("open", workers.open),
        ("draining", workers.draining),
        ("silent", workers.silent),
        ("unknown", workers.unknown),
    ] {
        gauges.set(Metric::Workers, &[("state", state)], count.into());
    }
    gauges.set(Metric::WorkerSlots, &[("state", "used")], workers.used.into());
    gauges.set(Metric::WorkerSlots, &[("state", "free")], workers.slots.saturating_sub(workers.used).into());
}

impl Owning {
    fn lease(&self) -> Check {
        let standing = self.standing.borrow().clone();
        let (ok, says) = match standing {
            Standing::Trying(why) => (false, why),
            Standing::By(why) => (!self.alone, why),
            Standing::Owner(epoch) => (true, format!("this process owns the shard, epoch {epoch}")),
        };
        Check { name: "lease", ok, needed: true, says }
    }

    fn broker(&self) -> Check {
        let fleet = self.fleet.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (ok, needed, says) = match fleet.map(|fleet| fleet.hearing()) {
            // Whoever stands by has no connection.
            None => (true, false, "it is connected to when this process owns the shard".to_owned()),
            Some(Ok(())) => (true, true, "workers can be heard".to_owned()),
            Some(Err(why)) => (false, true, why),
        };
        Check { name: "broker", ok, needed, says }
    }
}

async fn within<T, E: std::error::Error>(answer: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    tokio::select! {
        answer = answer => answer.map_err(|error| error_chain(&error)),
        () = clock::sleep(DATABASE_MAX) => Err(format!("no answer within {DATABASE_MAX}")),
    }
}

pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

async fn database(db: &Db) -> Check {
    let began = clock::monotonic();
    let before = clock::now();
    let answer = within(db.now()).await;
    let took = Duration::from_micros(began.elapsed().0.max(0) as u64);
    let (ok, says) = match answer {
        Ok(now) => (
            true,
            format!("answers in {took:.1?}, its clock is {} from ours", Span(now.since(before).0.abs())),
        ),
        Err(why) => (false, why),
    };
    Check { name: "database", ok, needed: true, says }
}

async fn migrations(db: &Db) -> Check {
    let number = within(migrate::schema_number(db)).await;
    let newer = number.as_ref().is_ok_and(|number| *number > migrate::newest());
    let (ok, says) = match within(migrate::check(db)).await {
        Ok(()) => (true, format!("the schema has number {}", migrate::newest())),
        Err(why) => (false, why),
    };
    // In the middle of an upgrade what runs already goes on.
    Check { name: "migrations", ok, needed: !newer, says }
}

fn of_worker(glance: &worker::Glance) -> [Check; 3] {
    let (registered, says) = match glance.worker {
        Some(id) => (true, format!("registered as {id}")),
        None => {
            let why = glance.unregistered.as_deref().unwrap_or("it hasn't asked the task API yet");
            (false, format!("not registered yet: {why}"))
        }
    };
    let (broker, why) = match &glance.broker {
        Ok(true) => (true, "connected".to_owned()),
        Ok(false) => (false, "the broker hasn't been reached yet".to_owned()),
        Err(why) => (false, why.clone()),
    };
    let draining =
        if glance.draining { "it takes nothing new: it is about to end" } else { "it takes orders" };
    [
        Check { name: "registration", ok: registered, needed: true, says },
        Check { name: "broker", ok: broker, needed: true, says: why },
        Check { name: "draining", ok: !glance.draining, needed: true, says: draining.to_owned() },
    ]
}
