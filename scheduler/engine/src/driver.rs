//! The driver: makes batches of what the engine decides, has each committed, and only then lets its effects out.
//!
//! As free of IO as the engine: [`Driver::next`] takes what happened and says what to do. A shell of a few hundred lines does
//! it against a database and executors; the simulator does it with faults. What wasn't committed wasn't dispatched; what
//! was committed is dispatched again after a crash, and the other side ignores a repeat.

use std::{collections::BTreeSet, sync::Arc};

use dags::{
    ids::{DagId, DispatchId, ExecutorName, RunId, TenantId, WorkerId},
    time::{Span, Timestamp},
};

pub use crate::dispatch::{Receipt, Withdrawal, Withdrawn};
use crate::{
    blame::Culprit,
    command::Refusal,
    dispatch::{Dispatch, Held, Kill, News, Report},
    engine::{Config, Effects, Engine, Fate, Fault},
    fleet::WorkerNews,
    journal::{Commit, Conflict, Inbox, Load, Loaded, Position},
    question::{Answer, Question},
    rows::{AlertRow, Batch, Broken, Snapshot},
};

/// The first wait after a commit that failed; doubled up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Span = Span::millis(20);
/// The longest wait between two tries of a commit.
const BACKOFF_MAX: Span = Span::seconds(1);
/// Steps without anything to store that are made in a row before other input is looked at.
const IDLE_STEPS_MAX: usize = 64;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Nothing but time.
    Tick,
    /// Requests, read with [`Driver::taken`] left out.
    Inbox(Inbox),
    /// Reports of executors.
    Reports(Vec<Report>),
    /// The answer to a question.
    Answer(DispatchId, Answer),
    /// A run that was asked for.
    Loaded(Box<Loaded>),
    /// How the commit ended.
    Committed(Commit),
    /// Where the shard stands, after [`Action::ReadPosition`].
    Position(Position),
    /// What an executor holds. What it should hold and doesn't is lost, so every hand-over to it that was let out before
    /// `as_of` must have reached it when it is asked: if some may still be under way, `as_of` is [`Engine::now`] of when
    /// the oldest of these was let out, otherwise of when the executor is asked.
    Holdings {
        /// The executor.
        executor: ExecutorName,
        /// What it holds, ended or not.
        held: Vec<Held>,
        /// See above.
        as_of: Timestamp,
    },
    /// Look for what somebody else should have done long ago, and put it right. Every now and then.
    Overdue,
    /// How many attempts an executor may run at once; none if it is gone.
    Executor(ExecutorName, Option<u32>),
    /// Finished runs that aren't kept any more: those that nobody works with are marked as being deleted.
    Retire(Vec<(TenantId, DagId, RunId)>),
    /// Something happened to the workers of an executor. A heartbeat's `as_of` is as that of [`Input::Holdings`].
    Worker(ExecutorName, WorkerNews),
    /// What came of withdrawals.
    Withdrawn(Vec<(DispatchId, Withdrawn)>),
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Commit this batch and say how it ended.
    Commit(Arc<Batch>),
    /// Read where the shard stands and say so.
    ReadPosition,
    /// Read a run and hand it in.
    Load(Load),
    /// Hand attempts over to their executors.
    Dispatch(Vec<Dispatch>),
    /// End dispatches.
    Kill(Vec<Kill>),
    /// Claim these dispatches in nobody's name, unless their worker has, and say what came of it.
    Withdraw(Vec<Withdrawal>),
    /// Find answers and hand them in.
    Ask(Vec<Question>),
    /// These reports are durable: their senders may forget them, and executors the ends among them.
    Confirm(Vec<Receipt>),
    /// These workers are lost or said goodbye: nothing is expected of them any more.
    Gone(Vec<(ExecutorName, WorkerId)>),
    /// These alerts are stored and wait to be delivered.
    Alert(Vec<AlertRow>),
    /// Log bugs.
    Fault(Vec<Fault>),
    /// Tell people: these runs and DAGs are left alone from now on.
    Quarantined(Vec<Broken>),
    /// These requests have their outcome.
    Answered(Vec<i64>),
    /// Drop the engine. Nothing follows.
    Stop(Stop),
}

/// Why a driver can't go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Another owner holds the shard.
    Fenced,
    /// The database isn't as the engine believes: rebuild it. Says where.
    Conflict(Conflict),
    /// Something that was quarantined is released: build the engine again, with it.
    Rebuild,
}

/// Counts for figures and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches committed.
    pub batches: u64,
    /// Reports that changed something.
    pub reports: u64,
    /// Reports about dispatches that weren't current.
    pub stale: u64,
    /// Reports that were here before.
    pub repeats: u64,
    /// Commits that had to be sent again.
    pub retried: u64,
}

#[derive(Debug)]
struct Flight {
    batch: Arc<Batch>,
    effects: Effects,
    receipts: Vec<Receipt>,
    /// When to send it again; none while an answer is awaited.
    again: Option<Timestamp>,
    backoff: Span,
}

/// An engine with its place in the journal.
#[derive(Debug)]
pub struct Driver {
    engine: Engine,
    batch: u64,
    flight: Option<Flight>,
    receipts: Vec<Receipt>,
    taken: BTreeSet<i64>,
    /// Runs to be read, and the batch that must be durable before: it may hold the run's last changes.
    loads: Vec<(u64, Load)>,
    counts: Counts,
    stopped: bool,
}

impl Driver {
    /// A driver that goes on where the snapshot ends. Call [`Driver::next`] with [`Input::Tick`] to set it going.
    pub fn new(config: Config, snapshot: Snapshot) -> Result<Self, Refusal> {
        let batch = snapshot.batch;
        let engine = Engine::restore(config, snapshot)?;
        Ok(Self {
            engine,
            batch,
            flight: None,
            receipts: Vec::new(),
            taken: BTreeSet::new(),
            loads: Vec::new(),
            counts: Counts::default(),
            stopped: false,
        })
    }

    /// The engine, to be looked at.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Counts since the driver was made.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How long those took to start that were started since the last call.
    pub fn take_starts(&mut self) -> Vec<Span> {
        self.engine.take_starts()
    }

    /// Requests that were taken and whose outcome isn't stored yet: they must not be read again.
    pub fn taken(&self) -> Vec<i64> {
        self.taken.iter().copied().collect()
    }

    /// When to call [`Driver::next`] with [`Input::Tick`] if nothing else happens before.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.wants_tick() {
            return Some(self.engine.now());
        }
        let again = self.flight.as_ref().and_then(|flight| flight.again);
        // While a commit is under way only its end lets anything out; what is due may be worked on, one step ahead.
        let due =
            if self.flight.is_some() && self.engine.has_changes() { None } else { self.engine.deadline() };
        [again, due].into_iter().flatten().min()
    }

    /// Whether it would go on by itself, were it called, or waits for a commit.
    pub fn is_busy(&self) -> bool {
        self.flight.is_some() || self.engine.has_work() || self.engine.has_changes()
    }

    /// Whether a call with [`Input::Tick`] would go on at once, with work that the last call didn't get to.
    pub fn wants_tick(&self) -> bool {
        let ahead = self.engine.has_changes();
        !self.stopped
            && if self.flight.is_some() {
                !ahead && self.engine.has_work()
            } else {
                ahead || self.engine.has_work()
            }
    }

    /// Whether everything that it knows is stored and let out.
    pub fn is_settled(&self) -> bool {
        !self.is_busy() && self.receipts.is_empty() && self.loads.is_empty()
    }

    /// Something happened: what is to be done, in this order.
    pub fn next(&mut self, now: Timestamp, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.stopped {
            return actions;
        }
        self.engine.for_nobody();
        self.engine.advance(now);
        self.engine.for_nobody();
        match input {
            Input::Tick => {}
            Input::Inbox(inbox) => {
                for row in inbox.rows {
                    if self.taken.insert(row.id) {
                        self.engine.request(row, &inbox.versions);
                    }
                }
                for (id, refusal) in inbox.refused {
                    if self.taken.insert(id) {
                        self.engine.refuse(id, refusal);
                    }
                }
            }
            Input::Reports(reports) => reports.iter().for_each(|report| self.report(report)),
            Input::Answer(id, answer) => {
                self.engine.answer(id, answer);
            }
            Input::Loaded(loaded) => self.engine.loaded(*loaded),
            Input::Committed(commit) => self.committed(now, commit, &mut actions),
            Input::Position(position) => self.position(position, &mut actions),
            Input::Holdings { executor, held, as_of } => self.engine.holdings(&executor, &held, as_of),
            Input::Overdue => self.engine.repair(),
            Input::Executor(name, slots) => self.engine.set_executor(&name, slots),
            Input::Retire(runs) => {
                runs.iter().for_each(|(tenant, dag, run)| self.engine.retire(*tenant, dag, *run));
            }
            Input::Worker(name, news) => self.engine.worker_news(&name, news),
            Input::Withdrawn(outcomes) => {
                outcomes.into_iter().for_each(|(id, outcome)| self.engine.withdrawn(id, outcome));
            }
        }
        self.engine.for_nobody();
        self.pump(now, &mut actions);
        // By the clock that the caller sees when it carries them out.
        for action in &actions {
            if let Action::Dispatch(dispatches) = action {
                self.engine.handed_over(dispatches);
            }
        }
        actions
    }

    /// Whom a panic of [`Driver::new`]'s or [`Driver::next`]'s last call is to be blamed on, if that can be said. The driver
    /// can't be used any more after one.
    pub fn culprit(&self) -> Option<Culprit> {
        let under_way = self.flight.iter().flat_map(|flight| &flight.batch.new_runs);
        self.engine.culprit(|run| under_way.clone().any(|row| row.run == run))
    }

    fn report(&mut self, report: &Report) {
        let Report { dispatch, member, seq, .. } = *report;
        let ended = matches!(report.news, News::Ended(_));
        let fate = self.engine.report(report);
        match fate {
            Fate::Taken => self.counts.reports += 1,
            Fate::Stale => self.counts.stale += 1,
            Fate::Repeat => self.counts.repeats += 1,
            // The message may go: its executor keeps what the gang needs, until it is over.
            Fate::Held => {
                self.receipts.push(Receipt { dispatch, member, seq, ended: false });
                return;
            }
        }
        self.receipts.push(Receipt { dispatch, member, seq, ended });
    }

    fn committed(&mut self, now: Timestamp, commit: Commit, actions: &mut Vec<Action>) {
        let Some(flight) = &mut self.flight else { return };
        match commit {
            Commit::Done => self.land(actions),
            Commit::Failed(_) => {
                flight.again = Some(now.after(flight.backoff));
                flight.backoff = Span((flight.backoff.0 * 2).min(BACKOFF_MAX.0));
                self.counts.retried += 1;
            }
            Commit::Unknown(_) => actions.push(Action::ReadPosition),
            Commit::Fenced => self.stop(Stop::Fenced, actions),
            Commit::Conflict(conflict) => self.stop(Stop::Conflict(conflict), actions),
        }
    }

    fn position(&mut self, position: Position, actions: &mut Vec<Action>) {
        let Some(flight) = &mut self.flight else { return };
        if !position.ours {
            self.stop(Stop::Fenced, actions);
        } else if position.batch == flight.batch.number {
            self.land(actions);
        } else if position.batch + 1 == flight.batch.number {
            self.counts.retried += 1;
            actions.push(Action::Commit(flight.batch.clone()));
        } else {
            let what = format!("the shard is at batch {}, we are at {}", position.batch, flight.batch.number);
            self.stop(Stop::Conflict(Conflict::new(what)), actions);
        }
    }

    fn stop(&mut self, why: Stop, actions: &mut Vec<Action>) {
        self.stopped = true;
        actions.push(Action::Stop(why));
    }

    /// The batch is durable: its effects may leave.
    fn land(&mut self, actions: &mut Vec<Action>) {
        let Some(flight) = self.flight.take() else { return };
        self.batch = flight.batch.number;
        self.counts.batches += 1;
        let answered: Vec<i64> = flight.batch.inbox.iter().map(|outcome| outcome.id).collect();
        for id in &answered {
            self.taken.remove(id);
        }
        if !answered.is_empty() {
            actions.push(Action::Answered(answered));
        }
        if !flight.batch.alerts.is_empty() {
            actions.push(Action::Alert(flight.batch.alerts.clone()));
        }
        let rebuild = flight.effects.rebuild;
        Self::let_out(flight.effects, flight.receipts, actions);
        if rebuild {
            self.stop(Stop::Rebuild, actions);
        }
    }

    fn let_out(effects: Effects, mut receipts: Vec<Receipt>, actions: &mut Vec<Action>) {
        let Effects {
            dispatches,
            kills,
            withdrawals,
            confirms,
            gone,
            questions,
            faults,
            quarantined,
            rebuild: _,
        } = effects;
        if !dispatches.is_empty() {
            actions.push(Action::Dispatch(dispatches));
        }
        if !kills.is_empty() {
            actions.push(Action::Kill(kills));
        }
        if !withdrawals.is_empty() {
            actions.push(Action::Withdraw(withdrawals));
        }
        if !questions.is_empty() {
            actions.push(Action::Ask(questions));
        }
        receipts.extend(confirms);
        if !receipts.is_empty() {
            actions.push(Action::Confirm(receipts));
        }
        if !gone.is_empty() {
            actions.push(Action::Gone(gone));
        }
        if !faults.is_empty() {
            actions.push(Action::Fault(faults));
        }
        if !quarantined.is_empty() {
            actions.push(Action::Quarantined(quarantined));
        }
    }

    /// Works, and starts the next commit if none is under way.
    fn pump(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.stopped {
            return;
        }
        if let Some(flight) = &mut self.flight {
            // Further away than ever asked for: the clock was set back meanwhile.
            if flight.again.is_some_and(|again| again <= now || again > now.after(BACKOFF_MAX)) {
                flight.again = None;
                actions.push(Action::Commit(flight.batch.clone()));
            }
            // One step ahead of the commit, no more: what piles up meanwhile is the next batch.
            if self.engine.has_work() && !self.engine.has_changes() {
                self.engine.step();
            }
        } else {
            for _ in 0..IDLE_STEPS_MAX {
                if !self.engine.has_work() || self.engine.must_store_first() {
                    break;
                }
                self.engine.step();
                if self.engine.has_changes() {
                    break;
                }
            }
            if self.engine.has_changes() || !self.receipts.is_empty() {
                self.take_off(actions);
            }
        }
        let under_way = u64::from(self.flight.is_some());
        let stored_by = self.batch + under_way + u64::from(self.engine.has_changes());
        self.loads.extend(self.engine.take_loads().into_iter().map(|load| (stored_by, load)));
        for (stored_by, load) in std::mem::take(&mut self.loads) {
            // A batch with nothing to write isn't committed, so its number may never come.
            if stored_by <= self.batch || !self.is_busy() {
                actions.push(Action::Load(load));
            } else {
                self.loads.push((stored_by, load));
            }
        }
    }

    fn take_off(&mut self, actions: &mut Vec<Action>) {
        let (batch, effects) = self.engine.cut(self.batch + 1);
        let receipts = std::mem::take(&mut self.receipts);
        // What changes the world outside goes behind the fence, also without a row of its own.
        let harmless = effects.dispatches.is_empty()
            && effects.kills.is_empty()
            && effects.withdrawals.is_empty()
            && effects.questions.is_empty();
        if batch.is_empty() && harmless {
            Self::let_out(effects, receipts, actions);
            return;
        }
        let batch = Arc::new(batch);
        actions.push(Action::Commit(batch.clone()));
        self.flight = Some(Flight { batch, effects, receipts, again: None, backoff: BACKOFF_MIN });
    }
}
