//! The shell's side of a fleet: what workers say becomes inputs of the driver, what the driver wants goes to workers.

use std::collections::BTreeSet;

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

use crate::{clock, desk::chain, facts::Facts};

/// The longest wait before a worker is looked up again.
const WAIT_MAX: Span = Span::seconds(5);

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
    reported: BTreeSet<DispatchId>,
    /// Workers that are being looked up.
    strangers: BTreeSet<WorkerId>,
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
        Self { name, executor, events, reported: BTreeSet::new(), strangers: BTreeSet::new() }
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
            Event::Reports(reports) => {
                self.reported.extend(reports.iter().map(|report| report.dispatch));
                (vec![Input::Reports(reports)], None)
            }
            Event::Beat(beat) => {
                let (worker, known) = (beat.worker, engine.knows_worker(&self.name, beat.worker));
                if beat.leaving {
                    return (vec![news(WorkerNews::Left(worker))], None);
                }
                if known {
                    self.strangers.remove(&worker);
                    let (held, as_of, draining) = (beat.held, beat.as_of, beat.draining);
                    return (vec![news(WorkerNews::Heard { worker, held, as_of, draining })], None);
                }
                (Vec::new(), self.strangers.insert(worker).then_some(worker))
            }
        }
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
            receipts.into_iter().partition(|receipt| self.reported.contains(&receipt.dispatch));
        for receipt in own.iter().filter(|receipt| receipt.ended) {
            self.reported.remove(&receipt.dispatch);
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
    /// What a worker offers that was heard and isn't known. None if it isn't registered: it is ignored.
    pub(crate) async fn look_up<F: Facts>(&self, facts: &F, worker: WorkerId) -> Option<Input> {
        let mut wait = Span::millis(100);
        let spec = loop {
            match facts.worker(worker).await {
                Ok(spec) => break spec,
                Err(error) => {
                    tracing::warn!(%worker, error = %chain(&error), "a worker waits for the database");
                    clock::sleep(wait).await;
                    wait = Span((wait.0 * 2).min(WAIT_MAX.0));
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
