//! How an attempt becomes a program to run or an answer.
//!
//! [`prepare`] is called by a small process that lives as long as the attempt. Operators that start a program
//! (`bash`, `python`) return [`Step::Exec`] and that process becomes the program; the others (`http`, `sql`,
//! sensors) do their work inside the call, write their log lines to stderr and return [`Step::Done`].

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dags::time::Span;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    builtin::{self, Builtin},
    context::{AttemptContext, Connection},
    template::Renderer,
    user,
};

mod exit;
mod failure;

pub use exit::{GIVE_UP_EXIT_CODE, SKIP_EXIT_CODE, exited};
pub use failure::Failure;

/// What is to happen next with an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Become this program; [`exited`] reads its exit code.
    Exec(Exec),
    /// It has ended.
    Done(Finished),
}

/// A program to become.
#[derive(Debug, Clone, PartialEq)]
pub struct Exec {
    /// The program, a path or a name to look up in `PATH`.
    pub program: String,
    /// Its arguments, without its own name.
    pub args: Vec<String>,
    /// Variables to set on top of the environment that the supervisor gives.
    pub env: BTreeMap<String, String>,
    /// The folder to run in; the attempt's own if absent.
    pub cwd: Option<PathBuf>,
    /// Files to write first, readable by their owner only. The paths lie in the attempt's folder and are absolute.
    pub files: Vec<(PathBuf, Vec<u8>)>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    /// The outcome.
    pub outcome: Outcome,
    /// What it returned; a file at [`Dirs::result_file`] counts only if this is absent.
    #[serde(default)]
    pub result: Option<Value>,
}

/// The outcome of an attempt, seen by its operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did what it should.
    Success,
    /// It didn't; the task's retries apply.
    Failed {
        /// Why, in a sentence for people.
        reason: String,
    },
    /// It didn't, and repeating it is pointless.
    FailedForGood {
        /// Why, in a sentence for people.
        reason: String,
    },
    /// It asks to be skipped.
    Skipped {
        /// Why, in a sentence for people.
        reason: String,
    },
    /// It asks to be called again, in the same try.
    Reschedule {
        /// After this long.
        after: Span,
    },
}

/// The folders of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// The attempt's own folder, empty, writable, gone when it has ended.
    pub work: PathBuf,
    /// Where the result is written as JSON; `$UPDRAFT_RESULT` for programs.
    pub result_file: PathBuf,
}

impl Dirs {
    /// The folder for files that an operator itself needs.
    pub(crate) fn private(&self) -> PathBuf {
        self.work.join(".updraft")
    }

    /// Where a program may write the reason of its failure; `$UPDRAFT_REASON`.
    pub fn reason_file(&self) -> PathBuf {
        self.private().join("reason")
    }
}

impl Finished {
    /// It did what it should and returned this.
    pub(crate) fn success(result: Option<Value>) -> Self {
        Self { outcome: Outcome::Success, result }
    }

    /// It didn't.
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed { reason: reason.into() }, result: None }
    }

    /// It didn't, and repeating it is pointless.
    pub(crate) fn failed_for_good(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::FailedForGood { reason: reason.into() }, result: None }
    }
}

/// Renders the task's parameters and runs its operator, or plans the program that does.
///
/// In-process operators block until they are done. A failure is one of preparation; what an operator's work comes
/// to, success or not, is in [`Step::Done`].
pub fn prepare(ctx: &AttemptContext, dirs: &Dirs) -> Result<Step, Failure> {
    match builtin::find(&ctx.task.operator) {
        Some(operator) => step(operator, ctx, dirs),
        None => user::step(&Job { ctx, dirs, renderer: &Renderer::new(ctx) }),
    }
}

/// The same for an operator of which [`becomes_program`] is true; nothing else is known here, so whoever calls only this
/// is a small program, and starts fast.
pub fn prepare_program(ctx: &AttemptContext, dirs: &Dirs) -> Result<Step, Failure> {
    match builtin::find_program(&ctx.task.operator) {
        Some(operator) => step(operator, ctx, dirs),
        None => Err(Failure::Invalid {
            operator: ctx.task.operator.clone(),
            why: "its attempts don't become programs".to_owned(),
        }),
    }
}

/// Whether the attempt of a task of this operator becomes a program.
pub fn becomes_program(operator: &str) -> bool {
    builtin::find_program(operator).is_some()
}

fn step(operator: &Builtin, ctx: &AttemptContext, dirs: &Dirs) -> Result<Step, Failure> {
    let renderer = Renderer::new(ctx);
    let job = Job { ctx, dirs, renderer: &renderer };
    let (templated, code) = (operator.templated, operator.code);
    let args = render_args(ctx, &renderer, |name| templated.contains(&name), |name| code.contains(&name))?;
    (operator.step)(operator, args, &job)
}

/// The task's parameters, those rendered that are templates; of these, some are code.
pub(crate) fn render_args(
    ctx: &AttemptContext,
    renderer: &Renderer<'_>,
    templated: impl Fn(&str) -> bool,
    code: impl Fn(&str) -> bool,
) -> Result<Map<String, Value>, Failure> {
    let mut args = ctx.task.args.clone();
    for name in ctx.task.templated.iter().filter(|name| templated(name)) {
        if let Some(value) = args.get_mut(name) {
            renderer.render_in_place(name, value, code(name))?;
        }
    }
    Ok(args)
}

/// What an operator works with.
pub(crate) struct Job<'a> {
    pub(crate) ctx: &'a AttemptContext,
    pub(crate) dirs: &'a Dirs,
    pub(crate) renderer: &'a Renderer<'a>,
}

impl Job<'_> {
    /// The variables of a program: what tells it who it is, then the task's own `env`, rendered.
    pub(crate) fn environment(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut env = identity(self.ctx, self.dirs);
        for (name, text) in &self.ctx.task.env {
            let value = self.renderer.text(&format!("env.{name}"), text, false)?;
            env.insert(name.clone(), value.into_owned());
        }
        Ok(env)
    }

    /// A connection that the task names.
    pub(crate) fn connection(&self, name: &str) -> Result<&Connection, Failure> {
        self.ctx.connections.get(name).ok_or_else(|| Failure::NoConnection(name.to_owned()))
    }

    /// The path of a file of the bundle; it lies inside, also after links are followed.
    pub(crate) fn bundle_file(&self, path: &str) -> Result<PathBuf, Failure> {
        inside(&self.ctx.bundle_dir, path)
    }

    /// The text of a file of the bundle, its templates rendered as code.
    pub(crate) fn rendered_file(&self, path: &str) -> Result<String, Failure> {
        let full = self.bundle_file(path)?;
        let text = std::fs::read_to_string(&full)
            .map_err(|source| Failure::File { path: path.to_owned(), source })?;
        self.renderer.text(path, &text, true).map(Cow::into_owned)
    }
}

/// A path beneath a folder: relative, without `..`, and there.
pub(crate) fn inside(folder: &Path, path: &str) -> Result<PathBuf, Failure> {
    let plain = |c: std::path::Component<'_>| {
        matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir)
    };
    if path.is_empty() || !Path::new(path).components().all(plain) {
        return Err(Failure::Outside(path.to_owned()));
    }
    let io = |source| Failure::File { path: path.to_owned(), source };
    let full = folder.join(path).canonicalize().map_err(io)?;
    let folder = folder.canonicalize().map_err(io)?;
    if full.starts_with(&folder) { Ok(full) } else { Err(Failure::Outside(path.to_owned())) }
}

/// The path of a file to write in the attempt's folder; its parents are made.
pub(crate) fn scratch_file(dirs: &Dirs, path: &str) -> Result<PathBuf, Failure> {
    let plain = |c: std::path::Component<'_>| matches!(c, std::path::Component::Normal(_));
    if path.is_empty() || !Path::new(path).components().all(plain) {
        return Err(Failure::Outside(path.to_owned()));
    }
    let full = dirs.work.join(path);
    let parent = full.parent().unwrap_or(&dirs.work);
    std::fs::create_dir_all(parent).map_err(|source| Failure::File { path: path.to_owned(), source })?;
    Ok(full)
}

fn identity(ctx: &AttemptContext, dirs: &Dirs) -> BTreeMap<String, String> {
    let (run, task) = (&ctx.run, &ctx.task);
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut env: BTreeMap<String, String> = [
        ("UPDRAFT_RESULT", path(&dirs.result_file)),
        ("UPDRAFT_REASON", path(&dirs.reason_file())),
        ("UPDRAFT_WORK", path(&dirs.work)),
        ("UPDRAFT_BUNDLE", path(&ctx.bundle_dir)),
        ("UPDRAFT_ATTEMPT", ctx.dispatch.attempt.to_string()),
        ("UPDRAFT_DAG_ID", run.dag_id.to_string()),
        ("UPDRAFT_RUN_ID", run.run_name.to_string()),
        ("UPDRAFT_TASK_ID", task.task_id.to_string()),
        ("UPDRAFT_MAP_INDEX", task.map_index.to_string()),
        ("UPDRAFT_TRY_NUMBER", task.try_number.to_string()),
        // Airflow's names, so that programs written for it run unchanged.
        ("AIRFLOW_CTX_DAG_ID", run.dag_id.to_string()),
        ("AIRFLOW_CTX_TASK_ID", task.task_id.to_string()),
        ("AIRFLOW_CTX_DAG_RUN_ID", run.run_name.to_string()),
        ("AIRFLOW_CTX_TRY_NUMBER", task.try_number.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(date) = run.logical_date {
        env.insert("UPDRAFT_LOGICAL_DATE".to_owned(), date.airflow());
        env.insert("AIRFLOW_CTX_LOGICAL_DATE".to_owned(), date.airflow());
    }
    if ctx.members > 1 {
        env.extend(rendezvous(ctx).map(|(name, value)| (name.to_owned(), value)));
    }
    env
}

/// Ports below those that systems give to clients by themselves.
const RENDEZVOUS_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How the members of a gang find each other, in the words of PyTorch. All of them run on one machine.
fn rendezvous(ctx: &AttemptContext) -> [(&'static str, String); 6] {
    let (rank, size) = (ctx.member.to_string(), ctx.members.to_string());
    // The same for all members of a dispatch, and another one for those beside it. Nobody keeps it free for them.
    let ports = u128::from(RENDEZVOUS_PORTS.end - RENDEZVOUS_PORTS.start);
    let offset = (ctx.dispatch.attempt.0.as_u128() ^ u128::from(ctx.dispatch.n)) % ports;
    let port = u128::from(RENDEZVOUS_PORTS.start) + offset;
    [
        ("RANK", rank.clone()),
        ("WORLD_SIZE", size.clone()),
        ("LOCAL_RANK", rank),
        ("LOCAL_WORLD_SIZE", size),
        ("MASTER_ADDR", "127.0.0.1".to_owned()),
        ("MASTER_PORT", port.to_string()),
    ]
}

/// Runs asynchronous work to its end, in a runtime that lives as long.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Machine { what: "start the runtime", source })?;
    Ok(runtime.block_on(work))
}

/// Reads rendered parameters into an operator's struct.
pub(crate) fn read<P: serde::de::DeserializeOwned>(
    operator: &Builtin,
    args: Map<String, Value>,
) -> Result<P, Failure> {
    serde_json::from_value(Value::Object(args))
        .map_err(|source| Failure::Params { operator: operator.name.to_owned(), source })
}
