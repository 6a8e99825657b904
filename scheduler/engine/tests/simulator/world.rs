//! The world around a driver: a clock, a store, executors, a network, people with requests; and faults in all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dags::{
    ids::{DagId, DagVersion, DispatchId, ExecutorName, TenantId},
    model::Dag,
    time::{Span, Timestamp},
};
use engine::{
    Config, Engine,
    dispatch::{Dispatch, Kill, Outcome, Report},
    driver::{Action, Driver, Input, Stop},
    journal::{Commit, Load, Position},
    memory::MemoryJournal,
    rows::Batch,
};

use crate::{
    executor::{Claims, Executor, Job, Member, end, ended, random_end, started},
    facts::Facts,
    graphs::{EXECUTORS, Shape},
    rng::Rng,
    tape::Step,
};

/// When histories begin.
pub(crate) const EPOCH: Timestamp = Timestamp(1_767_225_600_000_000);
/// Events that a history may need to come to rest.
const CALM_EVENTS: u64 = 20_000;

pub(crate) type Outcomes = Result<(), String>;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    Tick {
        owner: u64,
    },
    Commit {
        owner: u64,
        batch: Arc<Batch>,
    },
    Position {
        owner: u64,
    },
    Load {
        owner: u64,
        load: Load,
    },
    Input {
        owner: u64,
        input: Box<Input>,
    },
    Poll,
    Request,
    Deliver {
        owner: u64,
        dispatch: Box<Dispatch>,
        member: u32,
    },
    Kill {
        kill: Kill,
    },
    Start {
        executor: usize,
        id: DispatchId,
        serial: u64,
        member: u32,
    },
    End {
        executor: usize,
        id: DispatchId,
        serial: u64,
        member: u32,
        outcome: Option<Outcome>,
    },
    Send {
        executor: usize,
        id: DispatchId,
        serial: u64,
    },
    /// With the life of the executor if the report goes with it: that a dispatch was ended which never came is known to nobody
    /// else, and in its next life it may come and start. Connections break, and workers have new names.
    Report {
        report: Box<Report>,
        of: Option<(usize, u64)>,
    },
    Confirm {
        receipt: engine::driver::Receipt,
    },
    AskHoldings {
        executor: usize,
    },
    Holdings {
        owner: u64,
        executor: usize,
        as_of: Timestamp,
    },
    Fault,
    Up {
        executor: usize,
    },
    Begin,
}

/// A driver and what its shell knows.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) id: u64,
    pub(crate) driver: Driver,
    pub(crate) epoch: i64,
    /// Hand-overs that no executor has acknowledged: when they were let out.
    undelivered: BTreeMap<DispatchId, (ExecutorName, Timestamp)>,
    /// Those that were killed on their way, with the executor's life then: they go no further than to that.
    called_off: BTreeMap<DispatchId, u64>,
    next_tick: Option<i64>,
}

/// How eventful histories were.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str, n: u64) {
        *self.0.entry(what).or_default() += n;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, n) in &other.0 {
            self.count(what, *n);
        }
    }

    pub(crate) fn assert_eventful(&self) {
        for what in [
            "histories",
            "events",
            "transitions",
            "dispatches",
            "kills",
            "questions",
            "crashes",
            "takeovers",
            "fenced",
            "commit failed",
            "commit unknown",
            "report lost",
            "report doubled",
            "clock jump",
            "executor died",
            "executor gone",
            "stale reports",
            "restored equal",
            "request done",
            "request refused",
            "runs",
            "mapped",
            "loads",
            "gangs",
            "gang broken",
        ] {
            assert!(self.0.get(what).is_some_and(|n| *n > 100), "hardly any `{what}`: {:#?}", self.0);
        }
    }
}

/// How disturbed a history is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Of a thousand messages so many are lost, doubled or late.
    pub(crate) network: u32,
    /// Of a thousand commits so many fail or end unknown.
    pub(crate) store: u32,
    /// Of a thousand actions so many are followed by a crash.
    pub(crate) crash: u32,
    /// Of a thousand fault events so many happen.
    pub(crate) faults: u32,
}

const CALM: Weather = Weather { network: 0, store: 0, crash: 0, faults: 0 };

pub(crate) struct World {
    pub(crate) rng: Rng,
    /// True time.
    pub(crate) clock: i64,
    /// What the service's clock is ahead of it.
    pub(crate) skew: i64,
    pub(crate) order: u64,
    pub(crate) events: BTreeMap<(i64, u64), Event>,
    pub(crate) store: MemoryJournal,
    pub(crate) epoch: i64,
    pub(crate) owners: Vec<Owner>,
    pub(crate) current: Option<u64>,
    pub(crate) next_owner: u64,
    pub(crate) executors: Vec<Executor>,
    pub(crate) claims: Claims,
    pub(crate) sent: BTreeMap<DispatchId, Dispatch>,
    pub(crate) serial: u64,
    pub(crate) weather: Weather,
    pub(crate) disturbed: u64,
    pub(crate) calm: bool,
    pub(crate) facts: Facts,
    pub(crate) tally: Tally,
    pub(crate) timeline: Option<Vec<String>>,
    pub(crate) tape: Option<Vec<Step>>,
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) shape: Shape,
    /// The newest edition of each DAG, by tenant.
    pub(crate) editions: BTreeMap<(TenantId, DagId), (DagVersion, Arc<Dag>)>,
    pub(crate) next_version: u32,
    pub(crate) config: Config,
}

impl World {
    /// How many events of a history are disturbed.
    pub(crate) fn events(seed: u64) -> u64 {
        [60, 120, 240, 400][(seed % 4) as usize]
    }

    pub(crate) fn new(seed: u64, disturbed: u64, timeline: bool) -> Self {
        let mut rng = Rng::new(seed);
        let simple = rng.mill(300);
        let shape = Shape { tasks: *rng.pick(&[3, 6, 6, 12, 40]), rich: !simple, schedules: rng.mill(600) };
        let weather = match rng.below(4) {
            0 => Weather { faults: 0, crash: 0, network: 0, store: 0 },
            1 => Weather { network: 30, store: 30, crash: 3, faults: 200 },
            2 => Weather { network: 0, store: 100, crash: 30, faults: 200 },
            _ => Weather { network: 200, store: 100, crash: 10, faults: 700 },
        };
        let executors = EXECUTORS
            .iter()
            .map(|name| Executor {
                name: ExecutorName::parse(name).unwrap(),
                slots: rng.within(1, 8) as u32,
                up: true,
                life: 0,
                jobs: BTreeMap::new(),
                waiting: Vec::new(),
            })
            .collect();
        let config = Config {
            step_transitions: *rng.pick(&[3, 8, 40, 2_000]),
            queued_max: *rng.pick(&[Span::seconds(20), Span::seconds(600)]),
            // Executors that go come back within a minute.
            executor_missing: Span::seconds(120),
            ..Config::new(ExecutorName::parse(EXECUTORS[0]).unwrap())
        };
        let tenants = (0..rng.within(1, 2)).map(|n| TenantId(uuid(n as u128 + 7))).collect();
        let mut store = MemoryJournal::default();
        store.now = EPOCH;
        Self {
            rng,
            clock: EPOCH.0,
            skew: 0,
            order: 0,
            events: BTreeMap::new(),
            store,
            epoch: 0,
            owners: Vec::new(),
            current: None,
            next_owner: 0,
            executors,
            claims: Claims::new(),
            sent: BTreeMap::new(),
            serial: 0,
            weather,
            disturbed,
            calm: false,
            facts: Facts::default(),
            tally: Tally::default(),
            timeline: timeline.then(Vec::new),
            tape: None,
            tenants,
            shape,
            editions: BTreeMap::new(),
            next_version: 0,
            config,
        }
    }

    pub(crate) fn take_timeline(&mut self) -> Vec<String> {
        self.timeline.take().unwrap_or_default()
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(timeline) = &mut self.timeline {
            let at = (self.clock - EPOCH.0) as f64 / 1e6;
            timeline.push(format!("{at:12.6} {}", line()));
        }
    }

    pub(crate) fn after(&mut self, delay: i64, event: Event) -> i64 {
        self.order += 1;
        let at = self.clock + delay;
        self.events.insert((at, self.order), event);
        at
    }

    pub(crate) fn soon(&mut self) -> i64 {
        self.rng.within(100, 5_000)
    }

    /// Runs the history: a disturbed part, then everything comes to rest.
    pub(crate) fn run(&mut self) -> Outcomes {
        self.tally.count("histories", 1);
        let dags = self.rng.within(1, 3);
        for n in 0..dags {
            for tenant in self.tenants.clone() {
                self.edit(tenant, &format!("d{n}"));
            }
        }
        for tenant in self.tenants.clone() {
            self.activate(tenant);
        }
        self.begin()?;
        self.after(1_000, Event::Request);
        for executor in 0..self.executors.len() {
            self.after(3_000_000, Event::AskHoldings { executor });
        }
        self.after(500_000, Event::Fault);
        for _ in 0..self.disturbed {
            if !self.one()? {
                break;
            }
        }
        self.come_to_rest()
    }

    /// The next event, if there is one.
    fn one(&mut self) -> Result<bool, String> {
        let Some(((at, _), event)) = self.events.pop_first() else { return Ok(false) };
        self.clock = self.clock.max(at);
        self.tally.count("events", 1);
        self.happen(event)?;
        Ok(true)
    }

    fn come_to_rest(&mut self) -> Outcomes {
        self.note(|| "--- faults stop ---".to_owned());
        self.calm = true;
        self.weather = CALM;
        if self.current.is_none() {
            self.begin()?;
        }
        for executor in 0..self.executors.len() {
            self.executors[executor].slots = 8;
            self.happen(Event::Up { executor })?;
        }
        for tenant in self.tenants.clone() {
            self.calm_requests(tenant);
        }
        self.after(1, Event::Poll);
        let mut left = CALM_EVENTS;
        while !self.at_rest() {
            if left == 0 {
                return Err(format!("it doesn't come to rest:\n{}", self.open_ends()));
            }
            left -= 1;
            if !self.one()? {
                return Err(format!("nothing happens any more:\n{}", self.open_ends()));
            }
        }
        self.restored_is_equal()?;
        Facts::at_rest(&self.store)
    }

    fn open_ends(&self) -> String {
        let requests: Vec<String> = self.store.waiting.values().map(|row| format!("{row:?}")).collect();
        let Some(engine) = self.engine() else { return "no owner".to_owned() };
        let held: Vec<String> =
            self.executors.iter().map(|e| format!("{}: {:?}", e.name, e.jobs.keys())).collect();
        let mut open = engine.open_ends();
        open.truncate(40);
        format!("{}\n{}\n{}", open.join("\n"), requests.join("\n"), held.join("\n"))
    }

    fn engine(&self) -> Option<&Engine> {
        self.owners.iter().find(|owner| Some(owner.id) == self.current).map(|owner| owner.driver.engine())
    }

    /// Whether nothing is left to do but what may wait for ever.
    fn at_rest(&self) -> bool {
        let Some(engine) = self.engine() else { return false };
        self.store.waiting.is_empty()
            && self.executors.iter().all(|executor| executor.jobs.is_empty())
            && self.settled()
            && engine.is_quiet()
            && engine.all_ended_or_blocked()
    }

    /// Whether the current driver has nothing under way.
    fn settled(&self) -> bool {
        self.owners.iter().any(|owner| Some(owner.id) == self.current && owner.driver.is_settled())
    }

    fn happen(&mut self, event: Event) -> Outcomes {
        if !matches!(event, Event::Tick { .. } | Event::Send { .. }) {
            self.note(|| match &event {
                Event::Commit { owner, batch } => format!("#{owner} commit {} arrives", batch.number),
                Event::Deliver { owner, dispatch, member } => {
                    let Dispatch { id, executor, dag_id, run_name, task_id, map_index, try_number, .. } = &**dispatch;
                    format!("#{owner} hands {id}-{member} to `{executor}`: {dag_id} {run_name} {task_id}[{map_index}] try {try_number}")
                }
                other => format!("{other:?}"),
            });
        }
        match event {
            Event::Tick { owner } => {
                let due = self.owners.iter_mut().find(|known| known.id == owner);
                if due.is_some_and(|known| known.next_tick.take_if(|at| *at <= self.clock).is_some()) {
                    self.feed(owner, Input::Tick)?;
                }
            }
            Event::Commit { owner, batch } => self.commit(owner, &batch)?,
            Event::Position { owner } => {
                let Some(known) = self.owners.iter().find(|known| known.id == owner) else { return Ok(()) };
                let position = Position { ours: known.epoch == self.epoch, batch: self.store.batch };
                let delay = self.soon();
                self.after(delay, Event::Input { owner, input: Box::new(Input::Position(position)) });
            }
            Event::Load { owner, load } => {
                let loaded = self.store.find(load.clone());
                self.tape(|| Step::Load(load, Box::new(loaded.clone())));
                let delay = self.soon();
                self.after(delay, Event::Input { owner, input: Box::new(Input::Loaded(Box::new(loaded))) });
            }
            Event::Input { owner, input } => self.feed(owner, *input)?,
            Event::Poll => self.poll()?,
            Event::Request => {
                if !self.calm {
                    self.random_request();
                    let delay = self.rng.micros(60);
                    self.after(delay, Event::Request);
                    let delay = self.soon();
                    self.after(delay, Event::Poll);
                }
            }
            Event::Deliver { owner, dispatch, member } => self.deliver(owner, *dispatch, member)?,
            Event::Kill { kill } => self.kill(&kill),
            Event::Start { executor, id, serial, member } => self.start(executor, id, serial, member),
            Event::End { executor, id, serial, member, outcome } => {
                self.end(executor, id, serial, member, outcome);
            }
            Event::Send { executor, id, serial } => self.send(executor, id, serial),
            Event::Report { of: Some((executor, life)), .. } if self.executors[executor].life != life => {
                self.tally.count("report lost", 1);
            }
            Event::Report { report, .. } => self.feed_current(Input::Reports(vec![*report]))?,
            Event::Confirm { receipt } => {
                for executor in &mut self.executors {
                    executor.confirmed(&receipt);
                }
            }
            Event::AskHoldings { executor } => {
                self.ask_holdings(executor, true);
                self.feed_current(Input::Overdue)?;
            }
            Event::Holdings { owner, executor, as_of } => {
                let Executor { name, jobs, up, .. } = &self.executors[executor];
                if *up {
                    let (executor, held) =
                        (name.clone(), jobs.iter().flat_map(|(id, job)| job.held(*id)).collect());
                    let delay = self.soon();
                    let input = Box::new(Input::Holdings { executor, held, as_of });
                    self.after(delay, Event::Input { owner, input });
                }
            }
            Event::Fault => {
                if !self.calm {
                    let delay = self.rng.micros(20);
                    self.after(delay, Event::Fault);
                    if self.rng.mill(self.weather.faults) {
                        self.fault()?;
                    }
                }
            }
            Event::Up { executor } => {
                self.executors[executor].up = true;
                for (owner, dispatch, member) in std::mem::take(&mut self.executors[executor].waiting) {
                    let delay = self.soon();
                    self.after(delay, Event::Deliver { owner, dispatch: Box::new(dispatch), member });
                }
                let (name, slots) = (self.executors[executor].name.clone(), self.executors[executor].slots);
                self.feed_current(Input::Executor(name, Some(slots)))?;
                self.ask_holdings(executor, false);
            }
            Event::Begin => {
                if self.current.is_none() {
                    self.begin()?;
                }
            }
        }
        Ok(())
    }

    // --- drivers ---

    /// Starts a driver as the owner of the shard.
    pub(crate) fn begin(&mut self) -> Outcomes {
        self.epoch += 1;
        let snapshot = self.store.read();
        self.tape(|| Step::TakeOver(Box::new(snapshot.clone())));
        let driver = Driver::new(self.config.clone(), snapshot).map_err(|why| format!("restore: {why}"))?;
        self.next_owner += 1;
        let id = self.next_owner;
        self.note(|| format!("#{id} takes the shard over"));
        let epoch = self.epoch;
        self.owners.push(Owner {
            id,
            driver,
            epoch,
            undelivered: BTreeMap::new(),
            called_off: BTreeMap::new(),
            next_tick: None,
        });
        self.current = Some(id);
        self.facts.new_owner();
        self.feed(id, Input::Tick)?;
        for executor in 0..self.executors.len() {
            if self.current != Some(id) {
                return Ok(());
            }
            if self.executors[executor].up {
                let (name, slots) = (self.executors[executor].name.clone(), self.executors[executor].slots);
                self.feed(id, Input::Executor(name, Some(slots)))?;
                self.ask_holdings(executor, false);
            }
        }
        self.after(1_000, Event::Poll);
        Ok(())
    }

    pub(crate) fn crash(&mut self, owner: u64) {
        self.note(|| format!("#{owner} crashes"));
        self.tally.count("crashes", 1);
        self.owners.retain(|known| known.id != owner);
        if self.current == Some(owner) {
            self.current = None;
            let delay = self.rng.micros(5);
            self.after(delay, Event::Begin);
        }
    }

    pub(crate) fn feed_current(&mut self, input: Input) -> Outcomes {
        match self.current {
            Some(owner) => self.feed(owner, input),
            None => Ok(()),
        }
    }

    fn feed(&mut self, owner: u64, input: Input) -> Outcomes {
        let now = Timestamp(self.clock + self.skew);
        let Some(known) = self.owners.iter_mut().find(|known| known.id == owner) else { return Ok(()) };
        let (transitions, stale) = (known.driver.engine().transitions(), known.driver.counts().stale);
        let actions = known.driver.next(now, input);
        let engine = known.driver.engine();
        engine.check().map_err(|why| format!("#{owner}: {why}"))?;
        self.tally.count("transitions", engine.transitions() - transitions);
        self.tally.count("stale reports", known.driver.counts().stale - stale);
        if self.current == Some(owner) {
            self.facts.usage(engine)?;
            for executor in &self.executors {
                for job in executor.jobs.values().filter(|job| job.is_live() && !job.late) {
                    let id = job.dispatch.id;
                    if !engine.accounts_for(id) {
                        return Err(format!(
                            "`{}` runs {id} ({}), and nobody knows",
                            executor.name, job.dispatch.task_id
                        ));
                    }
                }
            }
        }
        self.plan_tick(owner);
        for action in actions {
            if self.rng.mill(self.weather.crash) {
                self.crash(owner);
                return Ok(());
            }
            self.act(owner, action)?;
        }
        if self.current == Some(owner) && self.settled() && self.rng.mill(60) {
            self.restored_is_equal()?;
        }
        Ok(())
    }

    fn plan_tick(&mut self, owner: u64) {
        let (clock, skew) = (self.clock, self.skew);
        let Some(known) = self.owners.iter_mut().find(|known| known.id == owner) else { return };
        let at = if known.driver.wants_tick() {
            Some(clock)
        } else {
            known.driver.deadline().map(|at| (at.0 - skew).max(clock))
        };
        if known.next_tick != at {
            known.next_tick = at;
            if let Some(at) = at {
                self.after(at - clock, Event::Tick { owner });
            }
        }
    }

    fn act(&mut self, owner: u64, action: Action) -> Outcomes {
        match action {
            Action::Commit(batch) => {
                self.note(|| format!("#{owner} commits {}", batch.number));
                let delay = self.soon();
                self.after(delay, Event::Commit { owner, batch });
            }
            Action::ReadPosition => {
                let delay = self.soon();
                self.after(delay, Event::Position { owner });
            }
            Action::Load(load) => {
                self.tally.count("loads", 1);
                let delay = self.soon();
                self.after(delay, Event::Load { owner, load });
            }
            Action::Dispatch(dispatches) => {
                self.tally.count("dispatches", dispatches.len() as u64);
                for dispatch in dispatches {
                    Facts::dispatched(&dispatch, &self.store)?;
                    let known = self.sent.entry(dispatch.id).or_insert_with(|| dispatch.clone());
                    if *known != dispatch {
                        return Err(format!(
                            "the same dispatch with other content: {known:?} and {dispatch:?}"
                        ));
                    }
                    let now = self.owner(owner).map_or(Timestamp::MIN, |known| known.driver.engine().now());
                    if let Some(known) = self.owners.iter_mut().find(|known| known.id == owner) {
                        known.undelivered.insert(dispatch.id, (dispatch.executor.clone(), now));
                    }
                    if dispatch.members > 1 {
                        self.tally.count("gangs", 1);
                    }
                    let times = if self.rng.mill(self.weather.network) { 2 } else { 1 };
                    for _ in 0..times {
                        let delay = self.latency();
                        self.after(
                            delay,
                            Event::Deliver { owner, dispatch: Box::new(dispatch.clone()), member: 0 },
                        );
                    }
                }
            }
            Action::Kill(kills) => {
                self.tally.count("kills", kills.len() as u64);
                for kill in kills {
                    self.call_off(owner, &kill);
                    if !self.rng.mill(self.weather.network) {
                        let delay = self.latency();
                        self.after(delay, Event::Kill { kill });
                    }
                }
            }
            Action::Ask(questions) => {
                self.tally.count("questions", questions.len() as u64);
                for question in questions {
                    self.answer(owner, &question);
                }
            }
            Action::Confirm(receipts) => {
                for receipt in receipts {
                    Facts::confirmed(&receipt, &self.sent, &self.store)?;
                    if !self.rng.mill(self.weather.network) {
                        let delay = self.latency();
                        self.after(delay, Event::Confirm { receipt });
                    }
                }
            }
            Action::Gone(workers) => self.tally.count("workers gone", workers.len() as u64),
            Action::Alert(alerts) => self.tally.count("alerts", alerts.len() as u64),
            Action::Fault(faults) => return Err(format!("#{owner} faults: {faults:?}")),
            Action::Answered(ids) => {
                for id in ids {
                    match self.store.outcomes.get(&id) {
                        Some(Ok(_)) => self.tally.count("request done", 1),
                        Some(Err(_)) => self.tally.count("request refused", 1),
                        None => return Err(format!("request {id} has an answer that isn't stored")),
                    }
                }
            }
            Action::Quarantined(broken) => return Err(format!("#{owner} quarantines {broken:?}")),
            Action::Stop(Stop::Rebuild) => return Err(format!("#{owner} wants to be built again")),
            Action::Stop(Stop::Conflict(what)) => return Err(format!("#{owner} conflict: {what}")),
            Action::Stop(Stop::Fenced) => {
                self.tally.count("fenced", 1);
                if self.current == Some(owner) {
                    return Err(format!("#{owner} was fenced though it owns the shard"));
                }
                self.owners.retain(|known| known.id != owner);
            }
        }
        Ok(())
    }

    fn owner(&self, owner: u64) -> Option<&Owner> {
        self.owners.iter().find(|known| known.id == owner)
    }

    pub(crate) fn latency(&mut self) -> i64 {
        if self.rng.mill(self.weather.network) { self.rng.micros(60) } else { self.soon() }
    }

    fn commit(&mut self, owner: u64, batch: &Arc<Batch>) -> Outcomes {
        let Some(known) = self.owner(owner) else {
            // Its sender is dead, but the statement may have got through.
            if self.epoch == self.owners.last().map_or(self.epoch, |last| last.epoch)
                && self.rng.mill(500)
                && self.current.is_none()
            {
                self.write(batch)?;
            }
            return Ok(());
        };
        let ours = known.epoch == self.epoch;
        let (fails, unknown) = (self.rng.mill(self.weather.store), self.rng.mill(self.weather.store));
        let commit = if !ours {
            Commit::Fenced
        } else if fails {
            self.tally.count("commit failed", 1);
            Commit::Failed("the disk is busy".to_owned())
        } else {
            if !(unknown && self.rng.mill(500)) {
                self.write(batch)?;
            }
            if unknown { Commit::Unknown("the line is dead".to_owned()) } else { Commit::Done }
        };
        self.note(|| format!("#{owner} commit {}: {commit:?}", batch.number));
        if unknown {
            self.tally.count("commit unknown", 1);
        }
        let delay = self.latency();
        self.after(delay, Event::Input { owner, input: Box::new(Input::Committed(commit)) });
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Outcomes {
        if batch.number != self.store.batch + 1 {
            return if self.current.is_none() {
                Ok(())
            } else {
                Err(format!("batch {} after {}", batch.number, self.store.batch))
            };
        }
        let before = Facts::before(&self.store, batch);
        self.tape(|| Step::Commit(Arc::new(batch.clone())));
        match self.store.write(batch) {
            Commit::Done => {}
            other => return Err(format!("batch {}: {other:?}", batch.number)),
        }
        if self.timeline.is_some() {
            for event in &batch.events {
                let name =
                    self.store.runs.get(&event.run).map_or_else(String::new, |row| row.run_name.to_string());
                for step in &event.transitions {
                    let (task, index) =
                        step.task.as_ref().map_or(("run", -1), |(task, index)| (task.as_str(), *index));
                    let line = format!(
                        "    {} {name} {task}[{index}] try {} -> {} {:?}",
                        event.dag_id, step.try_number, step.to, step.reason
                    );
                    self.note(|| line);
                }
            }
            for outcome in &batch.inbox {
                self.note(|| format!("    request {}: {:?}", outcome.id, outcome.outcome));
            }
        }
        self.tally.count("runs", batch.new_runs.len() as u64);
        let mapped = batch.new_tasks.iter().filter(|row| row.map_index > 0).count();
        self.tally.count("mapped", mapped as u64);
        self.facts.written(&before, batch, &self.store)
    }

    /// Restores an engine from the store: it must be as the one that runs, and have nothing to do.
    fn restored_is_equal(&mut self) -> Outcomes {
        let Some(owner) = self.owners.iter().find(|owner| Some(owner.id) == self.current) else {
            return Ok(());
        };
        let running = owner.driver.engine();
        if !running.is_quiet() || running.asks_about_when() {
            return Ok(());
        }
        let mut again = Engine::restore(self.config.clone(), self.store.read())
            .map_err(|why| format!("restore: {why}"))?;
        again.advance(running.now());
        for (name, slots) in running.executor_slots() {
            again.set_executor(&name, slots);
        }
        for _ in 0..1_000 {
            while again.has_work() {
                again.step();
            }
            let loads = again.take_loads();
            if loads.is_empty() {
                break;
            }
            for load in loads {
                again.loaded(self.store.find(load));
            }
        }
        again.check().map_err(|why| format!("restored: {why}"))?;
        let (known, fresh) = (running.digest(), again.digest());
        if known != fresh {
            let (a, b): (BTreeSet<_>, BTreeSet<_>) =
                (known.into_iter().collect(), fresh.into_iter().collect());
            let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
                a.difference(b).cloned().collect::<Vec<_>>().join("\n  ")
            };
            return Err(format!(
                "restored from the store it is another engine:\n  {}\nbut restored\n  {}",
                only(&a, &b),
                only(&b, &a)
            ));
        }
        self.tally.count("restored equal", 1);
        Ok(())
    }

    fn poll(&mut self) -> Outcomes {
        let Some(owner) = self.current.and_then(|id| self.owner(id)) else { return Ok(()) };
        let limit = 1 + (self.order % 4) as usize;
        let taken = owner.driver.taken();
        let inbox = self.store.requests(&taken, limit);
        self.tape(|| Step::Inbox(taken, limit, inbox.clone()));
        let more = inbox.rows.len() == limit;
        if more {
            let delay = self.soon();
            self.after(delay, Event::Poll);
        }
        if inbox.rows.is_empty() { Ok(()) } else { self.feed_current(Input::Inbox(inbox)) }
    }

    // --- executors ---

    pub(crate) fn ask_holdings(&mut self, executor: usize, again: bool) {
        if again {
            let delay = self.rng.within(5_000_000, 40_000_000);
            self.after(delay, Event::AskHoldings { executor });
        }
        let name = &self.executors[executor].name;
        let Some(owner) = self.current.and_then(|id| self.owner(id)) else { return };
        // Hand-overs that may still be on their way are left alone.
        let oldest = owner.undelivered.values().filter(|(known, _)| known == name).map(|(_, at)| *at).min();
        let as_of = oldest.unwrap_or_else(|| owner.driver.engine().now());
        let id = owner.id;
        let delay = self.latency();
        self.after(delay, Event::Holdings { owner: id, executor, as_of });
    }

    /// A member arrives at its executor, and its shell goes on with the next.
    fn deliver(&mut self, owner: u64, dispatch: Dispatch, member: u32) -> Outcomes {
        let id = dispatch.id;
        let Some(executor) = self.executors.iter().position(|known| known.name == dispatch.executor) else {
            return Err(format!("there is no executor `{}`", dispatch.executor));
        };
        if self.owner(owner).is_none() && self.rng.mill(300) {
            return Ok(());
        }
        let Executor { up, life, .. } = self.executors[executor];
        let called_off = self.owner(owner).and_then(|known| known.called_off.get(&id)).copied();
        if called_off.is_some_and(|then| !up || then != life) {
            self.note(|| format!("{id}-{member} was killed on its way"));
            self.delivered(owner, id);
            return Ok(());
        }
        if !up {
            // The shell tries again until it gets through; its successor will if it dies.
            if self.owner(owner).is_some() {
                self.executors[executor].waiting.push((owner, dispatch, member));
            }
            return Ok(());
        }
        if called_off.is_none() && member + 1 < dispatch.members {
            if self.owner(owner).is_some() {
                let (delay, dispatch) = (self.latency(), Box::new(dispatch.clone()));
                self.after(delay, Event::Deliver { owner, dispatch, member: member + 1 });
            }
        } else {
            self.delivered(owner, id);
        }
        self.take_member(owner, executor, dispatch, member)
    }

    /// The shell's part of a hand-over is over.
    fn delivered(&mut self, owner: u64, id: DispatchId) {
        if let Some(known) = self.owners.iter_mut().find(|known| known.id == owner) {
            known.undelivered.remove(&id);
            known.called_off.remove(&id);
        }
    }

    /// A kill: a hand-over of it that is still under way isn't tried again.
    fn call_off(&mut self, owner: u64, kill: &Kill) {
        let life = self.executors.iter().find(|known| known.name == kill.executor).map(|known| known.life);
        let known = self.owners.iter_mut().find(|known| known.id == owner);
        if let (Some(life), Some(known)) = (life, known)
            && known.undelivered.contains_key(&kill.id)
        {
            known.called_off.entry(kill.id).or_insert(life);
        }
    }

    fn take_member(&mut self, owner: u64, executor: usize, dispatch: Dispatch, member: u32) -> Outcomes {
        let id = dispatch.id;
        if self.executors[executor].jobs.get(&id).is_some_and(|job| job.members.contains_key(&member)) {
            return Ok(());
        }
        if self.rng.mill(self.weather.network / 10) {
            self.note(|| format!("the executor forgets {id}-{member} at once"));
            return Ok(());
        }
        if !Facts::is_current(id, &self.store, &dispatch) {
            self.note(|| format!("{id} is no longer current: not started"));
            return Ok(());
        }
        self.serial += 1;
        let fresh = self.serial;
        let late = self.current != Some(owner);
        let jobs = &mut self.executors[executor].jobs;
        let job = jobs.entry(id).or_insert_with(|| Job {
            dispatch,
            members: BTreeMap::new(),
            killed: false,
            serial: fresh,
            late,
        });
        let (serial, killed) = (job.serial, job.killed);
        // Also if only this member comes late: its gang may be over.
        job.late |= late;
        job.members.insert(member, Member { never_ran: killed, ..Member::default() });
        if killed {
            // The kill came before it did.
            self.end(executor, id, serial, member, Some(Outcome::Killed));
        } else if self.claims.insert((id, member)) {
            let delay = self.soon();
            self.after(delay, Event::Start { executor, id, serial, member });
        } else {
            // It started once, before the executor lost its memory.
            self.end(executor, id, serial, member, Some(Outcome::Lost));
        }
        Facts::one_at_a_time(&self.executors)
    }

    pub(crate) fn job(&mut self, executor: usize, id: DispatchId, serial: u64) -> Option<&mut Job> {
        self.executors[executor].jobs.get_mut(&id).filter(|job| job.serial == serial)
    }

    fn start(&mut self, executor: usize, id: DispatchId, serial: u64, member: u32) {
        let says_so = !self.rng.mill(100);
        let Some(job) = self.job(executor, id, serial) else { return };
        let Some(it) = job.members.get_mut(&member).filter(|it| !it.ended) else { return };
        if says_so {
            it.unconfirmed.push(started(id, member));
        }
        let delay = self.rng.micros(40);
        self.after(delay, Event::End { executor, id, serial, member, outcome: None });
        self.after(0, Event::Send { executor, id, serial });
    }

    pub(crate) fn end(
        &mut self,
        executor: usize,
        id: DispatchId,
        serial: u64,
        member: u32,
        outcome: Option<Outcome>,
    ) {
        if !self.executors[executor].up && outcome.is_none() {
            self.after(1_000_000, Event::End { executor, id, serial, member, outcome });
            return;
        }
        let news = match outcome {
            Some(outcome) => end(&mut self.rng, outcome),
            None => random_end(&mut self.rng, self.calm),
        };
        let Some(job) = self.job(executor, id, serial) else { return };
        let Some(it) = job.members.get_mut(&member) else { return };
        if !std::mem::replace(&mut it.ended, true) {
            it.unconfirmed.push(ended(id, member, news));
            self.after(0, Event::Send { executor, id, serial });
        }
    }
}

fn uuid(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(n)
}
