//! The inside of a pod: claims the one member of a dispatch that the pod was made for, runs it under a supervisor as a worker
//! does, carries its log and its result to the task API, and tells it how it ended before the pod does.
//!
//! The cluster asks a pod to end by TERM and doesn't say why. The task API knows whether Updraft asked for that, why, and how
//! long the attempt has; if not, the cluster needs the room or the node, and the attempt is lost.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use dags::{
    ids::{DispatchId, WorkerId},
    time::Span,
};
use engine::{
    dispatch::{End, Kill, News, Outcome, Report},
    execution::{Answer, Ending, Go, Ticket},
};
use plugins::context::AttemptContext;
use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    api::{Api, ApiError},
    bundles::Bundles,
    jobs::{Done, Jobs},
    runner::Runner,
};
use crate::{Work, clock, local};

/// The number of the document that a pod is given.
const FORMAT: u32 = 1;

/// How often a running log is looked at.
const LOOK_AT_LOG: Duration = Duration::from_secs(1);
/// How often it is asked whether the attempt is to be ended: of one that is being ended already, and of others, whose dispatch may
/// not be current any more.
const ASK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The wait before the task API is asked again that said "later".
const LATER: Duration = Duration::from_secs(1);
/// How long the task API may fail to take the end.
const END_MAX: Duration = Duration::from_mins(10);
/// The grace of an attempt that is ended by the cluster, or because nobody wants it any more.
const GRACE: Span = Span::seconds(15);
/// The exit code of a pod that couldn't do its work.
const UNABLE: u8 = 112;
/// Where the cluster finds the last words of a container, and how long they may be.
const LAST_WORDS: &str = "/dev/termination-log";
const LAST_WORDS_BYTES_MAX: usize = 4096;

/// What a pod is given, in a secret of its own.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orders {
    format: u32,
    /// The URL of the task API.
    api: String,
    /// The certificates that it is known by, PEM; those that the image trusts if absent.
    authorities: Option<String>,
    /// Which member the pod runs.
    member: u32,
    /// The longest log of its attempt, in bytes.
    log_bytes_max: u64,
    ticket: Ticket,
}

impl Orders {
    /// Orders for the pod of a member.
    pub fn new(
        api: String,
        authorities: Option<String>,
        member: u32,
        log_bytes_max: u64,
        ticket: Ticket,
    ) -> Self {
        Self { format: FORMAT, api, authorities, member, log_bytes_max, ticket }
    }
}

/// Where things are in a pod.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file with its [`Orders`].
    pub orders: PathBuf,
    /// A folder of its own.
    pub data: PathBuf,
    /// The program that supervises attempts when it is called with `supervise`.
    pub program: PathBuf,
}

/// Why a pod can't do its work.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the file with the pod's orders, {}, can't be read", path.display())]
    Orders {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the pod's orders have format {0}, this release reads {FORMAT}: the image that brings Updraft is of another release than the service"
    )]
    Format(u32),
    #[error("the attempt isn't this pod's: it isn't current any more")]
    NotCurrent,
    #[error("the attempt was begun by another pod, which nobody knows anything of any more")]
    Taken,
    #[error("the attempt can't be started: {0}")]
    Missing(String),
    #[error("failed to ask for the attempt")]
    Ask(#[source] ApiError),
    #[error("failed to {0}")]
    Machine(&'static str, #[source] std::io::Error),
    #[error("the pod was told to end before its attempt began")]
    Ended,
}

/// Does the pod's work; its exit code.
pub async fn run(options: Options) -> u8 {
    match Box::pin(try_run(options)).await {
        Ok(code) => code,
        Err(error) => {
            let why = chain(&error);
            tracing::error!(error = why, "the pod can't do its work");
            // What another pod began may have done something.
            let outcome = if matches!(error, Error::Taken) { Outcome::Lost } else { Outcome::NotStarted };
            say_last(&End { outcome, ..never_ran(why) });
            UNABLE
        }
    }
}

fn never_ran(reason: String) -> End {
    End {
        outcome: Outcome::NotStarted,
        duration: Span::ZERO,
        exit_code: None,
        reason: Some(reason),
        result: None,
        mapped_length: None,
    }
}

/// Leaves an end where the cluster keeps it, for the case that the task API doesn't get it.
fn say_last(end: &End) {
    let Ok(mut text) = serde_json::to_vec(end) else { return };
    if text.len() > LAST_WORDS_BYTES_MAX {
        let mut short = End { result: None, mapped_length: None, reason: None, ..end.clone() };
        if end.result.is_some() && end.outcome == Outcome::Success {
            short.outcome = Outcome::Failed;
            short.reason =
                Some("its result is lost: the task API couldn't be reached until the pod ended".to_owned());
        }
        text = serde_json::to_vec(&short).unwrap_or_default();
    }
    // Outside of a pod there is no such file.
    if Path::new(LAST_WORDS).exists()
        && let Err(error) = std::fs::write(LAST_WORDS, text)
    {
        tracing::warn!(%error, "the pod's last words can't be written");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

async fn try_run(options: Options) -> Result<u8, Error> {
    let mut term = signal(SignalKind::terminate()).map_err(|e| Error::Machine("listen to signals", e))?;
    let orders = read(&options.orders)?;
    let api = Api::trusting(&orders.api, String::new(), orders.authorities.as_deref()).map_err(Error::Ask)?;
    let go = tokio::select! {
        go = claim(&api, &orders) => go?,
        _ = term.recv() => return Err(Error::Ended),
    };
    let end = CancellationToken::new();
    let (reports, received) = mpsc::channel(16);
    // A supervisor ends what bears the mark of its folder. Pods that see each other's processes have this path in common.
    let dir = options.data.join(Uuid::now_v7().simple().to_string());
    let objects = options.data.join("objects");
    for folder in [&objects, &options.data.join("bundles")] {
        std::fs::create_dir_all(folder).map_err(|e| Error::Machine("make a folder of the pod", e))?;
    }
    let arguments: Vec<OsString> = ["supervise".into(), "--dir".into(), dir.clone().into()]
        .into_iter()
        .chain(["--objects".into(), objects.clone().into(), "--with-parent".into()])
        .chain(["--log-bytes-max".into(), orders.log_bytes_max.to_string().into()])
        .collect();
    let local = local::Options { dir, program: options.program.clone(), arguments, slots: 1 };
    let (executor, service) = local::open(local, reports);
    let jobs = Jobs {
        worker: WorkerId(Uuid::nil()),
        api,
        runner: Runner::Local(executor),
        bundles: Arc::new(Bundles::new(options.data.join("bundles"))),
        results: objects,
    };
    let attempt = Attempt { jobs, token: go.token.clone(), id: go.dispatch.id, member: orders.member };
    let work = async {
        let code = attempt.work(go, received, &mut term).await;
        end.cancel();
        code
    };
    let ((), code) = tokio::join!(Box::pin(service.run(end.clone())), Box::pin(work));
    Ok(code)
}

fn read(path: &Path) -> Result<Orders, Error> {
    #[derive(Deserialize)]
    struct Numbered {
        format: u32,
    }
    let failed = |source| Error::Orders { path: path.to_owned(), source };
    let text = std::fs::read(path).map_err(failed)?;
    let Numbered { format } = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    if format != FORMAT {
        return Err(Error::Format(format));
    }
    serde_json::from_slice(&text).map_err(|error| failed(error.into()))
}

/// Claims the member, waiting for the API if need be.
async fn claim(api: &Api, orders: &Orders) -> Result<Go<AttemptContext>, Error> {
    // Known to this process only: what else runs in the pod can't claim it again.
    let claimant = Uuid::now_v7();
    loop {
        match api.run_pod(claimant, orders.member, &orders.ticket).await.map_err(Error::Ask)? {
            Answer::Go(go) => return Ok(*go),
            Answer::Taken => return Err(Error::Taken),
            Answer::Gone => return Err(Error::NotCurrent),
            Answer::Later { reason } => {
                tracing::warn!(reason, "the attempt can't be looked up now; asking again");
                clock::sleep(LATER).await;
            }
            Answer::Missing { reason } => return Err(Error::Missing(reason)),
        }
    }
}

/// The one attempt of a pod.
struct Attempt {
    jobs: Jobs,
    token: String,
    id: DispatchId,
    member: u32,
}

/// Who wants an attempt to end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    /// Updraft.
    Ours(Ending),
    /// The cluster, or nobody knows who.
    Cluster,
    /// Nobody waits for it any more.
    Forsaken,
}

impl Wish {
    fn reason(&self) -> &str {
        match self {
            Self::Ours(ending) => &ending.reason,
            Self::Cluster => {
                "the cluster ends its pod: it was preempted, evicted or deleted, or its node is being emptied"
            }
            Self::Forsaken => "it isn't current any more",
        }
    }

    fn grace(&self) -> Span {
        match self {
            Self::Ours(ending) => ending.grace,
            Self::Cluster | Self::Forsaken => GRACE,
        }
    }
}

enum Turn {
    Report(Option<Report>),
    Done(Done),
    Asked(Result<Option<Ending>, ApiError>),
    Term,
    Log,
    Ask,
}

type Asking = Pin<Box<dyn Future<Output = Result<Option<Ending>, ApiError>> + Send>>;

impl Attempt {
    /// Runs it to its end and says how that was; the pod's exit code.
    async fn work(
        &self,
        go: Go<AttemptContext>,
        mut reports: mpsc::Receiver<Report>,
        term: &mut Signal,
    ) -> u8 {
        let mut lock = None;
        let started = tokio::select! {
            biased;
            _ = term.recv() => Err(None),
            started = self.start(go, &mut lock) => started.map_err(Some),
        };
        let (report, from, wish) = match started {
            Ok(()) => Box::pin(self.watch(&mut reports, term)).await,
            Err(why) => {
                let wish = if why.is_none() { Some(self.ask().await) } else { None };
                let mut end = never_ran(why.unwrap_or_default());
                if let Some(wish) = &wish {
                    (end.outcome, end.reason) = (Outcome::Killed, Some(wish.reason().to_owned()));
                }
                (Report::new(self.id, self.member, 2, News::Ended(end)), 0, wish)
            }
        };
        let ended = self.jobs.clone().end(Some(self.token.clone()), report, from).await;
        let Done::Ended(report) = ended else { return UNABLE };
        let News::Ended(mut end) = report.news else { return UNABLE };
        if let (Outcome::Killed, Some(wish)) = (&end.outcome, wish) {
            // The task API may not have answered when the pod was told to end.
            match if wish == Wish::Cluster { self.ask().await } else { wish } {
                Wish::Ours(ending) => end.reason = Some(ending.reason),
                Wish::Cluster | Wish::Forsaken => end.outcome = Outcome::Lost,
            }
        }
        // Before it is sent, which may take longer than the pod has.
        say_last(&end);
        if let Err(error) = self.jobs.api.put_end(&self.token, self.member, &end, END_MAX).await {
            tracing::error!(%error, "the task API doesn't know how the attempt ended");
        }
        match (&end.outcome, end.exit_code) {
            (Outcome::Success, _) => 0,
            (_, Some(code)) => u8::try_from(code).unwrap_or(1).max(1),
            (_, None) => 1,
        }
    }

    /// Fetches the bundle and hands the member to the supervisor.
    async fn start(
        &self,
        go: Go<AttemptContext>,
        lock: &mut Option<Arc<std::fs::File>>,
    ) -> Result<(), String> {
        let Go { token, dispatch, context } = go;
        let used = self.jobs.bundles.get(&self.jobs.api, &token, &dispatch.bundle).await;
        let used = used.map_err(|error| format!("its bundle isn't here: {error}"))?;
        *lock = Some(used.lock);
        let context = AttemptContext { member: self.member, bundle_dir: used.folder, ..context };
        let submitted = self.jobs.runner.submit(Work { dispatch, context }).await;
        submitted.map_err(|error| error.to_string())
    }

    /// Why the attempt is to be ended, now that the pod was told to.
    async fn ask(&self) -> Wish {
        wish(self.jobs.api.ending(&self.token, self.member).await).unwrap_or(Wish::Cluster)
    }

    /// Waits for the end, carries the log meanwhile, and ends the attempt when that is wanted. The report of the end, how far the
    /// log was carried, and who wanted it to end.
    async fn watch(
        &self,
        reports: &mut mpsc::Receiver<Report>,
        term: &mut Signal,
    ) -> (Report, u64, Option<Wish>) {
        let (mut from, mut ended, mut wanted) = (0, None, None::<Wish>);
        let mut logging: Option<Pin<Box<dyn Future<Output = Done> + Send>>> = None;
        let mut asking: Option<Asking> = None;
        let mut log = tokio::time::interval(LOOK_AT_LOG);
        log.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = false;
        let mut ask_at = clock::monotonic() + ASK.1;
        loop {
            if logging.is_none()
                && let Some(report) = ended.take()
            {
                return (report, from, wanted);
            }
            let until_asked = ask_at.saturating_duration_since(clock::monotonic());
            let turn = tokio::select! {
                report = reports.recv(), if ended.is_none() => Turn::Report(report),
                done = pending(&mut logging), if logging.is_some() => Turn::Done(done),
                asked = pending(&mut asking), if asking.is_some() => Turn::Asked(asked),
                _ = term.recv() => Turn::Term,
                _ = log.tick(), if logging.is_none() && ended.is_none() => Turn::Log,
                () = clock::sleep(until_asked), if asking.is_none() && ended.is_none() => Turn::Ask,
            };
            match turn {
                Turn::Report(Some(report)) => {
                    if matches!(report.news, News::Ended(_)) {
                        ended = Some(report);
                    }
                }
                Turn::Report(None) => {
                    let lost = End {
                        outcome: Outcome::Lost,
                        ..never_ran("its supervisor can't be reached".to_owned())
                    };
                    ended = Some(Report::new(self.id, self.member, 2, News::Ended(lost)));
                }
                Turn::Done(done) => {
                    logging = None;
                    if let Done::Logged { next, .. } = done {
                        from = next;
                    }
                }
                Turn::Log => {
                    let job = self.jobs.clone().log(self.token.clone(), self.id, self.member, from);
                    logging = Some(Box::pin(job));
                }
                Turn::Term => {
                    told = true;
                    // What was asked before may be answered as it was before.
                    asking = Some(self.asking());
                }
                Turn::Ask => asking = Some(self.asking()),
                Turn::Asked(answer) => {
                    asking = None;
                    ask_at = clock::monotonic() + if told { ASK.0 } else { ASK.1 };
                    let found = wish(answer).or_else(|| told.then_some(Wish::Cluster));
                    // What Updraft wants isn't forgotten because it can't be asked for a moment.
                    let keeps = matches!((&wanted, &found), (Some(Wish::Ours(_)), Some(Wish::Cluster)));
                    if let Some(found) = found.filter(|found| !keeps && wanted.as_ref() != Some(found)) {
                        told = true;
                        self.kill(&found).await;
                        wanted = Some(found);
                    }
                }
            }
        }
    }

    fn asking(&self) -> Asking {
        let (api, token, member) = (self.jobs.api.clone(), self.token.clone(), self.member);
        Box::pin(async move { api.ending(&token, member).await })
    }

    async fn kill(&self, wish: &Wish) {
        let Ok(executor) = "local".parse() else { return };
        let (reason, grace) = (wish.reason().to_owned(), wish.grace());
        let kill = Kill { id: self.id, members: self.member + 1, executor, worker: None, grace, reason };
        if let Err(error) = self.jobs.runner.kill(kill).await {
            tracing::error!(%error, "the attempt can't be ended");
        }
    }
}

/// What an answer about the end means; nothing if nobody wants it, as far as is known.
fn wish(answer: Result<Option<Ending>, ApiError>) -> Option<Wish> {
    match answer {
        Ok(ending) => ending.map(Wish::Ours),
        Err(error) if error.is_final() => Some(Wish::Forsaken),
        Err(error) => {
            tracing::warn!(%error, "the task API doesn't say whether the attempt is to be ended");
            None
        }
    }
}

/// The outcome of what is under way.
async fn pending<T>(task: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}
