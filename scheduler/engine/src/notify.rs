//! Who hears of what: notifications about runs and tasks.

use dags::model::TaskEvent;

use crate::{
    engine::{Alert, Engine},
    run::{RunIdx, TiRef},
    state::{RunState, TaskState},
};

impl Engine {
    pub(crate) fn miss_deadline(&mut self, run: RunIdx, n: u32) {
        let state = self.run(run);
        if state.row.state.is_finished() {
            return;
        }
        let Some(deadline) = state.plan.dag().deadlines.get(n as usize) else { return };
        let reason = format!("not done within {} of when it was {}", deadline.within, deadline.from);
        self.out.effects.alerts.push(Alert {
            tenant: state.row.tenant,
            route: deadline.notify.clone(),
            dag_id: state.row.dag_id.clone(),
            run_name: state.row.run_name.clone(),
            task: None,
            what: "deadline",
            reason: Some(reason.into()),
        });
    }

    pub(crate) fn notify_run(&mut self, run: RunIdx, to: RunState) {
        let state = self.run(run);
        let dag = state.plan.dag();
        let (routes, what) =
            if to == RunState::Success { (&dag.on_success, "success") } else { (&dag.on_failure, "failure") };
        let alerts: Vec<Alert> = routes
            .iter()
            .map(|route| Alert {
                tenant: state.row.tenant,
                route: route.notify.clone(),
                dag_id: state.row.dag_id.clone(),
                run_name: state.row.run_name.clone(),
                task: None,
                what,
                reason: state.row.reason.clone(),
            })
            .collect();
        self.out.effects.alerts.extend(alerts);
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
        let alerts: Vec<Alert> = model
            .notify
            .iter()
            .filter(|notify| notify.on == event)
            .map(|notify| Alert {
                tenant: run.row.tenant,
                route: notify.notify.clone(),
                dag_id: run.row.dag_id.clone(),
                run_name: run.row.run_name.clone(),
                task: Some((model.task_id.clone(), ti.map_index)),
                what: event.as_str(),
                reason: ti.live.as_ref().and_then(|live| live.reason.clone()),
            })
            .collect();
        self.out.effects.alerts.extend(alerts);
    }
}
