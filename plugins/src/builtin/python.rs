//! `python`: Python code or a Python file, whose last expression is the task's result.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Operator, bash::ExitCodes};
use crate::operator::{Exec, Failure, Job, Step};

/// Runs around the author's code; see its own documentation.
const WRAPPER: &str = include_str!("python/run.py");
/// What few tasks need of it, beside it.
const SELDOM: &str = include_str!("python/seldom.py");

/// Runs Python code, or a Python file from beside the DAG.
///
/// The value of the last expression is the task's result and must be JSON: texts, numbers, booleans, `None`, lists and
/// dicts of them; dates, times, UUIDs and paths become texts. `None` is no result. Templates aren't rendered in the
/// code: it sees the same names as variables instead, so values arrive as they are and `{{` means what Python means by
/// it: `params`, `outputs`, `map`, `conf`, `ds`, `ts`, `logical_date`, `run_id`, `task_id`, `var`, ...; `context` holds
/// them all, also for modules: `from updraft import context`. Modules beside the DAG can be imported.
///
/// `raise updraft.Skip("why")` skips the task, `raise updraft.Fail("why")` fails it without retries.
/// `updraft.connection("name")` gives a connection that the task lists under `connections`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["code"]}, {"required": ["file"]}]))]
pub(crate) struct Python {
    /// The code.
    pub(crate) code: Option<String>,
    /// A file to run instead of `code`.
    pub(crate) file: Option<String>,
    /// The interpreter, a name to look up in `PATH` or an absolute path.
    #[serde(default = "python3")]
    pub(crate) interpreter: String,
    /// A virtual environment to use instead of `interpreter`: an absolute path, or one relative to the DAG's files.
    pub(crate) venv: Option<String>,
    /// What the code finds in `sys.argv[1:]`.
    #[serde(default)]
    pub(crate) args: Vec<Value>,
    /// Connections that the code may ask for.
    #[serde(default)]
    pub(crate) connections: Vec<String>,
    /// Variables that the code uses, as `var.value.name` or `var.json.name`.
    #[serde(default)]
    #[expect(dead_code, reason = "read by `needs`, before the attempt")]
    pub(crate) variables: Vec<String>,
    /// The exit code, or codes, that skip the task.
    #[serde(default)]
    #[expect(dead_code, reason = "read by `operator::exited`, after Python has replaced this process")]
    pub(crate) skip_on_exit_code: ExitCodes,
}

fn python3() -> String {
    "python3".to_owned()
}

impl Operator for Python {
    const NAME: &'static str = "python";
    const MAIN: Option<&'static str> = Some("code");
    const TEMPLATED: &'static [&'static str] = &["args"];
    const FILES: &'static [&'static str] = &["file"];
    const CONNECTIONS: &'static [&'static str] = &["connections"];

    fn step(self, job: &Job<'_>) -> Result<Step, Failure> {
        let folder = job.dirs.private();
        let (wrapper, request) = (folder.join("run.py"), folder.join("request.json"));
        let seldom = folder.join("seldom.py");
        let source = match (&self.code, &self.file) {
            (Some(code), None) => json!({"code": code}),
            (None, Some(file)) => json!({"file": job.bundle_file(file)?}),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Failure::Invalid {
                    operator: Self::NAME.to_owned(),
                    why: "give either `code` or `file`".to_owned(),
                });
            }
        };
        let mut connections = serde_json::Map::new();
        for name in &self.connections {
            let connection =
                serde_json::to_value(job.connection(name)?).expect("invariant: a connection is JSON");
            connections.insert(name.clone(), connection);
        }
        let body = json!({
            "source": source,
            "task": job.ctx.task.task_id,
            "names": names(job),
            "mapped": job.ctx.task.map_index >= 0,
            "connections": connections,
            "bundle": job.ctx.bundle_dir,
            "argv": self.args.iter().map(argument).collect::<Vec<_>>(),
        });
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let mut env = job.environment()?;
        env.entry("PYTHONUNBUFFERED".to_owned()).or_insert_with(|| "1".to_owned());
        env.entry("PYTHONDONTWRITEBYTECODE".to_owned()).or_insert_with(|| "1".to_owned());
        Ok(Step::Exec(Exec {
            program: self.program(job)?,
            args: vec![path(&wrapper), path(&request)],
            env,
            cwd: Some(job.ctx.bundle_dir.clone()),
            files: vec![
                (wrapper, WRAPPER.into()),
                (seldom, SELDOM.into()),
                (request, body.to_string().into_bytes()),
            ],
        }))
    }
}

impl Python {
    fn program(&self, job: &Job<'_>) -> Result<String, Failure> {
        let Some(venv) = &self.venv else { return Ok(self.interpreter.clone()) };
        let folder = if Path::new(venv).is_absolute() { venv.into() } else { job.bundle_file(venv)? };
        // The link itself is started, not what it points to: that is how Python finds the environment.
        let program = folder.join("bin/python");
        if program.exists() {
            Ok(program.to_string_lossy().into_owned())
        } else {
            let why = format!("`venv: {venv}` has no `bin/python`: create it with `python3 -m venv`");
            Err(Failure::Invalid { operator: Self::NAME.to_owned(), why })
        }
    }
}

/// What the code sees: the templates' names but for connections, and a few that Python authors expect as variables.
fn names(job: &Job<'_>) -> Value {
    let mut names = job.renderer.names().clone();
    if let Value::Object(names) = &mut names {
        let (run, task) = (&job.ctx.run, &job.ctx.task);
        names.remove("conn");
        names.insert("conf".to_owned(), run.conf.clone().into());
        names.insert("dag_id".to_owned(), run.dag_id.as_str().into());
        names.insert("task_id".to_owned(), task.task_id.as_str().into());
        names.insert("try_number".to_owned(), task.try_number.into());
    }
    names
}

fn argument(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
