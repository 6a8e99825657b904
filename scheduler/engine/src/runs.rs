//! A run's life: made, queued, started, over.

use std::{collections::VecDeque, sync::Arc};

use dags::{
    ids::{RunId, RunName},
    model::DeadlineFrom,
    time::Timestamp,
};
use serde_json::{Map, Value};

use crate::{
    engine::{Engine, Timer},
    plan::{Plan, TaskIdx},
    rows::{RunRow, RunType},
    run::{Past, Run, RunIdx, Span, Ti, TiRef, Unit},
    state::{RunState, TaskState},
    work::{Bulk, BulkKind, RunWork},
};

/// What is needed to make a run.
#[derive(Debug)]
pub(crate) struct NewRun {
    pub(crate) name: RunName,
    pub(crate) kind: RunType,
    pub(crate) logical_date: Option<Timestamp>,
    pub(crate) interval: Option<(Timestamp, Timestamp)>,
    pub(crate) run_after: Timestamp,
    pub(crate) conf: Arc<Map<String, Value>>,
    pub(crate) note: Option<Arc<str>>,
    pub(crate) backfill: Option<(i64, u32)>,
    pub(crate) by: Option<Arc<str>>,
    /// How many runs started each other before this one.
    pub(crate) chain_depth: u32,
    pub(crate) asset_window: Option<(Timestamp, Timestamp)>,
}

impl Engine {
    /// Makes a run, queued. Its name and date are free, which the caller has checked.
    pub(crate) fn make_run(&mut self, dag: u32, new: NewRun) -> RunIdx {
        let state = &self.dags[dag as usize];
        let (plan, tenant) = (state.plan.clone(), state.row.tenant);
        let row = RunRow {
            tenant,
            run: RunId::derive(tenant, &state.row.dag_id, &new.name, self.now.0),
            dag_id: state.row.dag_id.clone(),
            run_name: new.name,
            run_type: new.kind,
            version: state.row.version.clone(),
            bundle: state.row.bundle.clone(),
            state: RunState::Queued,
            logical_date: new.logical_date,
            interval: new.interval,
            run_after: new.run_after,
            created_at: self.now,
            queued_at: self.now,
            started_at: None,
            ended_at: None,
            conf: new.conf,
            reason: None,
            note: new.note,
            clear_number: 0,
            created_tasks: 0,
            backfill: new.backfill,
            triggered_by: new.by,
            chain_depth: new.chain_depth,
            asset_window: new.asset_window,
        };
        let run = self.insert_run(dag, plan, row, false);
        self.count_everything(run);
        self.expand_literals(run);
        self.note_run(run, None);
        self.queue_run(run);
        self.past_changed(run);
        run
    }

    /// Puts a run into memory with the first instance of each task.
    pub(crate) fn insert_run(&mut self, dag: u32, plan: Arc<Plan>, row: RunRow, stored: bool) -> RunIdx {
        self.run_seq += 1;
        let tasks = plan.tasks.len();
        let mut run = Box::new(Run {
            dag,
            seq: self.run_seq,
            stored: stored.then_some(row.state),
            listed: false,
            dirty: false,
            tis: Vec::with_capacity(tasks),
            spans: Vec::with_capacity(tasks),
            units: Vec::with_capacity(tasks),
            dirty_tis: Vec::new(),
            steps: Vec::new(),
            extra: Vec::new(),
            renamed: Vec::new(),
            gone: Vec::new(),
            unfinished: 0,
            moving: 0,
            failed_leaves: 0,
            active: 0,
            window: std::collections::BTreeSet::new(),
            parked: std::collections::BTreeSet::new(),
            lanes: vec![u32::MAX; tasks],
            limited: std::collections::BTreeMap::new(),
            past: Past::Unknown,
            followers: Vec::new(),
            work: VecDeque::new(),
            has_work: false,
            generation: 0,
            row,
            plan,
        });
        for task in 0..tasks {
            let first = run.tis.len() as u32;
            let first_unit = run.units.len() as u32;
            let retries = run.plan.model(task as TaskIdx).retries;
            run.tis.push(Ti::new(task as TaskIdx, -1, retries));
            run.units.push(Unit::default());
            let expanded = !run.plan.tasks[task].mapped;
            run.spans.push(Span { first, len: 1, first_unit, units: 1, expanded });
        }
        run.unfinished = run.tis.len() as u32;
        let index = self.free_runs.pop().unwrap_or_else(|| {
            self.runs.push(None);
            self.runs.len() as RunIdx - 1
        });
        self.runs[index as usize] = Some(run);
        let name = self.run(index).row.run_name.clone();
        self.dags[dag as usize].runs.insert(name, index);
        index
    }

    /// Counts the surroundings of every unit afresh.
    pub(crate) fn count_everything(&mut self, run: RunIdx) {
        for task in 0..self.run(run).plan.tasks.len() as TaskIdx {
            self.recount(run, task);
        }
    }

    /// Tasks that are repeated over what is known beforehand get their instances at once.
    pub(crate) fn expand_literals(&mut self, run: RunIdx) {
        let plan = self.run(run).plan.clone();
        for (task, known) in plan.tasks.iter().enumerate() {
            let span = self.run(run).spans[task];
            let open = self.run(run).tis[span.first as usize].state == TaskState::None;
            if known.mapped && known.sources.is_empty() && !span.expanded && open {
                self.expand_now(run, task as TaskIdx);
            }
        }
    }

    /// Counts the surroundings of all units of a task afresh.
    pub(crate) fn recount(&mut self, run: RunIdx, task: TaskIdx) {
        let state = self.run_mut(run);
        let span = state.spans[task as usize];
        for unit in span.first_unit..span.first_unit + span.units {
            state.units[unit as usize] = state.surroundings(task, unit);
        }
    }

    /// Notes a run's present state in the history.
    pub(crate) fn note_run(&mut self, run: RunIdx, reason: Option<Arc<str>>) {
        let at = self.now;
        let state = self.run_mut(run);
        state.flush_steps();
        state.extra.push(crate::rows::Transition {
            task: None,
            to: state.row.state.as_str().into(),
            try_number: 0,
            at,
            reason,
        });
        self.touch_run(run);
    }

    /// Puts a queued run in its DAG's line.
    pub(crate) fn queue_run(&mut self, run: RunIdx) {
        let state = self.run(run);
        let (dag, seq, due) = (state.dag, state.seq, state.row.run_after);
        let backfill = state.row.backfill.is_some();
        self.dags[dag as usize].queued.insert((backfill, due, seq, run));
        if !backfill {
            self.dags[dag as usize].active += 1;
        }
        if due > self.now {
            self.at(due, Timer::RunDue { run, seq });
        }
        self.dag_work(dag);
    }

    /// Starts queued runs as far as the limits allow.
    pub(crate) fn start_runs(&mut self, dag: u32) {
        let state = &self.dags[dag as usize];
        if state.halted() {
            return;
        }
        let most = state.plan.dag().max_active_runs;
        let mut startable = Vec::new();
        let mut running = state.running;
        let mut in_backfill: std::collections::BTreeMap<i64, u32> = std::collections::BTreeMap::new();
        for (_, due, _, run) in &state.queued {
            if *due > self.now {
                continue;
            }
            match self.run(*run).row.backfill {
                None if running < most => {
                    running += 1;
                    startable.push(*run);
                }
                None => {}
                Some((id, _)) => {
                    let more = in_backfill.entry(id).or_default();
                    if self.backfill_has_room(state.row.tenant, id, *more) {
                        *more += 1;
                        startable.push(*run);
                    }
                }
            }
            if startable.len() >= 64 {
                break;
            }
        }
        let more = startable.len() >= 64;
        for run in startable {
            self.start_run(run);
        }
        if more {
            self.dag_work(dag);
        }
    }

    pub(crate) fn start_run(&mut self, run: RunIdx) {
        let now = self.now;
        let state = self.run_mut(run);
        let key = (state.row.backfill.is_some(), state.row.run_after, state.seq, run);
        state.row.state = RunState::Running;
        state.row.started_at = state.row.started_at.or(Some(now));
        let (dag, backfill, created) = (state.dag, state.row.backfill, state.row.created_tasks);
        self.dags[dag as usize].queued.remove(&key);
        match backfill {
            None => self.dags[dag as usize].running += 1,
            Some((id, _)) => self.count_backfill(self.run(run).row.tenant, id, 1),
        }
        self.note_run(run, None);
        self.set_run_timers(run);
        let all = created as usize >= self.run(run).plan.tasks.len();
        if !all {
            self.push_work(run, RunWork::Create { next: created });
        }
        // Perhaps it ended before all of its tasks were made, and starts again: those that were may have been cleared
        // meanwhile.
        if all || created > 0 {
            self.push_work(run, RunWork::Everything { next: 0 });
        }
    }

    /// Sets the timers of a running run: its timeout and its deadlines.
    pub(crate) fn set_run_timers(&mut self, run: RunIdx) {
        let state = self.run(run);
        let (seq, generation) = (state.seq, state.generation);
        let row = &state.row;
        let mut timers = Vec::new();
        if let (Some(timeout), Some(started)) = (state.plan.dag().run_timeout, row.started_at) {
            timers.push((started.after(timeout), Timer::RunTimeout { run, seq, generation }));
        }
        for (n, deadline) in state.plan.dag().deadlines.iter().enumerate() {
            let from = match deadline.from {
                DeadlineFrom::Scheduled => row.run_after,
                DeadlineFrom::Queued => row.queued_at,
                DeadlineFrom::Started => row.started_at.unwrap_or(self.now),
            };
            timers.push((from.after(deadline.within), Timer::Deadline { run, seq, generation, n: n as u32 }));
        }
        for (when, timer) in timers {
            self.at(when, timer);
        }
    }

    pub(crate) fn time_out_run(&mut self, run: RunIdx) {
        if self.run(run).row.state != RunState::Running {
            return;
        }
        let timeout = self.run(run).plan.dag().run_timeout.unwrap_or_default();
        let reason: Arc<str> = format!("the run took longer than {timeout}").into();
        self.end_run(run, BulkKind::SkipUnfinished, None, reason);
    }

    /// Brings a run to an early, failed end: first its instances, then the run itself, so that a finished run never has
    /// unfinished instances, whatever happens in between.
    pub(crate) fn end_run(&mut self, run: RunIdx, kind: BulkKind, by: Option<Arc<str>>, reason: Arc<str>) {
        let state = self.run_mut(run);
        state.row.reason = Some(reason.clone());
        self.touch_run(run);
        self.end_all(run, kind, by, Some(reason));
    }

    /// Ends every instance that isn't finished, in one of the ways of [`BulkKind`].
    pub(crate) fn end_all(
        &mut self,
        run: RunIdx,
        kind: BulkKind,
        by: Option<Arc<str>>,
        reason: Option<Arc<str>>,
    ) {
        let state = self.run(run);
        let list = state
            .tis
            .iter()
            .filter(|ti| !ti.state.is_finished() && !ti.has(crate::run::flag::DEAD))
            .map(|ti| (state.plan.model(ti.task).task_id.clone(), ti.map_index))
            .collect();
        self.start_bulk(run, Bulk { id: 0, kind, list, by, reason });
    }

    /// An instance fails: if its DAG wants that, everything else in the run ends but its teardowns.
    pub(crate) fn fail_fast(&mut self, at: TiRef) {
        let run = self.run(at.run);
        let teardown = run.plan.tasks[run.tis[at.ti as usize].task as usize].teardown;
        if run.row.state.is_finished() || teardown || !run.plan.dag().fail_fast {
            return;
        }
        let (task, _) = self.task_name(at);
        self.end_all(
            at.run,
            BulkKind::FailFast,
            None,
            Some(format!("`{task}` failed and the DAG fails fast").into()),
        );
    }

    /// When a run's work is done: is it over, is it stuck?
    pub(crate) fn settle(&mut self, run: RunIdx) {
        let state = self.run(run);
        if state.row.state.is_finished() {
            if state.unfinished > 0 {
                self.end_all(run, BulkKind::SkipUnfinished, None, Some("its run has ended".into()));
            }
            return;
        }
        if state.unfinished == 0 {
            let reason = state.row.reason.clone();
            let ended_early = reason.is_some() || state.plan.dag().fail_fast && failed_task(state);
            let failed = state.failed_leaves > 0 || ended_early;
            self.finish(run, if failed { RunState::Failed } else { RunState::Success }, reason);
        } else if let Some(reason) = state.row.reason.clone()
            && state.moving == 0
        {
            // The process ended in the middle of ending the run, or something came back to the start meanwhile.
            self.end_all(run, BulkKind::SkipUnfinished, None, Some(reason));
        } else if state.row.state == RunState::Running
            && state.row.created_tasks as usize >= state.plan.tasks.len()
            && state.moving == 0
            && self.is_stuck(run)
        {
            self.end_run(run, BulkKind::SkipUnfinished, None, "all_tasks_deadlocked".into());
        }
    }

    pub(crate) fn is_stuck(&self, run: RunIdx) -> bool {
        let state = self.run(run);
        let halted = self.dags[state.dag as usize].halted();
        let limits =
            state.plan.dag().tasks.iter().any(|t| t.max_active.is_some() || t.max_active_per_run.is_some());
        !halted && !state.plan.has_past && !limits
    }

    /// Brings a run to its end.
    pub(crate) fn finish(&mut self, run: RunIdx, to: RunState, reason: Option<Arc<str>>) {
        let now = self.now;
        self.leave_line(run);
        let state = self.run_mut(run);
        state.row.state = to;
        state.row.ended_at = Some(now);
        state.row.reason.clone_from(&reason);
        state.generation += 1;
        let (dag, backfill, tenant) = (state.dag, state.row.backfill, state.row.tenant);
        self.note_run(run, reason);
        if let Some((id, _)) = backfill {
            self.look_at_backfill(tenant, id);
        }
        self.wake_followers(run);
        self.count_failures(run, to);
        self.notify_run(run, to);
        self.news(dag, true);
        self.dag_work(dag);
    }

    /// Takes a run out of what its DAG counts, before its state changes.
    pub(crate) fn leave_line(&mut self, run: RunIdx) {
        let state = self.run(run);
        let (dag, backfill, tenant) = (state.dag as usize, state.row.backfill, state.row.tenant);
        let key = (backfill.is_some(), state.row.run_after, state.seq, run);
        match state.row.state {
            RunState::Running => {
                match backfill {
                    None => self.dags[dag].running -= 1,
                    Some((id, _)) => self.count_backfill(tenant, id, -1),
                }
                if backfill.is_none() {
                    self.dags[dag].active -= 1;
                }
            }
            RunState::Queued => {
                self.dags[dag].queued.remove(&key);
                if backfill.is_none() {
                    self.dags[dag].active -= 1;
                }
            }
            RunState::Success | RunState::Failed => {}
        }
    }

    /// Pauses the DAG when so many of its last runs, by date, failed. One that is later and still open isn't failed.
    pub(crate) fn count_failures(&mut self, run: RunIdx, ended: RunState) {
        let (dag, date) = (self.run(run).dag, self.run(run).row.run_after);
        let later_open = |other: &RunIdx| {
            let other = &self.run(*other).row;
            other.run_after > date && !other.state.is_finished()
        };
        let open = self.dags[dag as usize].runs.values().any(later_open);
        let state = &mut self.dags[dag as usize];
        let most = state.plan.dag().max_consecutive_failed_runs;
        let before = state.row.failed_in_row;
        state.row.failed_in_row = if ended == RunState::Failed { before + 1 } else { 0 };
        if most > 0 && state.row.failed_in_row >= most && !open && !state.row.paused {
            self.pause_dag(dag, true);
        } else if state.row.failed_in_row != before {
            self.touch_dag(dag);
        }
    }

    /// Starts a finished run again, because instances of it were cleared or marked.
    pub(crate) fn reopen(&mut self, run: RunIdx) {
        let now = self.now;
        let state = self.run_mut(run);
        state.row.clear_number += 1;
        if !state.row.state.is_finished() {
            let Some(reason) = state.row.reason.clone() else {
                self.touch_run(run);
                return;
            };
            // It is being ended, and whoever clears tasks of it wants it to go on: as if it had ended already, with its
            // time counted anew.
            self.finish(run, RunState::Failed, Some(reason));
        }
        let state = self.run_mut(run);
        state.row.state = RunState::Queued;
        state.row.queued_at = now;
        (state.row.started_at, state.row.ended_at, state.row.reason) = (None, None, None);
        state.generation += 1;
        self.note_run(run, None);
        self.queue_run(run);
        self.past_changed(run);
    }
}

/// Whether a task other than a teardown failed.
fn failed_task(run: &Run) -> bool {
    run.tis.iter().any(|ti| ti.state == TaskState::Failed && !run.plan.tasks[ti.task as usize].teardown)
}

impl Run {
    /// What counts for a unit, counted from scratch.
    pub(crate) fn surroundings(&self, task: TaskIdx, unit: u32) -> Unit {
        let plan = &self.plan;
        let mut fresh = Unit::default();
        let teardown = plan.tasks[task as usize].teardown;
        for up in plan.ups.of(task) {
            for ti in self.instances_above(task, unit, *up) {
                fresh.up.total += 1;
                match self.tis[ti as usize].state {
                    TaskState::Success => fresh.up.success += 1,
                    TaskState::Failed => fresh.up.failed += 1,
                    TaskState::Skipped => fresh.up.skipped += 1,
                    TaskState::UpstreamFailed => fresh.up.upstream_failed += 1,
                    TaskState::Removed => fresh.up.removed += 1,
                    TaskState::None
                    | TaskState::Scheduled
                    | TaskState::Queued
                    | TaskState::Running
                    | TaskState::Restarting
                    | TaskState::UpForRetry
                    | TaskState::UpForReschedule
                    | TaskState::Deferred
                    | TaskState::AwaitingInput => {}
                }
            }
        }
        for covered in plan.covers.of(task) {
            for ti in self.instances_above(task, unit, *covered) {
                fresh.setups.scope_unfinished += u32::from(!self.tis[ti as usize].state.is_finished());
            }
        }
        for setup in &plan.tasks[task as usize].setups {
            let direct = plan.ups.of(task).contains(setup);
            for ti in self.instances_above(task, unit, *setup) {
                let ended = self.tis[ti as usize].state;
                fresh.setups.direct_total += u32::from(direct);
                fresh.setups.unfinished += u32::from(!direct && !teardown);
                if ended.is_finished() {
                    fresh.count_setup(ended, direct, teardown, 1);
                }
            }
        }
        for source in &plan.tasks[task as usize].sources {
            for ti in self.instances_above(task, unit, *source) {
                match self.tis[ti as usize].state {
                    TaskState::Failed | TaskState::UpstreamFailed => fresh.sources_failed += 1,
                    TaskState::Skipped | TaskState::Removed => {
                        fresh.sources_skipped += u32::from(!plan.tasks[*source as usize].mapped);
                    }
                    TaskState::Success => {}
                    TaskState::None
                    | TaskState::Scheduled
                    | TaskState::Queued
                    | TaskState::Running
                    | TaskState::Restarting
                    | TaskState::UpForRetry
                    | TaskState::UpForReschedule
                    | TaskState::Deferred
                    | TaskState::AwaitingInput => fresh.sources_open += 1,
                }
            }
        }
        fresh
    }
}
