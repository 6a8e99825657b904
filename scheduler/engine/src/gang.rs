//! The members of a gang: each is placed, starts and ends by itself, and the engine derives the attempt's state from them.
//!
//! The attempt runs once every member has started, and ends with its last member; the first failure ends the others.
//! Each start and end is a row of its own, so that a restart knows who was there. Their ends are confirmed to the
//! executor only when the attempt is over: until then it keeps them, and a second hand-over starts nobody twice.

use std::{collections::BTreeMap, sync::Arc};

use dags::{
    ids::{DispatchId, ExecutorName},
    time::{Span, Timestamp},
};

use crate::{
    dispatch::{End, News, Outcome, Receipt, Report},
    engine::{Engine, Fate},
    rows::{MemberRow, RunRow},
    run::TiRef,
    state::TaskState,
};

/// What is known of a gang's members, from the first report on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gang {
    pub(crate) members: BTreeMap<u32, Member>,
}

/// A member that has started or ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    pub(crate) host: Option<Arc<str>>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) end: Option<(Timestamp, End)>,
    /// The number of the report about its end; 0 if that came before a restart.
    pub(crate) seq: u32,
}

impl Gang {
    pub(crate) fn has_ended(&self, member: u32) -> bool {
        self.members.get(&member).is_some_and(|member| member.end.is_some())
    }

    pub(crate) fn has_started(&self, member: u32) -> bool {
        self.members.get(&member).is_some_and(|member| member.started_at.is_some())
    }

    /// The members whose end is known.
    pub(crate) fn ended(&self) -> impl Iterator<Item = (u32, &End)> {
        self.members.iter().filter_map(|(member, known)| Some((*member, &known.end.as_ref()?.1)))
    }

    /// Whether a member ended otherwise than by success, so that the others are being ended.
    pub(crate) fn fails(&self) -> bool {
        self.ended().any(|(_, end)| end.outcome != Outcome::Success)
    }

    /// How the gang ended, all of its members having ended: as the first that failed by itself, else as the first that was
    /// killed, else as member 0, whose result is the gang's.
    fn end(&self) -> Option<End> {
        let failed = self.members.iter().filter_map(|(member, known)| {
            let (at, end) = known.end.as_ref().filter(|(_, end)| end.outcome != Outcome::Success)?;
            Some(((end.outcome == Outcome::Killed, *at, *member), end))
        });
        let first = self.members.get(&0).and_then(|known| known.end.as_ref()).map(|(_, end)| end);
        failed.min_by_key(|(order, _)| *order).map(|(_, end)| end).or(first).cloned()
    }
}

impl Engine {
    /// News about a member of a gang.
    pub(crate) fn member_report(&mut self, at: TiRef, members: u32, report: &Report) -> Fate {
        let Report { dispatch: id, member, seq, .. } = *report;
        if member >= members {
            return Fate::Stale;
        }
        let now = self.now;
        let known = self.gang(at).members.entry(member).or_default();
        match &report.news {
            News::Started { .. } if known.started_at.is_some() || known.end.is_some() => Fate::Repeat,
            News::Started { host, .. } => {
                known.host = Some(host.as_str().into());
                known.started_at = Some(now);
                self.store_member(at, member);
                self.gang_moved(at, members);
                Fate::Taken
            }
            News::Ended(_) if known.end.is_some() => {
                known.seq = seq;
                Fate::Held
            }
            News::Ended(end) => {
                known.seq = seq;
                self.member_ended(at, id, member, members, end);
                Fate::Held
            }
        }
    }

    /// A member of a gang ended. The attempt ends with its last member; the first failure ends the others.
    fn member_ended(&mut self, at: TiRef, id: DispatchId, member: u32, members: u32, end: &End) {
        let now = self.now;
        let failed_before = self.gang(at).fails();
        self.gang(at).members.entry(member).or_default().end = Some((now, end.clone()));
        self.store_member(at, member);
        let gang = self.gang(at);
        if gang.ended().count() < members as usize {
            if gang.fails() && !failed_before {
                self.end_gang(at, id, members);
            } else {
                self.gang_moved(at, members);
            }
            return;
        }
        if let Some(end) = gang.end() {
            self.attempt_ended(at, &end);
        }
    }

    /// Ends the members that still run, or that are still to be handed over.
    pub(crate) fn end_gang(&mut self, at: TiRef, id: DispatchId, members: u32) {
        let live = self.run_mut(at.run).tis[at.ti as usize].live();
        if let Some(executor) = live.executor.clone() {
            self.kill(id, members, executor, "another member of its gang ended");
        }
    }

    /// The attempt runs once every member has started.
    fn gang_moved(&mut self, at: TiRef, members: u32) {
        let gang = self.gang(at);
        let there = gang.members.values().filter(|known| known.started_at.is_some() || known.end.is_some());
        if there.count() == members as usize {
            let host = gang.members.get(&0).and_then(|known| known.host.clone());
            self.started(at, host);
        }
    }

    /// The executor doesn't hold these members, whose end isn't known.
    pub(crate) fn members_missing(&mut self, at: TiRef, id: DispatchId, members: u32, missing: &[u32]) {
        let state = self.run(at.run).tis[at.ti as usize].state;
        let live = self.run_mut(at.run).tis[at.ti as usize].live();
        let taken_back = live.taken_back || live.gives_way.is_some();
        let gang = self.gang(at);
        let (fails, started) = (gang.fails(), missing.iter().any(|member| gang.has_started(*member)));
        if state == TaskState::Queued && !fails && !started {
            // They never got there: whoever was to hand them over died, or still waits for what it needs. But what their
            // executor was told to end, that will say so, whether it ever came or not.
            if !taken_back {
                self.hand_over(at);
            }
            return;
        }
        for member in missing {
            // The one before may have been the last.
            if self.attempts.get(&id.attempt).is_none_or(|holder| holder.n != id.n) {
                return;
            }
            let (outcome, reason) = if self.gang(at).has_started(*member) {
                (Outcome::Lost, format!("the executor no longer knows member {member} of its gang"))
            } else {
                (Outcome::NotStarted, format!("member {member} of its gang was never started"))
            };
            let end = End {
                outcome,
                duration: Span::ZERO,
                exit_code: None,
                reason: Some(reason),
                result: None,
                mapped_length: None,
            };
            self.member_ended(at, id, *member, members, &end);
        }
    }

    fn gang(&mut self, at: TiRef) -> &mut Gang {
        self.run_mut(at.run).tis[at.ti as usize].live().gang.get_or_insert_default()
    }

    /// The executor may forget the members that have ended: their attempt is over, or goes on without them.
    pub(crate) fn confirm_members(&mut self, id: DispatchId, gang: &Gang) {
        let receipt = |(member, known): (&u32, &Member)| {
            known.end.as_ref()?;
            Some(Receipt { dispatch: id, member: *member, seq: known.seq, ended: true })
        };
        self.out.effects.confirms.extend(gang.members.iter().filter_map(receipt));
    }

    fn store_member(&mut self, at: TiRef, member: u32) {
        let run = self.run(at.run);
        let RunRow { tenant, run: id, .. } = run.row;
        let ti = &run.tis[at.ti as usize];
        let gang = ti.live.as_ref().and_then(|live| live.gang.as_deref());
        let Some(known) = gang.and_then(|gang| gang.members.get(&member)) else { return };
        let row = MemberRow {
            tenant,
            run: id,
            task: run.plan.model(ti.task).task_id.clone(),
            map_index: ti.map_index,
            try_number: ti.try_number,
            dispatch_n: ti.dispatch_n,
            member,
            host: known.host.clone(),
            started_at: known.started_at,
            ended_at: known.end.as_ref().map(|(at, _)| *at),
            end: known.end.as_ref().map(|(_, end)| end.clone()),
        };
        self.out.members.insert(row.key(), row);
    }

    /// Puts a stored member back, if it belongs to its instance's current dispatch.
    pub(crate) fn restore_member(&mut self, at: TiRef, row: MemberRow) {
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        if (ti.try_number, ti.dispatch_n) != (row.try_number, row.dispatch_n) || !ti.state.holds_slots() {
            return;
        }
        let end = row.ended_at.zip(row.end);
        let known = Member { host: row.host, started_at: row.started_at, end, seq: 0 };
        ti.live().gang.get_or_insert_default().members.insert(row.member, known);
    }

    /// Whether the executor of a gang that fails was told to end what it holds of it, after a restart.
    pub(crate) fn end_failing_gang_again(&mut self, at: TiRef, id: DispatchId) -> bool {
        let ti = &self.run(at.run).tis[at.ti as usize];
        let Some(live) = ti.live.as_deref() else { return false };
        let fails = live.gang.as_ref().is_some_and(|gang| gang.fails());
        let (executor, members): (Option<ExecutorName>, u32) = (live.executor.clone(), live.members);
        if let (true, Some(executor)) = (fails, executor) {
            self.kill(id, members, executor, "another member of its gang ended");
        }
        fails
    }
}
