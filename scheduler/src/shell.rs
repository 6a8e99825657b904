//! The shell: does what the driver says, against a journal and executors.
//!
//! One task owns the driver and does nothing slow; a second owns the journal, so that reports are taken while a commit
//! is under way. Dispatches, questions and logs are handled by short tasks of their own. Whatever happens comes back as an
//! input of the driver.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use dags::{
    ids::{DispatchId, ExecutorName},
    time::{Span, Timestamp},
};
use engine::{
    Config,
    command::Refusal,
    dispatch::{Dispatch, News, Report},
    driver::{Action, Counts, Driver, Input, Stop},
    journal::Journal,
    rows::Broken,
};
use executor::Executor as _;
use futures::StreamExt as _;
use plugins::{policy::Policy, script::ScriptPool};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock,
    contain::{self, Panic},
    desk::Desk,
    errands::{Errand, Event, REQUESTS_AT_ONCE, run_errands},
    executors::{Executors, Kind},
    facts::Facts,
    fleet::{self, Fleet, FleetParts},
    hand_over::{hand_over, held, not_started},
    keeper,
    objects::Objects,
};

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
/// The longest wait before something that failed is tried again.
const WAIT_MAX: Span = Span::seconds(5);

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
        under_way: Arc::default(),
        inbox_asked: false,
        refuse,
        settled,
        alerted,
        fleet: fleet.map(Fleet::new),
    };
    let ended = Box::pin(shell.work(inbound, reports, wake, status, drain.clone(), cancel.clone())).await;
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

type UnderWay = Arc<Mutex<BTreeMap<DispatchId, Timestamp>>>;
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
    /// Dispatches that are being handed over, with the engine's clock when they were let out.
    under_way: UnderWay,
    inbox_asked: bool,
    refuse: BTreeMap<i64, Refusal>,
    settled: Arc<Notify>,
    alerted: Arc<Notify>,
    fleet: Option<Fleet>,
}

impl<F: Facts> Shell<F> {
    async fn work(
        mut self,
        mut inbound: mpsc::Receiver<Event>,
        mut reports: mpsc::Receiver<Report>,
        wake: Arc<Notify>,
        status: watch::Sender<Status>,
        drain: CancellationToken,
        cancel: CancellationToken,
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
            if draining && idle {
                return Ended::Asked;
            }
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
            Action::Commit(batch) => self.errand(Errand::Commit(batch)),
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
                    tracing::error!(run.id = %fault.run, task = ?fault.task, error = %fault.refused, "the engine refused a transition");
                }
            }
            Action::Quarantined(broken) => {
                for Broken { subject, reason, .. } in broken {
                    tracing::error!(
                        ?subject,
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

    fn dispatch(&mut self, mut dispatches: Vec<Dispatch>) {
        if let Some(fleet) = &mut self.fleet {
            dispatches = fleet.dispatch(dispatches);
        }
        let now = self.driver.engine().now();
        {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            // A second hand-over of what is still on its way would race with the first.
            dispatches.retain(|dispatch| match under_way.entry(dispatch.id) {
                Entry::Vacant(free) => {
                    free.insert(now);
                    true
                }
                Entry::Occupied(_) => false,
            });
            let mut holders = self.holders();
            for dispatch in &dispatches {
                for member in 0..dispatch.members {
                    holders.insert((dispatch.id, member), dispatch.executor.clone());
                }
            }
        }
        let (desk, executors, events) = (self.desk.clone(), self.executors.clone(), self.events.clone());
        let under_way = self.under_way.clone();
        self.start(async move {
            futures::stream::iter(dispatches)
                .for_each_concurrent(DISPATCHES_AT_ONCE, |dispatch| {
                    let (desk, executors, events, under_way) = (&desk, &executors, &events, &under_way);
                    async move {
                        let failed = hand_over(desk, executors, &dispatch).await.err();
                        if let Some(reason) = failed {
                            let held = held(executors, &dispatch).await;
                            let missing = (0..dispatch.members).filter(|member| !held.contains(member));
                            let end = || News::Ended(not_started(reason.clone()));
                            let reports = missing
                                .map(|member| Report::new(dispatch.id, member, u32::MAX, end()))
                                .collect();
                            drop(events.send(Event::Input(Input::Reports(reports))).await);
                        }
                        under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&dispatch.id);
                    }
                })
                .await;
        });
    }

    fn kill(&self, kills: Vec<engine::dispatch::Kill>) {
        let executors = self.executors.clone();
        self.start(async move {
            for kill in kills {
                let Some(executor) = executors.get(&kill.executor) else {
                    tracing::warn!(executor = %kill.executor, dispatch = %kill.id, "an executor that isn't there can't end a dispatch");
                    continue;
                };
                let mut wait = Span::millis(50);
                while let Err(error) = executor.kill(kill.clone()).await {
                    tracing::warn!(%error, dispatch = %kill.id, "failed to end a dispatch; trying again");
                    clock::sleep(wait).await;
                    wait = Span((wait.0 * 2).min(WAIT_MAX.0));
                }
            }
        });
    }

    fn confirm(&mut self, receipts: &[engine::driver::Receipt]) {
        let mut receipts = receipts.to_vec();
        if let Some(fleet) = &mut self.fleet {
            receipts = fleet.settle(receipts);
        }
        let ended: Vec<_> = receipts.iter().filter(|receipt| receipt.ended).copied().collect();
        if ended.is_empty() {
            return;
        }
        let mut work = Vec::with_capacity(ended.len());
        {
            let mut holders = self.holders();
            for receipt in ended {
                let holder = holders.remove(&(receipt.dispatch, receipt.member));
                work.push((receipt, holder));
            }
        }
        let (executors, objects) = (self.executors.clone(), self.desk.objects.clone());
        self.start(async move {
            futures::stream::iter(work)
                .for_each_concurrent(4, |(receipt, holder)| {
                    let (executors, objects) = (&executors, &objects);
                    async move {
                        let holder = holder.and_then(|name| executors.get(&name));
                        keeper::keep(executors, holder, objects, receipt).await;
                    }
                })
                .await;
        });
    }

    /// Asks every executor what it holds, and tells the engine.
    fn look_around(&self) {
        // What is on its way may arrive after the executor has answered.
        let oldest = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).values().min().copied();
        let now = self.driver.engine().now();
        let as_of = oldest.map_or(now, |oldest| oldest.min(now));
        for (name, executor) in self.executors.iter() {
            // Workers say by themselves what they hold.
            if matches!(executor, Kind::Noop(_) | Kind::Fleet(_)) {
                continue;
            }
            let (name, executor) = (name.clone(), executor.clone());
            let (events, holders) = (self.events.clone(), self.holders.clone());
            self.start(async move {
                match executor.list().await {
                    Ok(held) => {
                        {
                            let mut holders = holders.lock().unwrap_or_else(PoisonError::into_inner);
                            // What has ended may be confirmed by now; nobody would take it out again.
                            for held in held.iter().filter(|held| !held.ended) {
                                holders.entry((held.id, held.member)).or_insert_with(|| name.clone());
                            }
                        }
                        let input = Input::Holdings { executor: name, held, as_of };
                        drop(events.send(Event::Input(input)).await);
                    }
                    Err(error) => {
                        tracing::warn!(executor = %name, %error, "an executor doesn't say what it holds");
                    }
                }
            });
        }
    }
}
