//! Ending instances from outside: by hand, with their run, or to bring them back to the start.

use std::{collections::BTreeSet, sync::Arc};

use dags::{
    ids::{DispatchId, ExecutorName, WorkerId},
    time::Timestamp,
};

use crate::{
    dispatch::Kill,
    engine::{Ending, Engine},
    queue::{Holds, Ticket},
    quota::Counted,
    rows::ContinuationRow,
    run::{TiRef, flag},
    state::TaskState,
    transition::Event,
    work::RunWork,
};

/// A dispatch that is being ended, as it is stored.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct StoredEnding {
    id: DispatchId,
    holds: Holds,
    /// Members of a gang that have ended.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    ended: BTreeSet<u32>,
    #[serde(default, skip_serializing_if = "Counted::is_empty")]
    counted: Counted,
}

impl Engine {
    /// Ends an instance by hand or with its run. What runs is killed; its slots stay taken until its end is confirmed.
    pub(crate) fn end_by_hand(
        &mut self,
        at: TiRef,
        event: Event,
        by: Option<Arc<str>>,
        reason: Option<Arc<str>>,
    ) {
        let why = reason.clone().unwrap_or_else(|| "marked by hand".into());
        self.let_go(at, &why);
        self.run_mut(at.run).tis[at.ti as usize].live().marked_by = by;
        self.apply(at, event, reason);
        self.touch(at);
    }

    /// Detaches an instance from its queue place, question or dispatch.
    pub(crate) fn let_go(&mut self, at: TiRef, why: &str) {
        self.dequeue(at);
        self.close_question(at);
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        if !ti.state.holds_slots() {
            return;
        }
        let n = ti.dispatch_n;
        let live = ti.live();
        let (ticket, executor, gang) = (live.ticket.take(), live.executor.clone(), live.gang.take());
        let attempt = self.attempt_id(at);
        let since = self.attempts.swap_remove(&attempt).map_or(Timestamp::MIN, |holder| holder.since);
        if ticket.is_some() {
            self.run_mut(at.run).active -= 1;
            self.refill(at.run);
        }
        if let (Some(ticket), Some(executor)) = (ticket, executor) {
            let id = DispatchId { attempt, n };
            let gang = gang.unwrap_or_default();
            self.confirm_members(id, &gang);
            let ended = gang.ended().map(|(member, _)| member).collect();
            let counted = self.counted(at);
            self.end_dispatch(id, ticket, (ended, counted), executor, why);
            if let Some(ending) = self.ending.get_mut(&id) {
                ending.since = since;
            }
        }
    }

    pub(crate) fn close_question(&mut self, at: TiRef) {
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        if ti.has(flag::ASKING) {
            ti.unset(flag::ASKING);
            let attempt = self.attempt_of(at, true);
            self.run_mut(at.run).moving -= 1;
            self.attempts.swap_remove(&attempt);
        }
    }

    /// Ends a dispatch whose instance goes on without it. What it holds stays taken until the end of every member is
    /// confirmed.
    fn end_dispatch(
        &mut self,
        id: DispatchId,
        ticket: Ticket,
        (ended, counted): (BTreeSet<u32>, Counted),
        executor: ExecutorName,
        why: &str,
    ) {
        let row = self.next_continuation;
        self.next_continuation += 1;
        let members = self.queue.describe(ticket, id).members;
        let open = (0..members).filter(|member| !ended.contains(member)).collect();
        if let Some(sharing) = self.queue.sharing.as_mut() {
            sharing.pool.let_end(ticket.work);
        }
        self.store_ending(id, row, ticket, (ended, counted.clone()));
        let (ticket, since) = (Some(ticket), Timestamp::MIN);
        let ending = Ending { ticket, counted, executor: executor.clone(), since, members, open, row };
        self.ending.insert(id, ending);
        self.kill(id, members, executor, why);
    }

    /// Ends what an executor holds and nobody here knows of.
    pub(crate) fn end_stranger(&mut self, id: DispatchId, members: u32, executor: ExecutorName, why: &str) {
        let (since, open) = (Timestamp::MIN, (0..members).collect());
        let (name, counted) = (executor.clone(), Counted::default());
        let ending = Ending { ticket: None, counted, executor: name, since, members, open, row: 0 };
        self.ending.insert(id, ending);
        self.kill(id, members, executor, why);
    }

    fn store_ending(
        &mut self,
        id: DispatchId,
        row: i64,
        ticket: Ticket,
        (ended, counted): (BTreeSet<u32>, Counted),
    ) {
        let holds = self.queue.describe(ticket, id);
        let work = serde_json::json!({ "ending": StoredEnding { id, holds, ended, counted } });
        self.out.continuations.insert(row, ContinuationRow::new(row, work));
    }

    /// What was being ended when the process ended still holds what it held.
    pub(crate) fn restore_ending(&mut self, row: i64, stored: StoredEnding) {
        let StoredEnding { id, holds, ended, counted } = stored;
        let Holds { tenant, pool, executor, slots, members, needs, worker } = holds;
        let lane = self.queue.lane(tenant, &pool, &executor, slots, members, needs);
        let ticket = Some(self.queue.take(lane, 0));
        if worker.is_some() {
            self.queue.place(lane, id, worker, self.now);
        }
        let open = (0..members).filter(|member| !ended.contains(member)).collect();
        let since = Timestamp::MIN;
        let ending = Ending { ticket, counted, executor: executor.clone(), since, members, open, row };
        self.ending.insert(id, ending);
        self.kill(id, members, executor, "it was being ended before the restart");
    }

    pub(crate) fn kill(&mut self, id: DispatchId, members: u32, executor: ExecutorName, why: &str) {
        let worker = self.queue.place_of(&executor, id);
        let (grace, reason) = (self.config.kill_grace, why.to_owned());
        let kill = Kill { id, members, executor, worker, grace, reason };
        self.out.effects.kills.push(kill);
    }

    /// Ends what a worker holds and shouldn't.
    pub(crate) fn kill_there(
        &mut self,
        id: DispatchId,
        members: u32,
        executor: ExecutorName,
        worker: WorkerId,
        why: &str,
    ) {
        let (grace, reason) = (self.config.kill_grace, why.to_owned());
        let kill = Kill { id, members, executor, worker: Some(worker), grace, reason };
        self.out.effects.kills.push(kill);
    }

    /// A member of something that is being ended has ended.
    pub(crate) fn member_gone(&mut self, id: DispatchId, member: u32) {
        let Some(ending) = self.ending.get_mut(&id) else { return };
        if !ending.open.remove(&member) {
            return;
        }
        if ending.open.is_empty() {
            self.confirm_end(id);
        } else if let Some(ticket) = ending.ticket {
            // Its report is confirmed now: after a restart nobody would say it again.
            let ended = (0..ending.members).filter(|member| !ending.open.contains(member)).collect();
            let (row, counted) = (ending.row, ending.counted.clone());
            self.store_ending(id, row, ticket, (ended, counted));
        }
    }

    pub(crate) fn confirm_end(&mut self, id: DispatchId) {
        let Some(Ending { ticket, row, .. }) = self.ending.remove(&id) else { return };
        if let Some(ticket) = ticket {
            self.queue.unplace(ticket, id);
            self.queue.release(ticket);
        }
        if row != 0 {
            self.out.continuations.insert(row, ContinuationRow::done(row));
        }
    }

    /// Brings an instance back to the start; a running one is ended first. An index that is gone comes back only with a
    /// longer list.
    pub(crate) fn clear_one(&mut self, at: TiRef, by: Option<Arc<str>>) {
        if self.run(at.run).tis[at.ti as usize].state != TaskState::Removed {
            self.start_over(at, by);
        }
    }

    /// The same, whatever its state.
    pub(crate) fn start_over(&mut self, at: TiRef, by: Option<Arc<str>>) {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        let retries = run.plan.model(ti.task).retries;
        let (task, state, tries) = (ti.task, ti.state, ti.try_number);
        let unexpanded = ti.map_index == -1 && run.plan.tasks[task as usize].mapped;
        let has_ticket = ti.live.as_ref().is_some_and(|live| live.ticket.is_some());
        if state == TaskState::None {
            return;
        }
        if state.holds_slots() && has_ticket {
            if state != TaskState::Restarting {
                let attempt = self.attempt_id(at);
                let live = self.run_mut(at.run).tis[at.ti as usize].live();
                let (executor, members) = (live.executor.clone(), live.members);
                live.marked_by.clone_from(&by);
                self.apply(at, Event::Clear, Some("cleared while it ran".into()));
                let n = self.run(at.run).tis[at.ti as usize].dispatch_n;
                if let Some(executor) = executor {
                    self.kill(DispatchId { attempt, n }, members, executor, "cleared while it ran");
                }
            }
        } else {
            self.let_go(at, "cleared");
            // What waits for a retry was kept when its try failed.
            if tries > 0 && state != TaskState::UpForRetry {
                self.archive(at, if state.is_finished() { state } else { TaskState::Failed });
            }
            // A task that the engine was about to run holds nothing that must be waited for.
            let event = if state.holds_slots() { Event::Requeue } else { Event::Clear };
            if event == Event::Requeue {
                self.apply(at, Event::Requeue, None);
            }
            self.apply(at, Event::Clear, None);
            let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
            ti.unset(flag::DUE | flag::WHEN_HOLDS);
            let live = ti.live();
            *live = crate::run::Live { marked_by: by, ..Default::default() };
            ti.max_tries = tries + retries;
            if unexpanded {
                self.push_work(at.run, RunWork::Expand { task });
            }
        }
        self.touch(at);
    }
}
