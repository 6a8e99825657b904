//! Level-triggered repair: states in which somebody else must act have a longest stay, and what overstays is put right.
//!
//! Everything here is for messages and timers that were lost in a way that nothing else notices. Every now and then
//! [`Engine::repair`] looks at what is active, and more rarely at everything that sleeps; what is off is done again, or given
//! up, and the reason is written to the instance's row and history. Waiting for capacity is no fault: it is explained.

use std::{collections::BTreeMap, sync::Arc};

use dags::{
    ids::{DispatchId, ExecutorName},
    time::{Span, Timestamp},
};

use crate::{
    dispatch::{End, Outcome},
    engine::{Ending, Engine, Timer},
    figures::Repair,
    question::Ask,
    quota::Counted,
    rows::{ContinuationRow, Transition},
    run::{TiRef, flag},
    state::TaskState,
};

/// How long an attempt may take to end after it was told to, on top of its grace.
const ENDING_MAX: Span = Span::seconds(30);
/// How long the answer to a question may take.
const ANSWER_MAX: Span = Span::seconds(600);
/// How often everything that sleeps is looked at.
const SWEEP: Span = Span::seconds(300);
/// How late something that sleeps may be woken.
const LATE_MAX: Span = Span::seconds(60);

/// What may be overdue at the next look.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Since when what somebody else must act on has been seen.
    since: BTreeMap<(DispatchId, Wanted), Timestamp>,
    swept: Timestamp,
}

/// What somebody else must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    /// Its executor must come back.
    Executor,
    /// Its executor must say that it has ended.
    End,
    /// Its question must be answered.
    Answer,
    /// It must be found out whether its lost worker had claimed it.
    Withdrawal,
    /// Whatever holds it without an instance must be let go.
    LetGo,
}

impl Engine {
    /// Puts right what is overdue.
    pub fn repair(&mut self) {
        self.take_back_overdue();
        let mut seen = Vec::new();
        for (attempt, holder) in &self.attempts {
            let ti = &self.run(holder.at.run).tis[holder.at.ti as usize];
            let id = DispatchId { attempt: *attempt, n: holder.n };
            let executor = ti.live.as_ref().and_then(|live| live.executor.as_ref());
            let wanted = match ti.state {
                TaskState::Running | TaskState::Restarting
                    if executor.is_some_and(|name| self.is_missing(name)) =>
                {
                    Wanted::Executor
                }
                TaskState::Restarting => Wanted::End,
                TaskState::Running if executor.is_none() => Wanted::Answer,
                _ if ti.has(flag::ASKING) => Wanted::Answer,
                _ => continue,
            };
            seen.push((id, wanted, Some(holder.at)));
        }
        let holds = |ending: &Ending| ending.ticket.is_some() && self.is_missing(&ending.executor);
        let left = self.ending.iter().filter(|(_, ending)| holds(ending));
        seen.extend(left.map(|(id, _)| (*id, Wanted::LetGo, None)));
        seen.extend(self.withdrawing.keys().map(|id| (*id, Wanted::Withdrawal, None)));
        let before = std::mem::take(&mut self.watched.since);
        for (id, wanted, at) in seen {
            let since = before.get(&(id, wanted)).copied().unwrap_or(self.now);
            let most = match wanted {
                Wanted::Executor | Wanted::LetGo => self.config.executor_missing,
                Wanted::End => Span(self.config.kill_grace.0 + ENDING_MAX.0),
                Wanted::Answer | Wanted::Withdrawal => ANSWER_MAX,
            };
            if self.now.since(since) < most {
                self.watched.since.insert((id, wanted), since);
                continue;
            }
            match (wanted, at) {
                (Wanted::Executor, Some(at)) => self.lose_of_missing(id, at),
                (Wanted::End, Some(at)) => self.end_again(id, at, most),
                (Wanted::Answer, Some(at)) => self.ask_again(id, at),
                (Wanted::LetGo, _) => self.let_go_of_room(id),
                (Wanted::Withdrawal, _) => self.withdraw_again(id),
                (Wanted::Executor | Wanted::End | Wanted::Answer, None) => {}
            }
        }
        if self.now.since(self.watched.swept) >= SWEEP {
            self.watched.swept = self.now;
            self.wake_overdue();
        }
    }

    fn is_missing(&self, name: &ExecutorName) -> bool {
        self.queue.executor_of_name(name).is_none_or(|executor| executor.slots.is_none())
    }

    /// The executor isn't there any more: nobody will ever say how the attempt ended.
    fn lose_of_missing(&mut self, id: DispatchId, at: TiRef) {
        let ti = &self.run(at.run).tis[at.ti as usize];
        let Some(name) = ti.live.as_ref().and_then(|live| live.executor.clone()) else { return };
        self.tally.repair(Repair::Lost);
        let why = format!("executor `{name}` isn't there any more, so nobody knows what became of {id}");
        self.note(at, why.as_str().into());
        let end = End {
            outcome: Outcome::Lost,
            duration: Span::ZERO,
            exit_code: None,
            reason: Some(why),
            result: None,
            mapped_length: None,
        };
        let Some(members) = self.run(at.run).tis[at.ti as usize].live.as_ref().map(|live| live.members)
        else {
            return;
        };
        self.attempt_ended(at, &end);
        // Should the executor come back with it, it is ended.
        let (since, open, counted) = (Timestamp::MIN, (0..members).collect(), Counted::default());
        self.ending
            .insert(id, Ending { ticket: None, counted, executor: name, since, members, open, row: 0 });
    }

    /// What is being ended on an executor that isn't there any more holds nothing for ever.
    fn let_go_of_room(&mut self, id: DispatchId) {
        let Some(ending) = self.ending.get_mut(&id) else { return };
        let (ticket, row) = (ending.ticket.take(), std::mem::take(&mut ending.row));
        self.tally.repair(Repair::LetGo);
        if let Some(ticket) = ticket {
            self.queue.unplace(ticket, id);
            self.queue.release(ticket);
        }
        if row != 0 {
            self.out.continuations.insert(row, ContinuationRow::done(row));
        }
    }

    /// The clock was looked at for the first time in a while: that an executor was missing before says nothing.
    pub(crate) fn count_missing_again(&mut self) {
        self.watched.since.retain(|(_, wanted), _| !matches!(wanted, Wanted::Executor | Wanted::LetGo));
    }

    /// Hands over once more what its executor doesn't have.
    pub(crate) fn hand_over_lost(&mut self, at: TiRef) {
        self.tally.repair(Repair::HandedOverAgain);
        self.note(at, "its executor didn't have it: handed over again".into());
        self.hand_over(at);
    }

    /// Tells an executor once more to end an attempt.
    fn end_again(&mut self, id: DispatchId, at: TiRef, after: Span) {
        let live = self.run(at.run).tis[at.ti as usize].live.as_ref();
        let Some((executor, members)) = live.and_then(|live| Some((live.executor.clone()?, live.members)))
        else {
            return;
        };
        self.tally.repair(Repair::EndedAgain);
        let why =
            format!("its executor was told to end it and hasn't said that it did within {after}: told again");
        self.note(at, why.as_str().into());
        self.kill(id, members, executor, "cleared while it ran");
    }

    /// Asks a question once more.
    fn ask_again(&mut self, id: DispatchId, at: TiRef) {
        // Its answer is here, and waits for a run that is being read.
        if self.awaited.values().any(|awaited| awaited.tasks.iter().any(|(of, _)| *of == id)) {
            return;
        }
        self.tally.repair(Repair::AskedAgain);
        let ask = if id.n == 0 { Ask::When } else { Ask::Task };
        self.note(
            at,
            format!("the answer to a question about it didn't come within {ANSWER_MAX}: asked again").into(),
        );
        self.ask(at, ask, id);
    }

    /// Wakes what should have gone on by itself long ago.
    fn wake_overdue(&mut self) {
        let mut late: Vec<(TiRef, u64, Timestamp)> = Vec::new();
        for (index, run) in self.runs.iter().enumerate() {
            let Some(run) = run.as_deref().filter(|run| run.moving > 0 && run.work.is_empty()) else {
                continue;
            };
            if self.dags[run.dag as usize].halted() {
                continue;
            }
            for (ti, instance) in run.tis.iter().enumerate().filter(|(_, ti)| !ti.has(flag::DEAD | flag::DUE))
            {
                let sleeps = matches!(
                    instance.state,
                    TaskState::UpForRetry
                        | TaskState::UpForReschedule
                        | TaskState::Deferred
                        | TaskState::AwaitingInput
                );
                let wake = instance.live.as_ref().and_then(|live| live.wake_at).filter(|_| sleeps);
                if let Some(wake) = wake.filter(|wake| wake.after(LATE_MAX) <= self.now) {
                    late.push((TiRef { run: index as u32, ti: ti as u32 }, run.seq, wake));
                }
            }
        }
        for (at, seq, wake) in late {
            self.tally.repair(Repair::Woken);
            self.note(at, "it should have gone on by itself and didn't: woken".into());
            self.at(wake, Timer::Ti { at, seq });
        }
    }

    /// Writes to an instance's row and history what was put right about it.
    fn note(&mut self, at: TiRef, why: Arc<str>) {
        let now = self.now;
        let task = self.task_name(at);
        let run = self.run_mut(at.run);
        let ti = &mut run.tis[at.ti as usize];
        let try_number = ti.try_number;
        ti.live().reason = Some(why.clone());
        run.flush_steps();
        run.extra.push(Transition {
            task: Some(task),
            to: "repaired".into(),
            try_number,
            at: now,
            reason: Some(why),
        });
        self.touch(at);
    }
}
