//! Who hears of what: alerts about runs and tasks, one per cause and route.

use std::sync::Arc;

use dags::{
    ids::{AlertId, TaskId},
    model::TaskEvent,
};

use crate::{
    engine::Engine,
    rows::{AlertKind, AlertRow},
    run::{RunIdx, TiRef},
    state::{RunState, TaskState},
};

/// What is to be said about a run.
struct News {
    what: AlertKind,
    task: Option<(TaskId, i32, u32)>,
    reason: Option<Arc<str>>,
}

impl Engine {
    /// A run isn't done at its deadline number `n`.
    pub(crate) fn miss_deadline(&mut self, run: RunIdx, n: u32) {
        let state = self.run(run);
        if state.row.state.is_finished() {
            return;
        }
        let Some(deadline) = state.plan.dag().deadlines.get(n as usize) else { return };
        let reason = format!("not done within {} of when it was {}", deadline.within, deadline.from);
        // Asked again after a restart, when the timer is set again, it is the same cause.
        let cause = format!("deadline/{n}/{}", state.row.queued_at.0);
        let route: Arc<str> = deadline.notify.as_str().into();
        let news = News { what: AlertKind::Deadline, task: None, reason: Some(reason.into()) };
        self.tell(run, [route], &cause, &news);
    }

    pub(crate) fn notify_run(&mut self, run: RunIdx, to: RunState) {
        let state = self.run(run);
        let dag = state.plan.dag();
        let (routes, what) = if to == RunState::Success {
            (&dag.on_success, AlertKind::Success)
        } else {
            (&dag.on_failure, AlertKind::Failure)
        };
        if routes.is_empty() {
            return;
        }
        let routes: Vec<Arc<str>> = routes.iter().map(|route| route.notify.as_str().into()).collect();
        // A run that was cleared was queued again, and its next end is another one.
        let cause = format!("run/{}/{}", what.as_str(), state.row.queued_at.0);
        let news = News { what, task: None, reason: state.row.reason.clone() };
        self.tell(run, routes, &cause, &news);
    }

    pub(crate) fn notify_task(&mut self, at: TiRef, state: TaskState) {
        match state {
            TaskState::Failed => self.notify_about(at, TaskEvent::Failure),
            TaskState::Success => self.notify_about(at, TaskEvent::Success),
            TaskState::None
            | TaskState::Scheduled
            | TaskState::Queued
            | TaskState::Running
            | TaskState::Restarting
            | TaskState::UpForRetry
            | TaskState::UpForReschedule
            | TaskState::Deferred
            | TaskState::AwaitingInput
            | TaskState::Skipped
            | TaskState::UpstreamFailed
            | TaskState::Removed => {}
        }
    }

    pub(crate) fn notify_retry(&mut self, at: TiRef) {
        self.notify_about(at, TaskEvent::Retry);
    }

    pub(crate) fn notify_about(&mut self, at: TiRef, event: TaskEvent) {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        let model = run.plan.model(ti.task);
        let routes: Vec<Arc<str>> =
            model.notify.iter().filter(|n| n.on == event).map(|n| n.notify.as_str().into()).collect();
        if routes.is_empty() {
            return;
        }
        let what = match event {
            TaskEvent::Failure => AlertKind::Failure,
            TaskEvent::Success => AlertKind::Success,
            TaskEvent::Retry => AlertKind::Retry,
        };
        let reason = ti.live.as_ref().and_then(|live| live.reason.clone());
        self.tell_about(at, routes, what, reason);
    }

    /// Tells these routes something about an instance's current try.
    pub(crate) fn tell_about(
        &mut self,
        at: TiRef,
        routes: Vec<Arc<str>>,
        what: AlertKind,
        reason: Option<Arc<str>>,
    ) {
        if routes.is_empty() {
            return;
        }
        let (name, index) = self.task_name(at);
        let task = (name, index, self.run(at.run).tis[at.ti as usize].try_number);
        let cause = format!("task/{}/{}/{}/{}", what.as_str(), task.0, task.1, task.2);
        self.tell(at.run, routes, &cause, &News { what, task: Some(task), reason });
    }

    fn tell(&mut self, run: RunIdx, routes: impl IntoIterator<Item = Arc<str>>, cause: &str, news: &News) {
        for route in routes {
            let row = &self.run(run).row;
            let alert = AlertRow {
                tenant: row.tenant,
                id: AlertId::derive(row.run, cause, &route),
                route,
                what: news.what,
                dag_id: row.dag_id.clone(),
                run: row.run,
                run_name: row.run_name.clone(),
                task: news.task.clone(),
                reason: news.reason.clone(),
                at: self.now,
                chain_depth: row.chain_depth,
            };
            self.out.alerts.push(alert);
        }
    }
}
