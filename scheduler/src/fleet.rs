//! The shell's side of a fleet: what workers say becomes inputs of the driver, what the driver wants goes to workers.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{DispatchId, ExecutorName, WorkerId},
    time::{Span, Timestamp},
};
use engine::{
    Engine,
    dispatch::Dispatch,
    driver::{Input, Receipt},
    fleet::WorkerNews,
};
use executor::fleet::{Event, FleetExecutor};
use tokio::sync::mpsc;

use crate::{clock, desk::chain, facts::Facts, wait::Wait};

/// How long a worker that isn't registered is ignored before it is looked up again.
const IGNORED: Span = Span::seconds(60);
/// Workers that are looked up or ignored at most; a further one is when it is heard again.
const STRANGERS_MAX: usize = 1_024;
/// How often the workers are looked at: one whose credential was taken back is given up after at most that long.
const LOOK_AT_PRESENCE: Span = Span::seconds(3);
/// Each how many looks those are looked for that are in the database and aren't heard: their machines went while nobody listened.
const LOOKS_PER_SEARCH: u32 = 20;
/// How long after its registration a worker has been heard, if it can be.
const HEARD: Span = Span::seconds(60);

/// A fleet and what it says.
#[derive(Debug)]
pub struct FleetParts {
    /// Its name among the executors.
    pub name: ExecutorName,
    /// Its executor.
    pub executor: FleetExecutor,
    /// What comes from it.
    pub events: mpsc::Receiver<Event>,
}

/// A fleet as the shell has it.
pub(crate) struct Fleet {
    name: ExecutorName,
    executor: FleetExecutor,
    events: mpsc::Receiver<Event>,
    /// Dispatches that workers reported and whose end isn't settled.
    reported: BTreeMap<DispatchId, Reported>,
    /// Workers that are being looked up, or that aren't registered and are ignored until then.
    strangers: BTreeMap<WorkerId, Option<Timestamp>>,
}

/// A dispatch that a worker reported.
#[derive(Debug)]
struct Reported {
    worker: WorkerId,
    /// Reports that aren't settled.
    open: usize,
    /// Its worker is gone: no end may ever come.
    gone: bool,
}

/// What comes next; never, if there is no fleet.
pub(crate) async fn next(fleet: &mut Option<Fleet>) -> Option<Event> {
    match fleet {
        Some(fleet) => fleet.events.recv().await,
        None => std::future::pending().await,
    }
}

impl Fleet {
    pub(crate) fn new(FleetParts { name, executor, events }: FleetParts) -> Self {
        Self { name, executor, events, reported: BTreeMap::new(), strangers: BTreeMap::new() }
    }

    pub(crate) fn name(&self) -> &ExecutorName {
        &self.name
    }

    /// Tells the engine's clock before anything is let out.
    pub(crate) fn tick(&self, now: Timestamp) {
        self.executor.tick(now);
    }

    pub(crate) fn counts(&self) -> executor::fleet::Counts {
        self.executor.counts()
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle { name: self.name.clone(), executor: self.executor.clone() }
    }

    /// What was said, as inputs of the driver, and a worker that must be looked up.
    pub(crate) fn hear(&mut self, event: Event, engine: &Engine) -> (Vec<Input>, Option<WorkerId>) {
        let news = |news| Input::Worker(self.name.clone(), news);
        match event {
            Event::Hearing => (vec![news(WorkerNews::Hearing)], None),
            Event::Deaf => (vec![news(WorkerNews::Deaf)], None),
            Event::Reports { worker, reports } => {
                for report in &reports {
                    let new = Reported { worker, open: 0, gone: false };
                    let reported = self.reported.entry(report.dispatch).or_insert(new);
                    (reported.worker, reported.open) = (worker, reported.open + 1);
                }
                (vec![Input::Reports(reports)], None)
            }
            Event::Beat(beat) => {
                let (worker, known) = (beat.worker, engine.knows_worker(&self.name, beat.worker));
                if beat.leaving {
                    return (vec![news(WorkerNews::Left(worker))], None);
                }
                if known {
                    let (held, as_of, draining) = (beat.held, beat.as_of, beat.draining);
                    return (vec![news(WorkerNews::Heard { worker, held, as_of, draining })], None);
                }
                (Vec::new(), self.is_to_be_looked_up(worker, engine.now()).then_some(worker))
            }
        }
    }

    fn is_to_be_looked_up(&mut self, worker: WorkerId, now: Timestamp) -> bool {
        let waits = |until: &Option<Timestamp>| until.is_none_or(|until| now < until);
        if self.strangers.get(&worker).is_some_and(waits) {
            return false;
        }
        if self.strangers.len() >= STRANGERS_MAX {
            self.strangers.retain(|_, until| waits(until));
        }
        let room = self.strangers.len() < STRANGERS_MAX;
        if room {
            self.strangers.insert(worker, None);
        }
        room
    }

    /// A look-up has ended: whoever is heard and isn't known is looked up anew, unless it isn't registered.
    pub(crate) fn looked_up(&mut self, worker: WorkerId, found: bool, now: Timestamp) {
        if found {
            self.strangers.remove(&worker);
        } else {
            self.strangers.insert(worker, Some(now.after(IGNORED)));
        }
    }

    /// Workers are gone: those of this fleet among them.
    pub(crate) fn gone(&mut self, workers: &[(ExecutorName, WorkerId)]) -> Vec<WorkerId> {
        let own = workers.iter().filter(|(name, _)| *name == self.name);
        let own: Vec<WorkerId> = own.map(|(_, worker)| *worker).collect();
        self.reported.retain(|_, reported| {
            reported.gone |= own.contains(&reported.worker);
            !(reported.gone && reported.open == 0)
        });
        own
    }

    /// Hands its dispatches over and gives back those of other executors.
    pub(crate) fn dispatch(&mut self, dispatches: Vec<Dispatch>) -> Vec<Dispatch> {
        let (own, others): (Vec<_>, _) =
            dispatches.into_iter().partition(|dispatch| dispatch.executor == self.name);
        if !own.is_empty()
            && let Err(error) = self.executor.dispatch(own)
        {
            tracing::warn!(%error, "dispatches wait until a heartbeat shows that they are missing");
        }
        others
    }

    /// Settles receipts of its reports and gives back those of other executors.
    pub(crate) fn settle(&mut self, receipts: Vec<Receipt>) -> Vec<Receipt> {
        let (own, others): (Vec<_>, _) =
            receipts.into_iter().partition(|receipt| self.reported.contains_key(&receipt.dispatch));
        for receipt in &own {
            let Some(reported) = self.reported.get_mut(&receipt.dispatch) else { continue };
            reported.open = reported.open.saturating_sub(1);
            if receipt.ended || reported.gone && reported.open == 0 {
                self.reported.remove(&receipt.dispatch);
            }
        }
        if !own.is_empty()
            && let Err(error) = self.executor.settle(own)
        {
            tracing::warn!(%error, "workers will repeat reports that are stored already");
        }
        others
    }
}

/// What a look-up needs of a fleet.
pub(crate) struct Handle {
    name: ExecutorName,
    executor: FleetExecutor,
}

impl Handle {
    /// A worker is gone: nothing is expected of it, and people see that it isn't there.
    pub(crate) async fn forget<F: Facts>(&self, facts: &F, worker: WorkerId) {
        if let Err(error) = self.executor.lost(worker).await {
            tracing::warn!(%worker, %error, "a worker that is gone can't be forgotten");
        }
        let mut wait = Wait::new();
        while let Err(error) = facts.worker_lost(worker).await {
            tracing::warn!(%worker, error = %chain(&error), "that a worker is gone waits for the database");
            wait.pass().await;
        }
    }

    /// Workers that have ended or may not be workers any more, as soon as there are some: they have left, whatever they say.
    pub(crate) async fn next_absent<F: Facts>(&self, facts: &F) -> Vec<Input> {
        let mut looks = 0_u32;
        loop {
            clock::sleep(LOOK_AT_PRESENCE).await;
            let workers = self.executor.workers();
            looks += 1;
            if looks.is_multiple_of(LOOKS_PER_SEARCH) {
                self.lose_unheard(facts, &workers).await;
            }
            if workers.is_empty() {
                continue;
            }
            match facts.absent(&workers).await {
                Ok(absent) if absent.is_empty() => {}
                Ok(absent) => {
                    let left = |worker| Input::Worker(self.name.clone(), WorkerNews::Left(worker));
                    return absent.into_iter().map(left).collect();
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "workers can't be looked at");
                }
            }
        }
    }

    /// Whoever is heard after all is looked up, and isn't lost any more.
    async fn lose_unheard<F: Facts>(&self, facts: &F, heard: &BTreeSet<WorkerId>) {
        let before = Timestamp(clock::now().0 - HEARD.0);
        match facts.lose_unheard(&self.name, heard, before).await {
            Ok(0) => {}
            Ok(workers) => tracing::info!(workers, "workers that nobody hears are lost"),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "workers that nobody hears can't be looked for");
            }
        }
    }

    /// What a worker offers that was heard and isn't known. None if it isn't registered: it is ignored.
    pub(crate) async fn look_up<F: Facts>(&self, facts: &F, worker: WorkerId) -> Option<Input> {
        let mut wait = Wait::new();
        let spec = loop {
            match facts.worker(worker).await {
                Ok(spec) => break spec,
                Err(error) => {
                    tracing::warn!(%worker, error = %chain(&error), "a worker waits for the database");
                    wait.pass().await;
                }
            }
        };
        let Some(spec) = spec else {
            tracing::warn!(%worker, "a worker that isn't registered is ignored");
            return None;
        };
        if let Err(error) = self.executor.joined(spec.clone()).await {
            tracing::warn!(%worker, %error, "a worker can't join");
            return None;
        }
        Some(Input::Worker(self.name.clone(), WorkerNews::Joined(spec)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dags::ids::ShardId;
    use engine::{
        Config,
        dispatch::{News, Report},
    };
    use executor::fleet::{Beat, Kept, Options, StoredResult};
    use plugins::token::Keys;

    use super::*;

    struct Nothing;

    impl Kept for Nothing {
        fn log(&self, _: DispatchId, _: u32, _: u64) -> std::io::Result<Option<executor::log::LogChunk>> {
            Ok(None)
        }

        fn result(&self, _: DispatchId, _: &str) -> std::io::Result<Option<StoredResult>> {
            Ok(None)
        }
    }

    fn fleet() -> (Fleet, Engine, executor::fleet::Service) {
        let (sender, events) = mpsc::channel(8);
        let (keys, kept) = (Keys::new(&[7; 32]), Arc::new(Nothing));
        let options = Options { url: String::new(), shard: ShardId::DEFAULT, epoch: 1, keys, kept };
        let (executor, service) = executor::fleet::open(options, sender);
        let name: ExecutorName = "workers".parse().unwrap();
        let engine = Engine::new(Config::new(name.clone()));
        (Fleet::new(FleetParts { name, executor, events }), engine, service)
    }

    fn worker(n: u32) -> WorkerId {
        format!("00000000-0000-8000-8000-{n:012}").parse().unwrap()
    }

    fn looks_up(fleet: &mut Fleet, engine: &Engine, n: u32) -> bool {
        let (worker, held, as_of) = (worker(n), Vec::new(), Timestamp(0));
        let beat = Beat { worker, held, as_of, draining: false, leaving: false };
        fleet.hear(Event::Beat(beat), engine).1 == Some(worker)
    }

    #[test]
    fn a_worker_is_looked_up_as_often_as_it_is_heard_and_unknown() {
        let (mut fleet, engine, _service) = fleet();
        assert!(looks_up(&mut fleet, &engine, 1) && !looks_up(&mut fleet, &engine, 1));
        // It joined, fell silent and was lost before it was heard again.
        fleet.looked_up(worker(1), true, engine.now());
        assert!(looks_up(&mut fleet, &engine, 1));
        // It isn't registered.
        fleet.looked_up(worker(1), false, engine.now());
        assert!(!looks_up(&mut fleet, &engine, 1), "not with each heartbeat");
        assert!(fleet.is_to_be_looked_up(worker(1), engine.now().after(IGNORED)));
    }

    #[test]
    fn strangers_are_bounded() {
        let (mut fleet, engine, _service) = fleet();
        for n in 0..STRANGERS_MAX as u32 {
            assert!(looks_up(&mut fleet, &engine, n));
        }
        assert!(!looks_up(&mut fleet, &engine, 5_000));
        fleet.looked_up(worker(0), true, engine.now());
        assert!(looks_up(&mut fleet, &engine, 5_000));
    }

    #[test]
    fn what_a_lost_worker_reported_is_forgotten_once_it_is_settled() {
        let (mut fleet, engine, _service) = fleet();
        let id = DispatchId { attempt: worker(9).0.to_string().parse().unwrap(), n: 1 };
        let news = News::Started { host: "h".to_owned(), pid: None };
        let reports = vec![Report::new(id, 0, 1, news)];
        fleet.hear(Event::Reports { worker: worker(1), reports }, &engine);
        assert_eq!(
            fleet.gone(&[(fleet.name.clone(), worker(1)), ("other".parse().unwrap(), worker(2))]),
            [worker(1)]
        );
        let receipt = Receipt { dispatch: id, member: 0, seq: 1, ended: false };
        assert_eq!(fleet.settle(vec![receipt]), [], "the broker still waits for it");
        assert!(fleet.reported.is_empty());
    }
}
