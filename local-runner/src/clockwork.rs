//! The engine's driver on a clock of its own: what is due next happens next, however long that takes in the real world.
//!
//! The same driver as the service's, with a store in memory whose commits succeed at once, and attempts whose ends were
//! decided beforehand. What it can't know by itself, it hands to its caller as a [`Need`]: how an attempt ends, and the
//! answer to a question. Tests of DAGs and the simulator are its callers.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use dags::{
    ids::{DispatchId, ExecutorName, TenantId},
    time::{Span, Timestamp},
};
use engine::{
    Answer, Config, Engine, Question,
    command::Command,
    dispatch::{Dispatch, End, Kill, News, Outcome, Report},
    driver::{Action, Driver, Input, Stop},
    journal::{Commit, Inbox, Load, Loaded},
    map::FixedMap,
    rows::{AlertRow, Batch, Snapshot},
};

/// The most requests that are read at once.
const REQUESTS_MAX: usize = 1_000;
/// The most calls of the driver at one instant, as a bound for an engine that doesn't come to rest.
const TURNS_MAX: usize = 10_000_000;

/// Where the rows go.
pub(crate) trait Store {
    /// Everything that the engine begins with.
    fn snapshot(&self) -> Snapshot;
    /// Writes a batch.
    fn write(&mut self, batch: &Batch) -> Commit;
    /// A run that isn't in the engine's memory.
    fn find(&self, load: Load) -> Loaded;
    /// Puts a request into the inbox.
    fn request(&mut self, tenant: TenantId, actor: &str, command: Command);
    /// Requests that weren't taken.
    fn requests(&self, skip: &[i64], limit: usize) -> Inbox;
}

/// What the clockwork can't know by itself.
#[derive(Debug)]
pub(crate) enum Need {
    /// How this attempt ends: [`Clockwork::begin`], or [`Clockwork::reports`] of who runs it.
    Attempt(Dispatch),
    /// This attempt, which was begun elsewhere, is to be ended.
    Kill(Kill),
    /// The answer to a question: [`Clockwork::answer`].
    Answer(Question),
    /// Somebody hears of something.
    Alerts(Vec<AlertRow>),
}

/// Why it can't go on: a bug of the engine.
#[derive(Debug, thiserror::Error)]
#[error("{0}. This is a bug")]
pub(crate) struct Broken(String);

#[derive(Debug)]
enum Due {
    Report(Report),
    Request(TenantId, String, Box<Command>),
}

#[derive(Debug)]
struct Entry {
    at: Timestamp,
    /// What was entered first happens first.
    number: u64,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Clockwork<S> {
    driver: Driver,
    pub(crate) store: S,
    now: Timestamp,
    agenda: BinaryHeap<Reverse<Entry>>,
    entries: u64,
    /// Attempts that were begun here, with the number of their members.
    under_way: FixedMap<DispatchId, u32>,
    needs: VecDeque<Need>,
}

impl<S: Store> Clockwork<S> {
    /// A clockwork that starts at that instant with these executors and their slots.
    pub(crate) fn new(
        config: Config,
        store: S,
        now: Timestamp,
        executors: &[(ExecutorName, u32)],
    ) -> Result<Self, Broken> {
        let driver = Driver::new(config, store.snapshot()).map_err(|refusal| Broken(refusal.to_string()))?;
        let mut clockwork = Self {
            driver,
            store,
            now,
            agenda: BinaryHeap::new(),
            entries: 0,
            under_way: FixedMap::default(),
            needs: VecDeque::new(),
        };
        for (name, slots) in executors {
            clockwork.feed(Input::Executor(name.clone(), Some(*slots)))?;
        }
        Ok(clockwork)
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// The engine, to be looked at.
    pub(crate) fn engine(&self) -> &Engine {
        self.driver.engine()
    }

    /// What is needed next before time may pass.
    pub(crate) fn need(&mut self) -> Option<Need> {
        self.needs.pop_front()
    }

    /// Asks for something now.
    pub(crate) fn request(&mut self, tenant: TenantId, actor: &str, command: Command) -> Result<(), Broken> {
        self.store.request(tenant, actor, command);
        self.take_requests()
    }

    /// Asks for something at an instant.
    pub(crate) fn request_at(&mut self, at: Timestamp, tenant: TenantId, actor: &str, command: Command) {
        self.enter(at, Due::Request(tenant, actor.to_owned(), Box::new(command)));
    }

    /// The answer to a question.
    pub(crate) fn answer(&mut self, id: DispatchId, answer: Answer) -> Result<(), Broken> {
        self.feed(Input::Answer(id, answer))
    }

    /// Reports of attempts that run elsewhere.
    pub(crate) fn reports(&mut self, reports: Vec<Report>) -> Result<(), Broken> {
        self.feed(Input::Reports(reports))
    }

    /// The end of a member of an attempt that ran elsewhere, at an instant.
    pub(crate) fn end_at(&mut self, at: Timestamp, report: Report) {
        *self.under_way.entry(report.dispatch).or_default() += 1;
        self.enter(at, Due::Report(report));
    }

    /// An attempt starts after a while and then takes that long to its end.
    pub(crate) fn begin(&mut self, dispatch: &Dispatch, after: Span, takes: Span, end: &End) {
        self.under_way.insert(dispatch.id, dispatch.members);
        let start = self.now.after(after);
        let started = News::Started { host: "nowhere".to_owned(), pid: None };
        for member in 0..dispatch.members {
            self.enter(start, Due::Report(Report::new(dispatch.id, member, 1, started.clone())));
            let ended = News::Ended(End { duration: takes, ..end.clone() });
            self.enter(start.after(takes), Due::Report(Report::new(dispatch.id, member, 2, ended)));
        }
    }

    /// Goes on to the next instant at which something happens, unless it is later than `until`: then, or if nothing will ever
    /// happen, it says false. Needs must have been met before.
    pub(crate) fn advance(&mut self, until: Timestamp) -> Result<bool, Broken> {
        debug_assert!(self.needs.is_empty(), "invariant: time passes when nothing is needed");
        let entered = self.agenda.peek().map(|Reverse(entry)| entry.at);
        let Some(next) = [entered, self.driver.deadline()].into_iter().flatten().min() else {
            return Ok(false);
        };
        if next > until {
            return Ok(false);
        }
        self.now = self.now.max(next);
        let mut reports = Vec::new();
        let mut asked = false;
        while let Some(Reverse(entry)) = self.agenda.peek()
            && entry.at <= self.now
        {
            let Some(Reverse(entry)) = self.agenda.pop() else { break };
            match entry.due {
                Due::Report(report) => reports.extend(self.current(report)),
                Due::Request(tenant, actor, command) => {
                    self.store.request(tenant, &actor, *command);
                    asked = true;
                }
            }
        }
        let input = if reports.is_empty() { Input::Tick } else { Input::Reports(reports) };
        self.feed(input)?;
        if asked {
            self.take_requests()?;
        }
        Ok(true)
    }

    /// The report, unless its attempt was ended meanwhile.
    fn current(&mut self, report: Report) -> Option<Report> {
        let members = self.under_way.get_mut(&report.dispatch)?;
        if matches!(report.news, News::Ended(_)) {
            *members -= 1;
            if *members == 0 {
                self.under_way.swap_remove(&report.dispatch);
            }
        }
        Some(report)
    }

    fn enter(&mut self, at: Timestamp, due: Due) {
        self.entries += 1;
        self.agenda.push(Reverse(Entry { at, number: self.entries, due }));
    }

    fn take_requests(&mut self) -> Result<(), Broken> {
        loop {
            let inbox = self.store.requests(&self.driver.taken(), REQUESTS_MAX);
            if inbox.is_empty() {
                return Ok(());
            }
            self.feed(Input::Inbox(inbox))?;
        }
    }

    /// Something happens, and everything that follows from it at this instant.
    fn feed(&mut self, input: Input) -> Result<(), Broken> {
        let mut inputs = VecDeque::from([input]);
        for _ in 0..TURNS_MAX {
            let input = match inputs.pop_front() {
                Some(input) => input,
                None if self.driver.is_busy() => Input::Tick,
                None => return Ok(()),
            };
            for action in self.driver.next(self.now, input) {
                self.act(action, &mut inputs)?;
            }
            // Each batch moves the engine's clock by a microsecond.
            self.now = self.now.max(self.driver.engine().now());
        }
        Err(Broken("the engine doesn't come to rest".to_owned()))
    }

    fn act(&mut self, action: Action, inputs: &mut VecDeque<Input>) -> Result<(), Broken> {
        match action {
            Action::Commit(batch) => inputs.push_back(Input::Committed(self.store.write(&batch))),
            Action::Load(load) => inputs.push_back(Input::Loaded(Box::new(self.store.find(load)))),
            Action::Dispatch(dispatches) => self.needs.extend(dispatches.into_iter().map(Need::Attempt)),
            Action::Kill(kills) => {
                for kill in kills {
                    self.kill(kill, inputs);
                }
            }
            Action::Ask(questions) => self.needs.extend(questions.into_iter().map(Need::Answer)),
            Action::Alert(alerts) => self.needs.push_back(Need::Alerts(alerts)),
            Action::Withdraw(_) | Action::ReadPosition => {
                return Err(Broken("the engine asked for what only a service has".to_owned()));
            }
            Action::Fault(faults) => {
                let first = faults.first().map(|fault| fault.refused.to_string()).unwrap_or_default();
                return Err(Broken(format!("the engine refused a transition: {first}")));
            }
            Action::Quarantined(broken) => {
                let first = broken.first().map(|broken| broken.reason.clone()).unwrap_or_default();
                return Err(Broken(format!("the engine can't work with a run: {first}")));
            }
            Action::Stop(Stop::Conflict(conflict)) => return Err(Broken(conflict.to_string())),
            Action::Stop(stop) => return Err(Broken(format!("the engine stopped: {stop:?}"))),
            Action::Confirm(_) | Action::Gone(_) | Action::Answered(_) => {}
        }
        Ok(())
    }

    fn kill(&mut self, kill: Kill, inputs: &mut VecDeque<Input>) {
        // One that was handed over at this very instant begins nowhere.
        let waiting = self
            .needs
            .iter()
            .position(|need| matches!(need, Need::Attempt(dispatch) if dispatch.id == kill.id));
        let members = match waiting {
            Some(at) => {
                self.needs.remove(at);
                Some(kill.members)
            }
            None => self.under_way.swap_remove(&kill.id).map(|_| kill.members),
        };
        let Some(members) = members else { return self.needs.push_back(Need::Kill(kill)) };
        let end = End { outcome: Outcome::Killed, reason: Some(kill.reason.clone()), ..End::success(None) };
        let ended = |member| Report::new(kill.id, member, u32::MAX, News::Ended(end.clone()));
        inputs.push_back(Input::Reports((0..members).map(ended).collect()));
    }
}
