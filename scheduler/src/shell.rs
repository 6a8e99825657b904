//! The shell: does what the driver says, against a journal and executors.
//!
//! One task owns the driver and does nothing slow; a second owns the journal, so that reports are taken while a commit
//! is under way. Dispatches, questions and logs are handled by short tasks of their own. Whatever happens comes back as an
//! input of the driver.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use dags::{
    ids::{DispatchId, ExecutorName},
    time::{Span, Timestamp},
};
use engine::{
    Config,
    command::Refusal,
    dispatch::Report,
    driver::{Action, Counts, Driver, Input, Stop},
    journal::Journal,
    rows::{Broken, Subject},
};
use migrations::store::retention::Old;
use plugins::{policy::Policy, script::ScriptPool};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock,
    contain::{self, Panic},
    desk::Desk,
    errands::{Errand, Event, REQUESTS_AT_ONCE, run_errands},
    executors::Executors,
    facts::Facts,
    fleet::{self, Fleet, FleetParts},
    hand_over::UnderWay,
    look::Look,
    meters::{HandOverMeter, Meters},
    objects::Objects,
};

mod carry;
mod presence;
mod workers;

/// Reports and other inputs that may wait.
const INPUTS_MAX: usize = 16_384;
/// Reports that are handed in at once.
const REPORTS_AT_ONCE: usize = 4_096;
/// The longest sleep: after it the wall clock and the inbox are looked at again.
const SLEEP_MAX: Span = Span::seconds(1);
/// How often executors are asked what they hold.
const LOOK_AROUND: Span = Span::seconds(15);
/// Contexts that are built at once for one batch.
const DISPATCHES_AT_ONCE: usize = 16;
/// How long a drain waits for logs to be kept after the last end.
const KEEP_MAX: Span = Span::seconds(5);

/// What a shell works with.
#[derive(Debug)]
pub struct Parts<J, F> {
    /// The journal of the shard, which is ours.
    pub journal: J,
    /// What it looks up.
    pub facts: F,
    /// The executors.
    pub executors: Executors,
    /// What they report.
    pub reports: mpsc::Receiver<Report>,
    /// The executor with workers on other machines, if there is one; it is among the executors as well.
    pub fleet: Option<FleetParts>,
    /// How many attempts each may run at once.
    pub slots: BTreeMap<ExecutorName, u32>,
    /// Bundles, results and logs.
    pub objects: Objects,
    /// Who evaluates expressions.
    pub scripts: Option<ScriptPool>,
    /// What attempts may reach.
    pub policy: Policy,
    /// The engine's settings.
    pub config: Config,
    /// Runs and DAGs because of which earlier shells came to grief: they are left alone.
    pub isolate: Vec<Broken>,
    /// Requests because of which earlier shells came to grief: they get this outcome.
    pub refuse: BTreeMap<i64, Refusal>,
    /// Rings when the inbox has something.
    pub wake: Arc<Notify>,
    /// Rung when requests have their outcome.
    pub settled: Arc<Notify>,
    /// Rung when alerts are stored that are to be delivered.
    pub alerted: Arc<Notify>,
    /// Questions of those who want to see inside.
    pub looks: Option<mpsc::Receiver<Look>>,
    /// Runs that aren't kept any more.
    pub retire: Option<mpsc::Receiver<Vec<Old>>>,
}

/// What can be seen of a shell from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Batches, reports and so on.
    pub counts: Counts,
    /// Members of dispatches that were handed over and whose end isn't stored.
    pub dispatched: usize,
    /// Whether nothing is under way.
    pub idle: bool,
}

/// Why a shell ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to, and what it had begun is stored.
    Asked,
    /// It must be built again, or another owner holds the shard.
    Stopped(Stop),
    /// The engine panicked. It must be built again, without who is to blame.
    Panicked(Panic),
}

/// Why a shell couldn't begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is stored couldn't be read.
    #[error("failed to read what is stored: {0}")]
    Snapshot(String),
    /// What is stored contradicts itself.
    #[error("what is stored can't be used: {0}")]
    Restore(Refusal),
    /// The engine can't be built from what is stored: a bug.
    #[error(
        "the engine panicked when it was built from what is stored, and no run or DAG is to blame: {0}. This is a bug; the \
         error output says where. Nothing is lost: the service goes on where it was when it can be started again"
    )]
    Panicked(String),
}

/// Runs until it is cancelled or must stop. With `drain` nothing new is admitted and it ends when all attempts have.
pub async fn run<J, F>(
    parts: Parts<J, F>,
    status: watch::Sender<Status>,
    drain: CancellationToken,
    cancel: CancellationToken,
) -> Result<Ended, Error>
where
    J: Journal + Send + 'static,
    F: Facts,
{
    let Parts {
        mut journal,
        facts,
        executors,
        reports,
        fleet,
        slots,
        objects,
        scripts,
        policy,
        config,
        isolate,
        refuse,
        wake,
        settled,
        alerted,
        mut looks,
        mut retire,
    } = parts;
    let driver = contain::build(&mut journal, &config, isolate).await?;
    let (events, inbound) = mpsc::channel(INPUTS_MAX);
    // Without a bound: the shell must never wait for the journal's task, which waits for the shell. The engine holds what
    // is asked for here anyway, and asks once.
    let (errands, errands_in) = mpsc::unbounded_channel();
    let tasks = TaskTracker::new();
    let end = cancel.child_token();
    clock::spawn(&tasks, run_errands(journal, errands_in, events.clone()));
    let desk = Desk { facts, objects, scripts, policy };
    let shell = Shell {
        driver,
        desk,
        executors: Arc::new(executors),
        slots,
        events,
        errands,
        tasks: tasks.clone(),
        end: end.clone(),
        holders: Arc::default(),
        under_way: UnderWay::default(),
        inbox_asked: false,
        refuse,
        settled,
        alerted,
        fleet: fleet.map(Fleet::new),
        meters: Meters::new(),
        hand_overs: HandOverMeter::new(),
        admitted: Timestamp(0),
    };
    if let Some(fleet) = &shell.fleet {
        presence::watch(fleet.handle(), shell.desk.facts.clone(), shell.events.clone(), end.clone());
    }
    let work = shell.work(
        inbound,
        reports,
        wake,
        status,
        (&mut looks, &mut retire),
        (drain.clone(), cancel.clone()),
    );
    let ended = Box::pin(work).await;
    tasks.close();
    if ended == Ended::Asked && drain.is_cancelled() && !cancel.is_cancelled() {
        // All attempts have ended: what is left are logs to be kept.
        tokio::select! {
            () = tasks.wait() => {}
            () = cancel.cancelled() => {}
            () = clock::sleep(KEEP_MAX) => tracing::warn!("logs are still to be kept; their executor has them"),
        }
    }
    end.cancel();
    tasks.wait().await;
    Ok(ended)
}

type Holders = Arc<Mutex<BTreeMap<(DispatchId, u32), ExecutorName>>>;

struct Shell<F> {
    driver: Driver,
    desk: Desk<F>,
    executors: Arc<Executors>,
    slots: BTreeMap<ExecutorName, u32>,
    events: mpsc::Sender<Event>,
    errands: mpsc::UnboundedSender<Errand>,
    tasks: TaskTracker,
    end: CancellationToken,
    /// Which executor has which member of a dispatch.
    holders: Holders,
    under_way: UnderWay,
    inbox_asked: bool,
    refuse: BTreeMap<i64, Refusal>,
    settled: Arc<Notify>,
    alerted: Arc<Notify>,
    fleet: Option<Fleet>,
    meters: Meters,
    hand_overs: HandOverMeter,
    /// The engine's clock of the batch that is under way or was last: what it admitted is handed over after it.
    admitted: Timestamp,
}

/// What comes next, or never.
async fn next<T>(from: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match from {
        Some(from) => from.recv().await,
        None => std::future::pending().await,
    }
}

impl<F: Facts> Shell<F> {
    async fn work(
        mut self,
        mut inbound: mpsc::Receiver<Event>,
        mut reports: mpsc::Receiver<Report>,
        wake: Arc<Notify>,
        status: watch::Sender<Status>,
        (looks, retire): (&mut Option<mpsc::Receiver<Look>>, &mut Option<mpsc::Receiver<Vec<Old>>>),
        (drain, cancel): (CancellationToken, CancellationToken),
    ) -> Ended {
        if let Some(ended) = self.introduce_executors() {
            return ended;
        }
        let mut looked_around = clock::now();
        self.look_around();
        self.ask_inbox();
        let mut batch = Vec::with_capacity(REPORTS_AT_ONCE);
        let mut draining = false;
        loop {
            if self.errands.is_closed() {
                let message = "the journal's task ended before the shell, see the error output".to_owned();
                return Ended::Panicked(Panic { message, culprit: None });
            }
            let nap = self.nap();
            let input = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ended::Asked,
                event = inbound.recv() => match event {
                    Some(Event::Input(input)) => input,
                    Some(Event::Inbox(mut inbox)) => {
                        self.inbox_asked = false;
                        let full = inbox.len() >= REQUESTS_AT_ONCE;
                        inbox.refuse(&self.refuse);
                        if let Some(ended) = self.feed(Input::Inbox(inbox)) {
                            return ended;
                        }
                        if full {
                            self.ask_inbox();
                        }
                        Input::Tick
                    }
                    Some(Event::LookedUp(worker, found)) => self.looked_up(worker, found),
                    None => return Ended::Asked,
                },
                // Before reports, so that nobody seems silent because much is going on here. What is unacknowledged bounds it.
                Some(event) = fleet::next(&mut self.fleet) => {
                    for input in self.hear(event) {
                        if let Some(ended) = self.feed(input) {
                            return ended;
                        }
                    }
                    Input::Tick
                }
                n = reports.recv_many(&mut batch, REPORTS_AT_ONCE) => {
                    if n == 0 {
                        return Ended::Asked;
                    }
                    Input::Reports(std::mem::take(&mut batch))
                }
                () = wake.notified() => {
                    self.ask_inbox();
                    Input::Tick
                }
                Some(look) = next(looks) => {
                    self.show(look);
                    continue;
                }
                Some(old) = next(retire) => {
                    Input::Retire(old.into_iter().map(|old| (old.tenant, old.dag_id, old.run)).collect())
                }
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    for name in self.executors.clone().keys() {
                        if let Some(ended) = self.feed(Input::Executor(name.clone(), Some(0))) {
                            return ended;
                        }
                    }
                    Input::Tick
                }
                () = clock::sleep(nap) => {
                    self.ask_inbox();
                    Input::Tick
                }
            };
            if let Some(ended) = self.feed(input) {
                return ended;
            }
            let now = clock::now();
            if now.since(looked_around) >= LOOK_AROUND || now < looked_around {
                looked_around = now;
                self.look_around();
                if let Some(ended) = self.feed(Input::Overdue) {
                    return ended;
                }
            }
            let dispatched = self.holders().len();
            let idle = !self.driver.is_busy() && dispatched == 0;
            status.send_replace(Status { counts: self.driver.counts(), dispatched, idle });
            self.meters.tell(&mut self.driver);
            if let Some(fleet) = &self.fleet {
                self.meters.tell_fleet(fleet.counts());
            }
            if draining && idle {
                return Ended::Asked;
            }
        }
    }

    /// Answers whoever wants to see inside, if they still wait.
    fn show(&self, look: Look) {
        match look {
            Look::Figures(reply) => drop(reply.send(self.driver.engine().figures())),
            Look::Overview(reply) => drop(reply.send(Box::new(self.driver.engine().overview()))),
        }
    }

    /// How long to sleep if nothing happens.
    fn nap(&self) -> Span {
        match self.driver.deadline() {
            Some(at) => at.since(clock::now()).min(SLEEP_MAX),
            None => SLEEP_MAX,
        }
    }

    fn holders(&self) -> std::sync::MutexGuard<'_, BTreeMap<(DispatchId, u32), ExecutorName>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_inbox(&mut self) {
        if !self.inbox_asked {
            self.inbox_asked = true;
            self.errand(Errand::Inbox(self.driver.taken()));
        }
    }

    fn errand(&self, errand: Errand) {
        if self.errands.send(errand).is_err() {
            tracing::error!("the journal's task has ended before the shell");
        }
    }

    fn feed(&mut self, input: Input) -> Option<Ended> {
        if let Some(fleet) = &self.fleet {
            fleet.tick(self.driver.engine().now());
        }
        let mut actions = match contain::next(&mut self.driver, clock::now(), input) {
            Ok(actions) => actions,
            Err(panic) => return Some(Ended::Panicked(panic)),
        };
        // Work that needs no outside event goes on at once, unless a commit is awaited.
        loop {
            for action in actions {
                if let Some(ended) = self.act(action) {
                    return Some(ended);
                }
            }
            let due = self.driver.deadline().is_some_and(|at| at <= clock::now());
            if !due && !self.driver.wants_tick() {
                return None;
            }
            actions = match contain::next(&mut self.driver, clock::now(), Input::Tick) {
                Ok(actions) => actions,
                Err(panic) => return Some(Ended::Panicked(panic)),
            };
            if actions.is_empty() && !self.driver.wants_tick() {
                return None;
            }
        }
    }

    fn act(&mut self, action: Action) -> Option<Ended> {
        match action {
            Action::Commit(batch) => {
                self.admitted = batch.now;
                self.errand(Errand::Commit(batch));
            }
            Action::ReadPosition => self.errand(Errand::Position),
            Action::Load(load) => self.errand(Errand::Load(load)),
            Action::Dispatch(dispatches) => self.dispatch(dispatches),
            Action::Kill(kills) => self.kill(kills),
            Action::Ask(questions) => {
                for question in questions {
                    let (desk, events) = (self.desk.clone(), self.events.clone());
                    self.start(async move {
                        let answer = desk.answer(&question).await;
                        drop(events.send(Event::Input(Input::Answer(question.id, answer))).await);
                    });
                }
            }
            Action::Confirm(receipts) => self.confirm(&receipts),
            Action::Gone(workers) => self.gone(&workers),
            Action::Alert(_) => self.alerted.notify_one(),
            Action::Fault(faults) => {
                for fault in faults {
                    let (task, map_index) = &fault.task;
                    tracing::error!(
                        tenant.id = %fault.tenant, dag.id = %fault.dag_id, run.id = %fault.run, task.id = %task,
                        map_index, error = %fault.refused, "the engine refused a transition"
                    );
                }
            }
            Action::Quarantined(broken) => {
                for Broken { subject, dag_id, reason } in broken {
                    let (tenant, dag, run) = match subject {
                        Subject::Dag(tenant, dag) => (tenant, Some(dag), None),
                        Subject::Run(tenant, run) => (tenant, dag_id, Some(run)),
                    };
                    tracing::error!(
                        tenant.id = %tenant,
                        dag.id = dag.map(|dag| dag.to_string()),
                        run.id = run.map(|run| run.to_string()),
                        reason,
                        "quarantined: it is left alone until it is mended and released, or deleted"
                    );
                }
            }
            Action::Answered(_) => self.settled.notify_waiters(),
            Action::Stop(stop) => return Some(Ended::Stopped(stop)),
        }
        None
    }

    /// Starts a task that ends with the shell.
    fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        clock::spawn(&self.tasks, async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = task => {}
            }
        });
    }
}
