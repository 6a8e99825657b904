//! Hand-overs to modelled executors, and what these do with them.

use std::collections::{BTreeMap, btree_map::Entry};

use dags::ids::DispatchId;
use engine::dispatch::{Dispatch, Kill, Outcome};

use crate::{
    executor::{Executor, Job, Member, end, ended, random_end, started},
    facts::Facts,
    world::{Event, Outcomes, World},
};

impl World {
    pub(crate) fn ask_holdings(&mut self, executor: usize, again: bool) {
        if again {
            let delay = self.rng.within(5_000_000, 40_000_000);
            self.after(delay, Event::AskHoldings { executor });
        }
        let name = &self.executors[executor].name;
        let Some(owner) = self.current.and_then(|id| self.owner(id)) else { return };
        // Hand-overs that may still be on their way are left alone.
        let under_way = owner.undelivered.values().filter(|known| known.executor == *name);
        let oldest = under_way.map(|known| known.since).min();
        let as_of = oldest.unwrap_or_else(|| owner.driver.engine().now());
        let id = owner.id;
        let delay = self.latency();
        self.after(delay, Event::Holdings { owner: id, executor, as_of });
    }

    /// A member arrives at its executor, and its shell goes on with the next.
    pub(crate) fn deliver(&mut self, owner: u64, dispatch: Dispatch, member: u32) -> Outcomes {
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

    /// The shell's part of a hand-over is over, if it is the last one of its dispatch.
    pub(crate) fn delivered(&mut self, owner: u64, id: DispatchId) {
        let Some(known) = self.owners.iter_mut().find(|known| known.id == owner) else { return };
        if let Entry::Occupied(mut under_way) = known.undelivered.entry(id) {
            under_way.get_mut().copies -= 1;
            if under_way.get().copies == 0 {
                under_way.remove();
            }
        }
    }

    /// A kill: a hand-over of it that is still under way isn't tried again.
    pub(crate) fn call_off(&mut self, owner: u64, kill: &Kill) {
        let life = self.executors.iter().find(|known| known.name == kill.executor).map(|known| known.life);
        let known = self.owners.iter_mut().find(|known| known.id == owner);
        if let (Some(life), Some(known)) = (life, known)
            && known.undelivered.contains_key(&kill.id)
        {
            known.called_off.entry(kill.id).or_insert(life);
        }
    }

    pub(crate) fn take_member(
        &mut self,
        owner: u64,
        executor: usize,
        dispatch: Dispatch,
        member: u32,
    ) -> Outcomes {
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

    pub(crate) fn start(&mut self, executor: usize, id: DispatchId, serial: u64, member: u32) {
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
