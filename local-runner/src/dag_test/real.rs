//! Tasks that a test runs for real: processes of this machine, below a supervisor of the test's own.

use std::{collections::BTreeMap, path::Path};

use dags::{dag_test::TAKES, ids::DispatchId, model::Dag, time::Span};
use engine::{
    dispatch::{Dispatch, Kill, News, Report},
    rows::TaskRow,
};
use executor::{Executor as _, Work, local};
use plugins::context::AttemptContext;
use scheduler::{clock, executors::Kind, objects::Objects};
use tokio::sync::mpsc;

use super::play::Timed;
use crate::{
    Error,
    test_run::{
        Interrupt, logs,
        node::{end_processes, kill_all},
    },
};

/// Reports that may wait.
const REPORTS_MAX: usize = 1_024;
/// The last lines of a log that a difference shows.
const LOG_LINES: usize = 15;

/// The executor.
pub(super) struct Real {
    local: local::LocalExecutor,
    reports: mpsc::Receiver<Report>,
    /// Members that haven't ended, by dispatch.
    running: BTreeMap<DispatchId, u32>,
    members: BTreeMap<String, u32>,
    timeout: Span,
}

impl Real {
    pub(super) fn open(
        folder: &Path,
        objects: &Objects,
        dag: &Dag,
        timeout: Span,
    ) -> Result<(Self, local::Service), Error> {
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        let mut options = local::Options::new(folder.join("s"), &objects.results())
            .map_err(Error::path("find this program in", "/proc"))?;
        options.arguments.push("--with-parent".into());
        let (local, service) = local::open(options, sender);
        let members = dag.tasks.iter().map(|task| (task.task_id.to_string(), task.gang.max(1))).collect();
        let real = Self { local, reports, running: BTreeMap::new(), members, timeout };
        Ok((real, service))
    }

    /// Whether something runs.
    pub(super) fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// Starts an attempt.
    pub(super) async fn begin(&mut self, dispatch: Dispatch, context: AttemptContext) -> Result<(), String> {
        self.running.insert(dispatch.id, dispatch.members);
        for member in 0..dispatch.members {
            let context = AttemptContext { member, ..context.clone() };
            let work = Work { dispatch: dispatch.clone(), context };
            let submitted = self.local.submit(work).await;
            submitted.map_err(|error| format!("`{}` can't be started: {error}", dispatch.task_id))?;
        }
        Ok(())
    }

    /// Ends an attempt.
    pub(super) async fn kill(&mut self, kill: Kill) -> Result<(), String> {
        if !self.running.contains_key(&kill.id) {
            return Ok(());
        }
        self.local.kill(kill).await.map_err(|error| format!("a task can't be ended: {error}"))
    }

    /// Waits for what happens next. What runs for real takes as long on the test's clock as what is mocked, so that a slow
    /// machine makes no difference.
    pub(super) async fn next(&mut self, interrupt: &Interrupt) -> Result<Vec<Timed>, String> {
        let report = tokio::select! {
            report = self.reports.recv() => report,
            () = interrupt.end.cancelled() => return Err("it was interrupted".to_owned()),
            () = clock::sleep(self.timeout) => {
                return Err(format!("a task still runs after {}: see `--timeout`", self.timeout));
            }
        };
        let report = report.ok_or_else(|| "the executor has stopped".to_owned())?;
        if matches!(report.news, News::Ended(_)) {
            // The executor isn't told that it may forget the end: its log may be wanted.
            if let Some(left) = self.running.get_mut(&report.dispatch) {
                *left -= 1;
                if *left == 0 {
                    self.running.remove(&report.dispatch);
                }
            }
        }
        Ok(vec![(TAKES, report)])
    }

    /// The last lines of what a task instance wrote.
    pub(super) async fn log(&self, row: &TaskRow, objects: &Objects) -> Vec<String> {
        let members = self.members.get(row.task.as_str()).copied().unwrap_or(1);
        let mut log = logs::read(row, members, &Kind::Local(self.local.clone()), objects).await;
        log.lines.split_off(log.lines.len().saturating_sub(LOG_LINES))
    }

    /// Ends whatever still runs, and the supervisor.
    pub(super) async fn close(&self) -> Result<(), String> {
        if self.is_busy() {
            kill_all(&Kind::Local(self.local.clone()), Span::ZERO).await;
        }
        end_processes(&self.local).await.map_err(|error| error.to_string())
    }
}
