//! A context to start from, and what the supervisor does with a planned program, in short.

use std::{collections::BTreeMap, path::Path, process::Command};

use dags::{
    ids::{AttemptId, DagId, DispatchId, RunId, RunName, TaskId, TenantId},
    time::Span,
};
use plugins::{
    context::{AttemptContext, Connection, RunContext, TaskContext},
    operator::{Dirs, Exec, Failure, Finished, Outcome, Step, exited, prepare},
    policy::Policy,
};
use serde_json::{Map, Value, json};

/// An attempt in folders of its own.
pub(crate) struct Attempt {
    pub(crate) ctx: AttemptContext,
    pub(crate) dirs: Dirs,
    folder: tempfile::TempDir,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) result: Option<Value>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Attempt {
    /// An attempt of this operator; every argument that has an expression is rendered.
    pub(crate) fn of(operator: &str, args: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bundle, work) = (folder.path().join("bundle"), folder.path().join("work"));
        std::fs::create_dir(&bundle).unwrap();
        std::fs::create_dir(&work).unwrap();
        let args: Map<String, Value> = args.as_object().unwrap().clone();
        let templated =
            args.iter().filter(|(_, v)| v.to_string().contains("{{")).map(|(k, _)| k.clone()).collect();
        let dag_id = DagId::parse("daily").unwrap();
        let task_id = TaskId::parse("load").unwrap();
        let run_name = RunName::parse("scheduled__2026-01-02T03:00:00+00:00").unwrap();
        let run_id = RunId::derive(TenantId::DEFAULT, &dag_id, &run_name, 0);
        let ctx = AttemptContext {
            dispatch: DispatchId { attempt: AttemptId::derive(run_id, &task_id, -1, 1), n: 1 },
            member: 0,
            members: 1,
            tenant: TenantId::DEFAULT,
            task: TaskContext {
                task_id,
                map_index: -1,
                try_number: 1,
                max_tries: 3,
                waited: Span::ZERO,
                operator: operator.to_owned(),
                args,
                templated,
                env: BTreeMap::new(),
                timeout: None,
                memory_bytes: 0,
                cpu_milli: 0,
                gpu: None,
                pod: None,
            },
            run: RunContext {
                dag_id,
                run_name,
                run_type: "scheduled".to_owned(),
                logical_date: Some("2026-01-02T03:00:00Z".parse().unwrap()),
                data_interval_start: Some("2026-01-01T03:00:00Z".parse().unwrap()),
                data_interval_end: Some("2026-01-02T03:00:00Z".parse().unwrap()),
                run_after: "2026-01-02T03:00:00Z".parse().unwrap(),
                previous: None,
                asset_events: BTreeMap::new(),
                sample: None,
                timezone: "UTC".to_owned(),
                params: json!({"region": "eu", "odd": "a b;c"}).as_object().unwrap().clone(),
                conf: Map::new(),
            },
            bundle_dir: bundle,
            outputs: BTreeMap::from([(TaskId::parse("stores").unwrap(), json!(["berlin", "paris"]))]),
            map: Map::new(),
            secret_variables: std::collections::BTreeSet::new(),
            variables: BTreeMap::new(),
            connections: BTreeMap::new(),
            policy: Policy::default(),
        };
        let dirs = Dirs { result_file: work.join("result.json"), work };
        Self { ctx, dirs, folder }
    }

    /// Puts a file beside the DAG.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let full = self.ctx.bundle_dir.join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(full, text).unwrap();
        self
    }

    /// Grants a connection.
    pub(crate) fn connection(mut self, name: &str, connection: Connection) -> Self {
        self.ctx.connections.insert(name.to_owned(), connection);
        self
    }

    /// A folder that outlives the attempt's own.
    pub(crate) fn outside(&self) -> &Path {
        self.folder.path()
    }

    /// Only prepares it.
    pub(crate) fn prepare(&self) -> Result<Step, Failure> {
        prepare(&self.ctx, &self.dirs)
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Ended {
        match self.prepare().unwrap_or_else(|e| panic!("{e}")) {
            Step::Done(Finished { outcome, result }) => {
                Ended { outcome, result, stdout: String::new(), stderr: String::new() }
            }
            Step::Exec(exec) => self.execute(&exec),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the test's own programs are found where the test's are")]
    fn execute(&self, exec: &Exec) -> Ended {
        for (path, bytes) in &exec.files {
            assert!(path.starts_with(&self.dirs.work), "{path:?} is outside of the attempt's folder");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let output = Command::new(&exec.program)
            .args(&exec.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(&exec.env)
            .current_dir(exec.cwd.as_ref().unwrap_or(&self.dirs.work))
            .output()
            .unwrap();
        let result = std::fs::read(&self.dirs.result_file).ok();
        Ended {
            outcome: exited(&self.ctx, &self.dirs, output.status.code().unwrap()),
            result: result.map(|bytes| serde_json::from_slice(&bytes).unwrap()),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A connection with nothing but a type.
pub(crate) fn connection(conn_type: &str) -> Connection {
    Connection {
        conn_type: conn_type.to_owned(),
        host: None,
        port: None,
        schema: None,
        login: None,
        password: None,
        extra: Map::new(),
    }
}

/// A failure with this reason.
pub(crate) fn failed(reason: &str) -> Outcome {
    Outcome::Failed { reason: reason.to_owned() }
}
