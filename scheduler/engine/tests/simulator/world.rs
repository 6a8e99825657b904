//! The world around a driver: a clock, a store, executors, a network, people with requests; and faults in all of them.

use std::{collections::BTreeMap, sync::Arc};

use dags::{
    ids::{DagId, DagVersion, DispatchId, ExecutorName, TenantId},
    model::Dag,
    time::{Span, Timestamp},
};
use engine::{
    Config, Engine,
    dispatch::{Dispatch, Kill, Outcome, Report},
    driver::Input,
    journal::{Load, Position},
    memory::MemoryJournal,
    rows::Batch,
};

use crate::{
    executor::{Claims, Executor},
    facts::Facts,
    fleet::{FLEET, Fleet, FleetEvent},
    graphs::{EXECUTORS, Shape},
    owner::Owner,
    rng::Rng,
    tape::Step,
};

/// When histories begin.
pub(crate) const EPOCH: Timestamp = Timestamp(1_767_225_600_000_000);
/// Of a thousand histories so many have workers.
const FLEETS: u32 = 120;
/// Events that a history may need to come to rest, heartbeats left out.
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
    Fleet(FleetEvent),
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
            "workers joined",
            "workers gone",
            "workers died",
            "workers cut off",
            "workers drained",
            "workers revoked",
            "supervisors died",
            "broker down",
            "message lost",
            "withdrawn",
            "claimed before",
            "gangs on workers",
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
    /// Whether what happens at present happens all the time.
    pub(crate) routine: bool,
    pub(crate) events: BTreeMap<(i64, u64), Event>,
    pub(crate) store: MemoryJournal,
    pub(crate) epoch: i64,
    pub(crate) owners: Vec<Owner>,
    pub(crate) current: Option<u64>,
    pub(crate) next_owner: u64,
    pub(crate) executors: Vec<Executor>,
    /// An executor with workers, in some histories.
    pub(crate) fleet: Option<Fleet>,
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
    /// Quotas are set and taken back.
    pub(crate) with_quotas: bool,
}

/// Every third history has quotas, unless all are to have them.
#[expect(clippy::disallowed_methods, reason = "settings of a test come from its environment")]
fn with_quotas(seed: u64) -> bool {
    seed.is_multiple_of(3) || std::env::var_os("UPDRAFT_SIM_QUOTAS").is_some()
}

impl World {
    /// How many events of a history are disturbed.
    pub(crate) fn events(seed: u64) -> u64 {
        [60, 120, 240, 400][(seed % 4) as usize]
    }

    pub(crate) fn new(seed: u64, disturbed: u64, timeline: bool) -> Self {
        let mut rng = Rng::new(seed);
        let simple = rng.mill(300);
        let fleet = rng.mill(FLEETS).then(Fleet::new);
        let shape = Shape {
            tasks: *rng.pick(&[3, 6, 6, 12, 40]),
            rich: !simple,
            schedules: rng.mill(600),
            fleet: fleet.is_some(),
        };
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
            ..Config::new(ExecutorName::parse(if fleet.is_some() { FLEET } else { EXECUTORS[0] }).unwrap())
        };
        let tenants = (0..rng.within(1, 2)).map(|n| TenantId(uuid(n as u128 + 7))).collect();
        let mut store = MemoryJournal::default();
        store.now = EPOCH;
        Self {
            rng,
            clock: EPOCH.0,
            skew: 0,
            order: 0,
            routine: false,
            events: BTreeMap::new(),
            store,
            epoch: 0,
            owners: Vec::new(),
            current: None,
            next_owner: 0,
            executors,
            fleet,
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
            with_quotas: with_quotas(seed),
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
        if self.fleet.is_some() {
            for _ in 0..self.rng.within(1, 3) {
                let slots = self.rng.within(1, 8) as u32;
                self.after(1, Event::Fleet(FleetEvent::Join { slots }));
            }
            self.after(1, Event::Fleet(FleetEvent::Look));
        }
        self.after(1_000, Event::Request);
        for executor in 0..self.executors.len() {
            self.after(3_000_000, Event::AskHoldings { executor });
        }
        self.after(500_000, Event::Fault);
        let mut left = self.disturbed;
        while left > 0 {
            let Some(counts) = self.one()? else { break };
            left -= u64::from(counts);
        }
        self.come_to_rest()
    }

    /// The next event, if there is one; whether it is more than what happens all the time.
    fn one(&mut self) -> Result<Option<bool>, String> {
        let Some(((at, _), event)) = self.events.pop_first() else { return Ok(None) };
        self.clock = self.clock.max(at);
        self.tally.count("events", 1);
        self.routine = matches!(&event, Event::Fleet(event) if event.is_routine());
        self.happen(event)?;
        Ok(Some(!self.routine))
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
        self.calm_fleet()?;
        for tenant in self.tenants.clone() {
            self.calm_requests(tenant);
        }
        self.after(1, Event::Poll);
        let mut left = CALM_EVENTS;
        while self.routine || !self.at_rest() {
            if left == 0 {
                return Err(format!("it doesn't come to rest:\n{}", self.open_ends()));
            }
            let Some(counts) = self.one()? else {
                return Err(format!("nothing happens any more:\n{}", self.open_ends()));
            };
            left -= u64::from(counts);
        }
        self.restored_is_equal()?;
        Facts::at_rest(&self.store)
    }

    fn open_ends(&self) -> String {
        let requests: Vec<String> = self.store.waiting.values().map(|row| format!("{row:?}")).collect();
        let Some(engine) = self.engine() else { return "no owner".to_owned() };
        let mut held: Vec<String> =
            self.executors.iter().map(|e| format!("{}: {:?}", e.name, e.jobs.keys())).collect();
        let workers = self.fleet.iter().flat_map(|fleet| &fleet.workers);
        held.extend(workers.map(|(id, worker)| format!("{id}: {worker:?}")));
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
            && self.fleet.iter().flat_map(|fleet| fleet.workers.values()).all(|worker| worker.held.is_empty())
            && self.settled()
            && engine.is_quiet()
            && engine.all_ended_or_blocked()
    }

    /// Whether the current driver has nothing under way.
    pub(crate) fn settled(&self) -> bool {
        self.owners.iter().any(|owner| Some(owner.id) == self.current && owner.driver.is_settled())
    }

    fn happen(&mut self, event: Event) -> Outcomes {
        if !self.routine && !matches!(event, Event::Tick { .. } | Event::Send { .. }) {
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
                    if self.owner(owner).is_some_and(|known| known.called_off.contains_key(&dispatch.id)) {
                        self.delivered(owner, dispatch.id);
                        continue;
                    }
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
            Event::Fleet(event) => self.fleet_event(event)?,
        }
        Ok(())
    }
}

fn uuid(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(n)
}
