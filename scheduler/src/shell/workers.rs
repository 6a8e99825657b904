//! The shell's dealings with its fleet.

use dags::ids::{ExecutorName, WorkerId};
use engine::{
    driver::{Input, Withdrawal},
    fleet::WorkerNews,
};

use super::{Ended, Shell};
use crate::{desk::chain, errands::Event, facts::Facts, wait::Wait};

impl<F: Facts> Shell<F> {
    /// Says how much each executor may run. Before that, which one has workers: nothing must go to none of them.
    pub(super) fn introduce_executors(&mut self) -> Option<Ended> {
        let fleet = self.fleet.as_ref().map(|fleet| Input::Worker(fleet.name().clone(), WorkerNews::Deaf));
        let slots = self.slots.clone().into_iter().map(|(name, slots)| Input::Executor(name, Some(slots)));
        for input in fleet.into_iter().chain(slots) {
            if let Some(ended) = self.feed(input) {
                return Some(ended);
            }
        }
        None
    }

    /// What the fleet says, as inputs of the driver.
    pub(super) fn hear(&mut self, event: executor::fleet::Event) -> Vec<Input> {
        let Some(fleet) = &mut self.fleet else { return Vec::new() };
        let (inputs, stranger) = fleet.hear(event, self.driver.engine());
        if let Some(worker) = stranger {
            let (desk, events, handle) = (self.desk.clone(), self.events.clone(), fleet.handle());
            self.start(async move {
                let found = handle.look_up(&desk.facts, worker).await;
                drop(events.send(Event::LookedUp(worker, found)).await);
            });
        }
        inputs
    }

    /// A worker was looked up.
    pub(super) fn looked_up(&mut self, worker: WorkerId, found: Option<Input>) -> Input {
        if let Some(fleet) = &mut self.fleet {
            fleet.looked_up(worker, found.is_some(), self.driver.engine().now());
        }
        found.unwrap_or(Input::Tick)
    }

    /// Finds out, for good, whether lost workers had claimed their dispatches.
    pub(super) fn withdraw(&self, withdrawals: Vec<Withdrawal>) {
        let (desk, events) = (self.desk.clone(), self.events.clone());
        self.start(async move {
            let mut wait = Wait::new();
            let outcomes = loop {
                match desk.facts.withdraw(&withdrawals).await {
                    Ok(outcomes) => break outcomes,
                    Err(error) => {
                        tracing::warn!(error = %chain(&error), "what lost workers had waits for the database");
                        wait.pass().await;
                    }
                }
            };
            drop(events.send(Event::Input(Input::Withdrawn(outcomes))).await);
        });
    }

    /// Workers are lost or have left.
    pub(super) fn gone(&mut self, workers: &[(ExecutorName, WorkerId)]) {
        let Some(fleet) = &mut self.fleet else { return };
        let workers = fleet.gone(workers);
        let (desk, handle) = (self.desk.clone(), fleet.handle());
        self.start(async move {
            for worker in workers {
                handle.forget(&desk.facts, worker).await;
            }
        });
    }
}
