//! Workers that come, are heard, fall silent and return.
//!
//! A worker's lease counts from when we could have heard it: after a restart, while the way to the workers is broken, and
//! after a time in which we did nothing ourselves, the count starts again. Nothing is lost because we were away.

use std::{collections::BTreeMap, sync::Arc};

use dags::{
    ids::{DispatchId, ExecutorName, WorkerId},
    time::{Span, Timestamp},
};

use super::{Fleet, HeldThere, Stage, Worker, WorkerNews};
use crate::{
    dispatch::{End, Outcome, Withdrawal, Withdrawn},
    engine::{Engine, Holder, Timer},
    figures::Repair,
    run::TiRef,
    state::TaskState,
    transition::Event,
};

/// A longer time without a look at the clock means that we were away. Shells look every second.
const AWAY: Span = Span::seconds(3);

/// A dispatch whose worker is lost, or that has none.
#[derive(Debug)]
pub(crate) struct Lost {
    id: DispatchId,
    executor: u32,
    /// None if it was never on one.
    worker: Option<WorkerId>,
    why: Arc<str>,
    /// Whether the worker had claimed it, once that was asked.
    withdrawn: Option<Withdrawn>,
}

impl Engine {
    /// Whether a worker is known with what it offers; one that isn't must join before it is heard.
    pub fn knows_worker(&self, executor: &ExecutorName, worker: WorkerId) -> bool {
        let fleet = self.queue.executor_of_name(executor).and_then(|executor| executor.fleet.as_ref());
        fleet.and_then(|fleet| fleet.worker(worker)).is_some_and(|worker| worker.spec.is_some())
    }

    /// The workers of an executor: members that run there, and how many may.
    pub fn workers(&self, executor: &ExecutorName) -> Vec<(WorkerId, u32, u32)> {
        let fleet = self.queue.executor_of_name(executor).and_then(|executor| executor.fleet.as_ref());
        let workers = fleet.into_iter().flat_map(Fleet::workers);
        let shown = |(id, worker): (&WorkerId, &Worker)| {
            (*id, worker.used.slots, worker.spec.as_ref().map_or(0, |spec| spec.slots))
        };
        workers.map(shown).collect()
    }

    /// Something happened to a fleet. The first news makes an executor one: it comes before the executor gets slots.
    pub fn worker_news(&mut self, name: &ExecutorName, news: WorkerNews) {
        let (now, lease) = (self.now, self.config.worker_lease);
        let index = self.queue.executor(name);
        let executor = &mut self.queue.executors[index as usize];
        let fleet = executor.fleet.get_or_insert_default();
        if !std::mem::replace(&mut fleet.known, true) {
            self.lose_unplaced(index);
        }
        let executor = &mut self.queue.executors[index as usize];
        let fleet = executor.fleet.get_or_insert_default();
        match news {
            WorkerNews::Hearing => {
                (fleet.hearing, fleet.counting_from) = (true, now);
                if fleet.met_at.is_none() {
                    fleet.met_at = Some(now.after(lease));
                    // What is kept for who could run nowhere is free for others from then on.
                    self.at(now.after(lease), Timer::Admission);
                }
            }
            WorkerNews::Deaf => fleet.hearing = false,
            WorkerNews::Joined(spec) => {
                fleet.join(spec, now);
                self.queue.ground_moved();
            }
            WorkerNews::Heard { worker, held, as_of, draining } => {
                let Some(known) = fleet.workers.get_mut(&worker).filter(|known| known.spec.is_some()) else {
                    return;
                };
                known.heard = now;
                // What is kept for who could run there only is free for others.
                self.queue.changed |= std::mem::replace(&mut known.draining, draining) != draining;
                self.compare(index, worker, &held, as_of);
            }
            WorkerNews::Left(worker) => self.lose(index, worker, "its worker ended"),
        }
        let fleet = self.queue.executors[index as usize].fleet.get_or_insert_default();
        if fleet.armed.is_none() && fleet.hearing && !fleet.workers.is_empty() {
            let at = now.after(lease);
            fleet.armed = Some(at);
            self.at(at, Timer::Fleet { executor: index });
        }
    }

    /// The clock was looked at for the first time in a while: silence before this says nothing.
    pub(crate) fn was_away(&mut self, before: Timestamp) {
        if self.now.since(before) < AWAY {
            return;
        }
        self.count_missing_again();
        for fleet in self.queue.executors.iter_mut().filter_map(|executor| executor.fleet.as_mut()) {
            fleet.counting_from = self.now;
        }
    }

    pub(crate) fn look_at_leases(&mut self, executor: u32) {
        let (now, lease) = (self.now, self.config.worker_lease);
        let Some(fleet) = &mut self.queue.executors[executor as usize].fleet else { return };
        let (silent, next) = fleet.silent(now, lease);
        fleet.armed = next;
        if let Some(next) = next {
            self.at(next, Timer::Fleet { executor });
        }
        for worker in silent {
            let why = format!("its worker was silent for {lease}");
            self.lose(executor, worker, &why);
        }
    }

    /// A worker is gone: what it held is lost or goes back to the queue, bit by bit.
    fn lose(&mut self, executor: u32, worker: WorkerId, why: &str) {
        let Some(fleet) = &mut self.queue.executors[executor as usize].fleet else { return };
        let Some(held) = fleet.lose(worker) else { return };
        let name = self.queue.executors[executor as usize].name.clone();
        self.out.effects.gone.push((name, worker));
        let why: Arc<str> = why.into();
        let of = |id| Lost { id, executor, worker: Some(worker), why: why.clone(), withdrawn: None };
        self.lost.extend(held.into_iter().map(of));
        self.queue.ground_moved();
    }

    /// Deals with one dispatch of a lost worker.
    pub(crate) fn let_one_be_lost(&mut self) {
        let Some(lost) = self.lost.pop_front() else { return };
        let id = lost.id;
        let fleet = self.queue.executors[lost.executor as usize].fleet.as_ref();
        if fleet.and_then(|fleet| fleet.place_of(id)) != lost.worker {
            return;
        }
        if self.ending.contains_key(&id) {
            self.confirm_end(id);
            return;
        }
        let Some(at) = self.current(id) else { return };
        self.for_run(at.run);
        if !self.seems_unbegun(at) {
            self.lose_attempt(at, &lost.why);
            return;
        }
        match (lost.worker, lost.withdrawn) {
            (Some(_), None) => {
                self.out.effects.withdrawals.push(self.withdrawal(at));
                self.withdrawing.insert(id, lost);
            }
            // It has it, and didn't come to say that it started.
            (Some(_), Some(Withdrawn::Claimed)) => self.lose_attempt(at, &lost.why),
            (None, _) | (Some(_), Some(Withdrawn::Unclaimed)) => self.give_back(at, lost.why),
        }
    }

    /// What came of a withdrawal.
    pub(crate) fn withdrawn(&mut self, id: DispatchId, outcome: Withdrawn) {
        if let Some(lost) = self.withdrawing.remove(&id) {
            self.lost.push_back(Lost { withdrawn: Some(outcome), ..lost });
        }
    }

    /// Asks once more for a withdrawal whose outcome doesn't come.
    pub(crate) fn withdraw_again(&mut self, id: DispatchId) {
        let Some(lost) = self.withdrawing.remove(&id) else { return };
        self.tally.repair(Repair::AskedAgain);
        self.lost.push_back(lost);
    }

    fn withdrawal(&self, at: TiRef) -> Withdrawal {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        Withdrawal {
            id: DispatchId { attempt: self.attempt_id(at), n: ti.dispatch_n },
            tenant: run.row.tenant,
            run: run.row.run,
            task_id: run.plan.model(ti.task).task_id.clone(),
            map_index: ti.map_index,
            try_number: ti.try_number,
        }
    }

    /// The instance whose current dispatch this is.
    fn current(&self, id: DispatchId) -> Option<TiRef> {
        let Holder { at, n, .. } = *self.attempts.get(&id.attempt)?;
        (n == id.n && self.run(at.run).tis[at.ti as usize].state.holds_slots()).then_some(at)
    }

    /// What was let out to an executor while it wasn't known that it has workers is on none of them: nobody will say
    /// how it ended.
    fn lose_unplaced(&mut self, index: u32) {
        let name = &self.queue.executors[index as usize].name;
        let current = self.attempts.iter().filter_map(|(attempt, Holder { at, n, .. })| {
            let ti = &self.run(at.run).tis[at.ti as usize];
            let live = ti.live.as_deref().filter(|_| ti.state.holds_slots())?;
            let here = live.ticket.is_some() && live.executor.as_ref() == Some(name);
            here.then_some(DispatchId { attempt: *attempt, n: *n })
        });
        let ending = self.ending.iter().filter(|(_, ending)| ending.executor == *name).map(|(id, _)| *id);
        let why: Arc<str> = "it was on none of its executor's workers".into();
        let unplaced = current.chain(ending).filter(|id| self.queue.place_of(name, *id).is_none());
        let lost: Vec<Lost> = unplaced
            .map(|id| Lost { id, executor: index, worker: None, why: why.clone(), withdrawn: None })
            .collect();
        self.lost.extend(lost);
    }

    /// Whether a member of its gang is known to have started or ended.
    fn has_begun(&self, at: TiRef) -> bool {
        let live = self.run(at.run).tis[at.ti as usize].live.as_ref();
        live.and_then(|live| live.gang.as_ref()).is_some_and(|gang| !gang.members.is_empty())
    }

    /// Whether nothing that was reported says that it began.
    fn seems_unbegun(&self, at: TiRef) -> bool {
        self.run(at.run).tis[at.ti as usize].state == TaskState::Queued && !self.has_begun(at)
    }

    /// It never started, and can't any more: the same try waits for another worker.
    fn give_back(&mut self, at: TiRef, why: Arc<str>) {
        self.tally.repair(Repair::Lost);
        self.release(at);
        let attempt = self.attempt_id(at);
        self.attempts.swap_remove(&attempt);
        if self.apply(at, Event::Requeue, Some(why)) {
            self.enqueue(at);
        }
    }

    fn lose_attempt(&mut self, at: TiRef, why: &Arc<str>) {
        self.tally.repair(Repair::Lost);
        let end = End {
            outcome: Outcome::Lost,
            duration: Span::ZERO,
            exit_code: None,
            reason: Some(why.to_string()),
            result: None,
            mapped_length: None,
        };
        self.attempt_ended(at, &end);
    }

    /// What a worker holds, against what it should hold.
    fn compare(&mut self, executor: u32, worker: WorkerId, held: &[HeldThere], as_of: Timestamp) {
        let there: BTreeMap<DispatchId, HeldThere> = held.iter().map(|held| (held.id, *held)).collect();
        let fleet = self.queue.executors[executor as usize].fleet.as_ref();
        let Some(known) = fleet.and_then(|fleet| fleet.worker(worker)) else { return };
        let missing: Vec<DispatchId> =
            known.placed.keys().filter(|id| !there.contains_key(id)).copied().collect();
        for id in missing {
            if let Some(ending) = self.ending.get(&id) {
                if ending.since < as_of {
                    self.confirm_end(id);
                }
                continue;
            }
            let Some(at) = self.current(id) else { continue };
            if self.attempts.get(&id.attempt).is_none_or(|holder| holder.since >= as_of) {
                continue;
            }
            // It was lost and is back: what it may do with this is being found out.
            if self.withdrawing.contains_key(&id) {
                continue;
            }
            let ti = &self.run(at.run).tis[at.ti as usize];
            if self.seems_unbegun(at) {
                // What it was told to end, it will say so, whether it ever came or not.
                if !ti.live.as_ref().is_some_and(|live| live.taken_back || live.gives_way.is_some()) {
                    self.hand_over_lost(at);
                }
            } else {
                self.lose_attempt(at, &"its worker no longer knows it".into());
            }
        }
        let name = self.queue.executors[executor as usize].name.clone();
        // What has ended there needs nothing but its report, which comes again until it is confirmed.
        for (id, HeldThere { members, stage, .. }) in
            there.into_iter().filter(|(_, held)| held.stage != Stage::Ended)
        {
            let placed = self.queue.place_of(&name, id);
            match self.current(id) {
                Some(at) if placed == Some(worker) => {
                    // A gang runs when all of its members do, which their reports say.
                    if stage == Stage::Started && members == 1 {
                        self.started(at, None);
                    }
                }
                _ if placed == Some(worker) && self.ending.contains_key(&id) => {
                    self.kill(id, members, name.clone(), "it is no longer current");
                }
                _ => {
                    self.tally.repair(Repair::EndedStranger);
                    self.kill_there(id, members, name.clone(), worker, "it is no longer current");
                }
            }
        }
    }
}
