//! How the tasks of a run ended, kept in a file so that later runs needn't run them again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::Path,
};

use dags::{
    ids::{DagId, TaskId},
    model::{Dag, Runner, Task},
    time::Timestamp,
};
use engine::{
    dispatch::{Dispatch, End, Outcome as Ending},
    state::TaskState,
};
use scheduler::executors::{Answers, Mock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Outcome;
use crate::Error;

/// The format of the file.
const FORMAT: u32 = 1;
/// Engine tasks that decide by what was before them, in no time: with the same results they decide the same.
const DECIDE_AGAIN: [&str; 3] = ["branch", "empty", "short_circuit"];

/// A recorded run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    format: u32,
    /// The DAG.
    pub dag: DagId,
    /// What the run stood for.
    pub date: Option<Timestamp>,
    /// What it was passed.
    pub conf: Map<String, Value>,
    /// How its tasks ended.
    pub tasks: BTreeMap<TaskId, Vec<Recorded>>,
}

/// How a task instance ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The index of a mapped task's instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_index: Option<u32>,
    /// How it ended.
    pub state: RecordedState,
    /// Its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
}

/// How a task instance can be recorded to have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedState {
    /// Well.
    Success,
    /// Skipped itself, or was an approval that let nothing go on.
    Skipped,
    /// Failed after all its tries.
    Failed,
}

impl Recording {
    /// What there is to record of a run. Tasks that were mocked or left out, and those that others kept from running, aren't.
    pub fn of(outcome: &Outcome) -> Self {
        let mut tasks: BTreeMap<TaskId, Vec<Recorded>> = BTreeMap::new();
        for ended in
            outcome.tasks.iter().filter(|ended| matches!(ended.instead, None | Some(super::RECORDED)))
        {
            let row = &ended.row;
            let stopped = row.skips.as_deref().is_some_and(|skips| !skips.is_empty());
            let decides =
                outcome.dag.tasks.iter().any(|task| task.task_id == row.task && decides_again(task));
            let state = match row.state {
                TaskState::Success if stopped && !decides => RecordedState::Skipped,
                TaskState::Success => RecordedState::Success,
                TaskState::Skipped if row.started_at.is_some() => RecordedState::Skipped,
                TaskState::Failed => RecordedState::Failed,
                _ => continue,
            };
            let map_index = u32::try_from(row.map_index).ok();
            let recorded = Recorded { map_index, state, result: ended.output.clone() };
            tasks.entry(row.task.clone()).or_default().push(recorded);
        }
        let run = &outcome.run;
        let (dag, date, conf) = (run.dag_id.clone(), run.logical_date, (*run.conf).clone());
        Self { format: FORMAT, dag, date, conf, tasks }
    }

    /// Writes it to a file that others can't read: results may be confidential.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let mut text = serde_json::to_vec_pretty(self).expect("invariant: names and JSON are JSON");
        text.push(b'\n');
        let failed = || Error::path("write", path);
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Whoever is interrupted keeps the recording of before.
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .tempfile_in(folder)
            .map_err(failed())?;
        file.write_all(&text).map_err(failed())?;
        file.persist(path).map_err(|error| failed()(error.error))?;
        Ok(())
    }

    /// Reads it from a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read(path).map_err(Error::path("read", path))?;
        let wrong = |why: String| {
            Error::usage(
                format!("{} is no recording: {why}", path.display()),
                "`updraft test FILE --record FILE` makes one",
            )
        };
        let recording: Self = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if recording.format != FORMAT {
            let why = format!("its format is {}, and this program knows {FORMAT}", recording.format);
            return Err(wrong(why));
        }
        Ok(recording)
    }
}

/// Whether the task's decision is made anew from what was recorded of the tasks before it.
pub(super) fn decides_again(task: &Task) -> bool {
    task.runner == Runner::Engine && DECIDE_AGAIN.contains(&task.operator.as_str())
}

/// What tasks end with that aren't run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    /// Tasks that are mocked, stubbed or left out.
    pub(crate) mocks: BTreeMap<TaskId, Mock>,
    /// What is taken from a recording.
    pub(crate) recorded: BTreeMap<(TaskId, i32), End>,
}

impl Given {
    /// What a recording says about these tasks.
    pub(super) fn record(&mut self, recording: &Recording, tasks: &BTreeSet<TaskId>) {
        for (task, instances) in recording.tasks.iter().filter(|(task, _)| tasks.contains(*task)) {
            for recorded in instances {
                let index = recorded.map_index.and_then(|index| i32::try_from(index).ok()).unwrap_or(-1);
                self.recorded.insert((task.clone(), index), recorded.end());
            }
        }
    }

    /// Whether nothing is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.mocks.is_empty() && self.recorded.is_empty()
    }
}

impl Recorded {
    fn end(&self) -> End {
        let outcome = match self.state {
            RecordedState::Success => Ending::Success,
            RecordedState::Skipped => Ending::Skipped,
            RecordedState::Failed => Ending::FailedForGood,
        };
        End { outcome, reason: Some(super::RECORDED.to_owned()), ..End::success(self.result.clone()) }
    }
}

impl Answers for Given {
    fn end(&self, dispatch: &Dispatch) -> Option<End> {
        let recorded = self.recorded.get(&(dispatch.task_id.clone(), dispatch.map_index)).cloned();
        recorded.or_else(|| self.mocks.end(dispatch))
    }
}

/// The tasks of a recording that a run takes from it, and those that the DAG doesn't have.
pub(super) fn usable(recording: &Recording, dag: &Dag) -> Result<(BTreeSet<TaskId>, Vec<String>), Error> {
    if recording.dag != dag.dag_id {
        return Err(Error::usage(
            format!("the recording is of `{}`, and this is `{}`", recording.dag, dag.dag_id),
            "record a run of this DAG with `--record`",
        ));
    }
    let known: BTreeSet<&TaskId> = dag.tasks.iter().map(|task| &task.task_id).collect();
    let (mut usable, mut gone) = (BTreeSet::new(), Vec::new());
    for task in recording.tasks.keys() {
        if known.contains(task) {
            usable.insert(task.clone());
        } else {
            gone.push(task.to_string());
        }
    }
    Ok((usable, gone))
}
