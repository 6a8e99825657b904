//! How a worker leaves: drained, refused by the service, or unable to run anything. What it hasn't begun goes back to the queue
//! in the same try, and no task pays for what is the worker's fault.

use std::time::Duration;

use dags::ids::DispatchId;
use engine::{dispatch::Outcome, fleet::Stage};

use super::{DRAIN_GRACE, Runtime};
use crate::{clock, worker::api::ApiError};

impl Runtime {
    /// Takes nothing new from now on; what runs may go on for so long.
    pub(super) fn drain(&mut self, most: Duration) {
        self.draining = true;
        let over = clock::monotonic() + most;
        self.drain_over = Some(self.drain_over.map_or(over, |before| before.min(over)));
        self.beat();
    }

    /// The worker can't do its work: it gives back what it hasn't begun, in the same try, and leaves.
    pub(super) fn give_up(&mut self, why: String, at_once: bool) {
        if self.unable.is_none() {
            tracing::error!(why, "the worker can't go on: it gives back what it hasn't begun, and leaves");
            self.unable = Some(why);
        }
        // The owner hears first that nothing new is taken, so it gives nothing back to this worker.
        let most = if at_once { Duration::ZERO } else { self.drain_max };
        if !self.gave_back {
            self.drain(most);
        }
        let waiting =
            std::mem::take(&mut self.to_ask).into_iter().chain(std::mem::take(&mut self.to_ask_alone));
        for ticket in waiting {
            self.hand_back(ticket.dispatch);
        }
    }

    /// A dispatch that wasn't begun goes back to the queue in the same try.
    pub(super) fn hand_back(&mut self, id: DispatchId) {
        let why = self.unable.as_deref().unwrap_or("its worker is being stopped");
        if let Some(dispatched) = self.held.get_mut(&id).filter(|known| known.stage() == Stage::Taken) {
            self.reports.extend(dispatched.end_all(id, &Outcome::Killed, why));
        }
    }

    /// Who isn't sent anything finds out by asking that the credential was taken back.
    pub(super) fn look(&mut self) {
        self.look_in = match self.look_in {
            Some(0 | 1) if self.unable.is_none() && !self.leaving => {
                self.tasks.spawn(self.jobs.clone().look());
                None
            }
            left => left.map(|left| left.saturating_sub(1)),
        };
    }

    /// The service refuses the worker, or what it says can't be understood. No ticket is at fault for that.
    pub(super) fn refused(&mut self, ids: &[DispatchId], error: &ApiError) {
        self.give_up(error.to_string(), error.is_final());
        for id in ids {
            self.hand_back(*id);
        }
    }

    /// A drain has taken too long: what still runs goes back to the queue.
    pub(super) fn give_back(&mut self) {
        self.gave_back = true;
        let running: Vec<DispatchId> = self
            .held
            .iter()
            .filter(|(_, dispatched)| dispatched.stage() != Stage::Ended)
            .map(|(id, _)| *id)
            .collect();
        tracing::warn!(
            attempts = running.len(),
            "the drain has taken too long: attempts are ended and given back"
        );
        for id in running {
            let Some(known) = self.held.get(&id) else { continue };
            let (members, proof) = (known.members.len() as u32, known.proof.clone());
            self.kill(id, members, DRAIN_GRACE, "its worker is being stopped".to_owned(), proof);
        }
    }
}
