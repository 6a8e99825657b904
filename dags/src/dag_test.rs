//! Tests of DAGs as data: what a `*.test.yaml` file says.
//!
//! [`read`] makes them from text, with the diagnostics of DAG files; [`check`] compares the names in one with the DAG that
//! it is about. Who runs them is not known here. Every value that can turn out wrong remembers where it was written, so
//! that a difference can be shown there.

use serde_json::{Map, Value};

pub use crate::compile::dag_test::{
    ALERT_KEYS, ALERT_KINDS, ANSWER_KEYS, EXPECT_KEYS, GIVEN_KEYS, MOCK_KEYS, RUN_STATES, TASK_EXPECT_KEYS,
    TASK_STATES, TEST_KEYS, check, read,
};
use crate::{
    time::{Span, Timestamp},
    tree::ByteRange,
};

/// How the names of files with tests end. They are no DAG files.
pub const SUFFIXES: [&str; 2] = [".test.yaml", ".test.yml"];

/// Whether a path is that of a file with tests.
pub fn is_test_file(path: &str) -> bool {
    SUFFIXES.iter().any(|suffix| path.ends_with(suffix))
}

/// How long a mocked try takes if nothing is said.
pub const TAKES: Span = Span::seconds(1);

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: ByteRange,
}

/// One test: a run of a DAG under given circumstances, and what must come of it.
#[derive(Debug, Clone, PartialEq)]
pub struct DagTest {
    /// What is tested, in words.
    pub name: Placed<String>,
    /// The DAG file, relative to the file of the test.
    pub file: Placed<String>,
    /// Which DAG of the file, if it has several.
    pub dag: Option<Placed<String>>,
    /// The folder of DAGs, relative to the file of the test; the DAG file's own if absent.
    pub root: Option<Placed<String>>,
    /// The circumstances.
    pub given: Given,
    /// How tasks end that aren't run, in the order of the file.
    pub mocks: Vec<Mock>,
    /// Tasks that are run for real, as patterns.
    pub run: Vec<Placed<String>>,
    /// What must come of it.
    pub expect: Expect,
}

/// The circumstances of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given {
    /// What the run stands for.
    pub date: Option<Timestamp>,
    /// The time at which it is asked for.
    pub now: Option<Timestamp>,
    /// Parameters.
    pub params: Map<String, Value>,
    /// Where `params` was written.
    pub params_span: ByteRange,
    /// Whatever else the run is passed.
    pub conf: Map<String, Value>,
    /// Variables.
    pub variables: Map<String, Value>,
    /// Connections as URLs.
    pub connections: Vec<(String, Placed<String>)>,
    /// What people answer.
    pub answers: Vec<GivenAnswer>,
}

/// What somebody answers to a task that asks people.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenAnswer {
    /// The task.
    pub task: Placed<String>,
    /// What is chosen of the options.
    pub choose: Vec<String>,
    /// What is given beside the choice.
    pub params: Map<String, Value>,
    /// How long after the question.
    pub after: Span,
    /// Who answers.
    pub by: String,
}

/// Which task instances are meant: a name, or a pattern with `*` and `?`, and an index of a mapped task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The name or pattern.
    pub task: String,
    /// The map index; all if absent.
    pub index: Option<i32>,
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}[{index}]", self.task),
            None => f.write_str(&self.task),
        }
    }
}

/// How task instances end that aren't run.
#[derive(Debug, Clone, PartialEq)]
pub struct Mock {
    /// Which.
    pub of: Placed<Selector>,
    /// One for each try; the last stands for all that follow. Never empty.
    pub tries: Vec<Try>,
}

/// How one try ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Try {
    /// How.
    pub ends: Ends,
    /// What it returns.
    pub result: Option<Value>,
    /// How long it takes.
    pub takes: Span,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// The exit code of its process.
    pub exit_code: Option<i32>,
    /// What a branch follows.
    pub follow: Option<Vec<String>>,
}

impl Default for Try {
    fn default() -> Self {
        Self { ends: Ends::Success, result: None, takes: TAKES, reason: None, exit_code: None, follow: None }
    }
}

/// The ends of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// It did what it should.
    Success,
    /// It didn't; the task's retries apply.
    Failed,
    /// It didn't, and isn't repeated.
    FailedForGood,
    /// It ran longer than it may; the task's retries apply.
    TimedOut,
    /// It asked to be skipped.
    Skipped,
    /// Its machine is gone; the task's retries apply.
    Lost,
}

impl Ends {
    /// Every end with the word that authors write.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("success", Self::Success),
        ("failed", Self::Failed),
        ("failed_for_good", Self::FailedForGood),
        ("timed_out", Self::TimedOut),
        ("skipped", Self::Skipped),
        ("lost", Self::Lost),
    ];
}

/// What must come of a run. What isn't said isn't looked at, but for the run's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    /// The run's state; `success` if nothing is said.
    pub state: Placed<String>,
    /// A text that the reason of the run's state contains.
    pub reason: Option<Placed<String>>,
    /// Task instances.
    pub tasks: Vec<(Placed<Selector>, TaskExpect)>,
    /// Tasks in an order: each starts when all instances of the one before it have ended.
    pub order: Vec<Placed<String>>,
    /// What branches follow.
    pub branch: Vec<(Placed<String>, Placed<Vec<String>>)>,
    /// All alerts, in order.
    pub alerts: Option<Placed<Vec<AlertExpect>>>,
    /// All assets that were updated, in order.
    pub assets: Option<Placed<Vec<String>>>,
    /// The times of the next scheduled runs, seen from `now` or the date.
    pub next_runs: Option<Placed<Vec<Timestamp>>>,
    /// How long the run takes, in whole seconds.
    pub duration: Option<Placed<Span>>,
    /// Rhai scripts that must come to `true`.
    pub check: Vec<Placed<String>>,
    /// Whether everything must be as in the file beside the test.
    pub snapshot: bool,
}

/// What must come of task instances.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskExpect {
    /// The state.
    pub state: Option<Placed<String>>,
    /// How many tries there were.
    pub tries: Option<Placed<u32>>,
    /// How many instances a mapped task has.
    pub instances: Option<Placed<u32>>,
    /// The result.
    pub result: Option<Placed<Value>>,
    /// Parameters of the operator as they are after rendering, by name; the operator's own name is its main field.
    pub rendered: Vec<(String, Placed<Value>)>,
    /// A text that the reason contains.
    pub reason: Option<Placed<String>>,
    /// When the last try started, counted from the run's start, in whole seconds.
    pub starts: Option<Placed<Span>>,
}

/// An alert that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertExpect {
    /// What it is about.
    pub kind: String,
    /// The route.
    pub to: String,
    /// The task, if it is about one.
    pub task: Option<String>,
}
