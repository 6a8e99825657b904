//! Drivers as owners of the shard: what they are fed, and what becomes of what they want.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dags::{
    ids::{DispatchId, ExecutorName},
    time::Timestamp,
};
use engine::{
    Engine,
    driver::{Action, Driver, Input, Stop},
    fleet::WorkerNews,
    journal::Commit,
    rows::Batch,
};

use crate::{
    facts::Facts,
    fleet::{FleetEvent, Link},
    tape::Step,
    world::{Event, Outcomes, World},
};

/// A dispatch that is being handed over. The network may double it.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) executor: ExecutorName,
    /// When it was let out.
    pub(crate) since: Timestamp,
    pub(crate) copies: u32,
}

/// A driver and what its shell knows.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) id: u64,
    pub(crate) driver: Driver,
    pub(crate) epoch: i64,
    /// Hand-overs that no executor has acknowledged.
    pub(crate) undelivered: BTreeMap<DispatchId, UnderWay>,
    /// Those that were killed on their way, with the executor's life then: they go no further than to that.
    pub(crate) called_off: BTreeMap<DispatchId, u64>,
    pub(crate) next_tick: Option<i64>,
    pub(crate) link: Link,
}

impl World {
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
            link: Link::default(),
        });
        self.current = Some(id);
        self.facts.new_owner();
        self.feed(id, Input::Tick)?;
        if self.current == Some(id) {
            self.introduce_fleet(id)?;
        }
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

    pub(crate) fn feed(&mut self, owner: u64, input: Input) -> Outcomes {
        let now = Timestamp(self.clock + self.skew);
        let Some(known) = self.owners.iter_mut().find(|known| known.id == owner) else { return Ok(()) };
        let (transitions, stale) = (known.driver.engine().transitions(), known.driver.counts().stale);
        let actions = known.driver.next(now, input);
        if self.routine && actions.is_empty() {
            self.plan_tick(owner);
            return Ok(());
        }
        let engine = known.driver.engine();
        engine.check().map_err(|why| format!("#{owner}: {why}"))?;
        self.tally.count("transitions", engine.transitions() - transitions);
        self.tally.count("stale reports", known.driver.counts().stale - stale);
        if self.current == Some(owner) {
            self.facts.usage(engine)?;
            if let Some(fleet) = &self.fleet {
                let full = engine
                    .workers(&fleet.name)
                    .into_iter()
                    .find(|(_, used, slots)| used > slots && *slots > 0);
                if let Some((worker, used, slots)) = full {
                    return Err(format!("{used} of {slots} slots of {worker} are taken"));
                }
            }
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
                let mut orders = Vec::new();
                for dispatch in dispatches {
                    Facts::dispatched(&dispatch, &self.store)?;
                    let known = self.sent.entry(dispatch.id).or_insert_with(|| dispatch.clone());
                    if *known != dispatch {
                        return Err(format!(
                            "the same dispatch with other content: {known:?} and {dispatch:?}"
                        ));
                    }
                    if self.is_fleet(&dispatch.executor) {
                        orders.push(dispatch);
                        continue;
                    }
                    let since = self.owner(owner).map_or(Timestamp::MIN, |known| known.driver.engine().now());
                    let times = if self.rng.mill(self.weather.network) { 2 } else { 1 };
                    if let Some(known) = self.owners.iter_mut().find(|known| known.id == owner) {
                        let executor = dispatch.executor.clone();
                        let new = || UnderWay { executor, since, copies: 0 };
                        known.undelivered.entry(dispatch.id).or_insert_with(new).copies += times;
                    }
                    if dispatch.members > 1 {
                        self.tally.count("gangs", 1);
                    }
                    for _ in 0..times {
                        let delay = self.latency();
                        self.after(
                            delay,
                            Event::Deliver { owner, dispatch: Box::new(dispatch.clone()), member: 0 },
                        );
                    }
                }
                self.order_starts(owner, orders)?;
            }
            Action::Kill(kills) => {
                self.tally.count("kills", kills.len() as u64);
                for kill in kills {
                    if self.is_fleet(&kill.executor) {
                        self.order_kill(owner, &kill);
                        continue;
                    }
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
                    let dispatch = self.sent.get(&receipt.dispatch);
                    if dispatch.is_some_and(|dispatch| self.is_fleet(&dispatch.executor)) {
                        if receipt.ended {
                            self.order_confirm(owner, &receipt);
                        }
                        continue;
                    }
                    if !self.rng.mill(self.weather.network) {
                        let delay = self.latency();
                        self.after(delay, Event::Confirm { receipt });
                    }
                }
            }
            Action::Gone(workers) => self.forget_workers(owner, &workers),
            Action::Withdraw(withdrawals) => {
                let delay = self.latency();
                self.after(delay, Event::Fleet(FleetEvent::Withdraw { owner, withdrawals }));
            }
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

    pub(crate) fn owner(&self, owner: u64) -> Option<&Owner> {
        self.owners.iter().find(|known| known.id == owner)
    }

    pub(crate) fn latency(&mut self) -> i64 {
        if self.rng.mill(self.weather.network) { self.rng.micros(60) } else { self.soon() }
    }

    pub(crate) fn commit(&mut self, owner: u64, batch: &Arc<Batch>) -> Outcomes {
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
    pub(crate) fn restored_is_equal(&mut self) -> Outcomes {
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
        if let Some(fleet) = &self.fleet {
            again.worker_news(&fleet.name, WorkerNews::Deaf);
        }
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

    pub(crate) fn poll(&mut self) -> Outcomes {
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
}
