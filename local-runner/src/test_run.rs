//! `updraft test`: one run of one DAG in this process, with the engine, the shell and the local executor of the service.
//!
//! The journal is in memory and everything on disk is in a folder of its own, so nothing of the run is left when it is
//! over. [`prepare`] makes the copy of the DAG that is activated, [`node`] is the service around it, [`logs`] finds what
//! tasks wrote before it is gone, [`report`] shows how it ended.

mod elsewhere;
pub(crate) mod logs;
pub(crate) mod node;
pub(crate) mod prepare;
pub(crate) mod progress;
mod recording;
mod report;
pub(crate) mod select;

use std::{collections::BTreeMap, io::Write, path::PathBuf};

use api::v1::policies::Policies;
use dags::{
    canonical, conf,
    diagnostic::{Diagnostic, Source},
    ids::{BundleId, RunId, TenantId},
    model::Dag,
    time::{Span, Timestamp},
};
use engine::{
    command::{ActivatedDag, Base, Command, Trigger},
    rows::{RunRow, TaskRow},
    state::{RunState, TaskState},
};
use plugins::{context::Connection, policy::Policy};
use scheduler::{
    bundle,
    facts::{MemoryFacts, SharedJournal},
    objects::Objects,
};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use self::{logs::Log, prepare::Prepared};
pub use self::{
    recording::{Recorded, RecordedState, Recording},
    report::{json, show_logs, text},
};
use crate::{
    Error, connection,
    load::{Folder, Target},
};

/// The name of the one executor.
const EXECUTOR: &str = "local";
/// Whose run it is.
const TENANT: TenantId = TenantId::DEFAULT;
/// Why an instance didn't run that ended as it was recorded.
const RECORDED: &str = "recorded";

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The file.
    pub path: PathBuf,
    /// The folder that becomes the bundle; the file's own if absent.
    pub root: Option<PathBuf>,
    /// Which DAG of the file.
    pub dag: Option<String>,
    /// What the run stands for; the present instant if absent.
    pub date: Option<Timestamp>,
    /// Parameters as they were written.
    pub params: Vec<(String, String)>,
    /// Whatever else the run is passed.
    pub conf: Map<String, Value>,
    /// Patterns of the tasks to run; all if empty.
    pub tasks: Vec<String>,
    /// Patterns of tasks with which to begin; with the first ones if empty. Not together with `tasks`.
    pub from: Vec<String>,
    /// Patterns of tasks with which to end; with the last ones if empty. Not together with `tasks`.
    pub until: Vec<String>,
    /// A file with the recorded ends of tasks that aren't run.
    pub replay: Option<PathBuf>,
    /// By executor, how its tasks run here: `process` or `stub`.
    pub executors: Vec<(String, String)>,
    /// How much of their data tasks should take.
    pub sample: Option<u64>,
    /// The policies of a tenant that the run is held to.
    pub policies: Option<Policies>,
    /// Patterns of tasks that end without running, and how.
    pub mocks: Vec<(String, String)>,
    /// Variables.
    pub variables: BTreeMap<String, String>,
    /// Connections as URLs.
    pub connections: BTreeMap<String, String>,
    /// Wait as long before retries as the DAG says.
    pub real_delays: bool,
    /// How long the run may take.
    pub timeout: Option<Span>,
    /// Keep the logs of all tasks for the report, not only of those that failed.
    pub all_logs: bool,
}

/// What ends a run before its time.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    /// End it in order: what runs gets TERM.
    pub end: CancellationToken,
    /// End it now: what runs gets KILL.
    pub now: CancellationToken,
}

/// Why a run was ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Somebody asked.
    Interrupted,
    /// It took longer than it may.
    Timeout,
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    /// The DAG that was run: a copy, changed so that it can be tried out.
    pub dag: Dag,
    /// The run.
    pub run: RunRow,
    /// Its task instances in an order in which tasks can run.
    pub tasks: Vec<Ended>,
    /// How long it took.
    pub elapsed: std::time::Duration,
    /// Why it was ended before its time, if it was.
    pub cut: Option<Cut>,
    /// What to know about the run.
    pub notes: Vec<String>,
}

/// How a task instance ended.
#[derive(Debug)]
pub struct Ended {
    /// Its row.
    pub row: TaskRow,
    /// Why it didn't run, if it was mocked or left out.
    pub instead: Option<&'static str>,
    /// Its result.
    pub output: Option<Value>,
    /// What it wrote, if that was asked for or it failed.
    pub log: Option<Log>,
}

impl Outcome {
    /// Whether everything went well.
    pub fn succeeded(&self) -> bool {
        self.run.state == RunState::Success && self.cut.is_none()
    }
}

/// A file that can't be run, with everything that is wrong with it.
pub type Problems = Vec<(Diagnostic, Source)>;

/// Compiles the file and runs its DAG once. `progress` gets a line for whatever happens; `problems` what is wrong with
/// the file.
pub async fn run(
    request: &Request,
    interrupt: &Interrupt,
    progress: &mut dyn Write,
    colour: bool,
    problems: &mut Problems,
) -> Result<Outcome, Error> {
    let target = Target::of(&request.path, request.root.as_deref())?;
    let shown = request.path.display().to_string();
    let file = target.file.ok_or_else(|| {
        Error::usage(format!("{shown} is a folder"), "name the file of one DAG, such as `dags/hello.yaml`")
    })?;
    let (mut folder, scan) = Folder::open(&target.root)?;
    problems.append(&mut folder.problems);
    if let Some(policies) = &request.policies {
        folder = folder.on(&policies.installation);
    }
    let compiled = folder.compile_as(&file, &shown).await;
    let broken = compiled.compiled.has_errors();
    for diagnostic in compiled.compiled.diagnostics {
        problems.push((diagnostic, compiled.source.clone()));
    }
    if broken {
        let errors = problems.iter().filter(|(d, _)| d.severity == dags::diagnostic::Severity::Error).count();
        return Err(Error::Broken { file: shown, errors });
    }
    let dag = Folder::choose(&shown, compiled.compiled.dags, request.dag.as_deref())?;
    let recording = request.replay.as_deref().map(Recording::read).transpose()?;
    let (request, unlike) = &as_recorded(request, recording.as_ref());
    let conf = conf_of(&dag, request)?;
    if let Some(policies) = &request.policies {
        elsewhere::check(policies, &dag, |path| std::fs::read_to_string(folder.root.join(path)).ok())?;
    }
    let chosen = select::choose(&dag, request, recording)?;
    let prepared = prepare::prepare(dag, chosen, request.real_delays);

    let scratch = tempfile::Builder::new().prefix("updraft-").tempdir();
    let scratch = scratch.map_err(Error::path("make a folder in", std::env::temp_dir()))?;
    let place = scratch.path().canonicalize().map_err(Error::path("find", scratch.path()))?;
    let data = place.join("data");
    std::fs::create_dir(&data).map_err(Error::path("make", &data))?;
    let (connections, policy) = connections(request, &data)?;
    let variables: BTreeMap<String, Value> =
        request.variables.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
    prepare::check_answers(&prepared)?;
    prepare::check_needs(
        &prepared,
        |path| std::fs::read_to_string(folder.root.join(path)).ok(),
        &variables.keys().map(String::as_str).collect(),
        &connections.keys().map(String::as_str).collect(),
    )?;
    let objects = Objects::open(&place.join("objects")).map_err(Error::path("make a folder in", &place))?;
    bundle::store(&scan, &objects)?;
    let journal = SharedJournal::default();
    ask(&journal, &prepared, &scan.digest, request, conf);
    let node = node::Node {
        facts: MemoryFacts {
            journal: journal.journal.clone(),
            variables: variables.into(),
            connections: connections.into(),
            sample: request.sample,
        },
        scripts: folder.scripts_for(&prepared.dag),
        journal,
        objects,
        policy,
        place,
        timeout: request.timeout,
        all_logs: request.all_logs,
    };
    let mut outcome = node.run(prepared, interrupt, progress, colour).await?;
    outcome.notes.extend(request.policies.as_ref().map(elsewhere::note));
    outcome.notes.extend(unlike.clone());
    Ok(outcome)
}

/// Puts the DAG and the requests for its one run into the journal.
fn ask(
    journal: &SharedJournal,
    prepared: &Prepared,
    bundle: &BundleId,
    request: &Request,
    conf: Map<String, Value>,
) {
    let dag = &prepared.dag;
    let version = canonical::version(dag);
    let mut journal = journal.lock();
    journal.versions.insert(version.clone(), dag.clone().into());
    prepare::make_pools(dag, TENANT, &mut journal);
    let who = request.policies.as_ref().map_or("test", |policies| &policies.user);
    if let Some(policies) = &request.policies {
        elsewhere::limit(policies, TENANT, &mut journal);
    }
    let active =
        ActivatedDag { dag_id: dag.dag_id.clone(), version, bundle: None, paused_upon_creation: false };
    journal.request(
        TENANT,
        "test",
        Command::ActivateBundle { bundle: bundle.clone(), base: Base::Any, dags: vec![active] },
    );
    let now = scheduler::clock::now();
    // A whole second reads better in names and templates.
    let date = request.date.unwrap_or(Timestamp(now.0 - now.0.rem_euclid(1_000_000)));
    let trigger = Trigger {
        dag_id: dag.dag_id.clone(),
        run_name: None,
        logical_date: Some(date),
        run_after: None,
        conf,
        note: None,
        chain_depth: 0,
    };
    journal.request(TENANT, who, Command::Trigger(trigger));
}

/// The request with the date and what was passed of the recorded run, unless it says otherwise, and a note if it does: results
/// of one date may not be those of another.
fn as_recorded(request: &Request, recording: Option<&Recording>) -> (Request, Option<String>) {
    let mut request = request.clone();
    let Some(Recording { date, conf, .. }) = recording else { return (request, None) };
    let mut other = Vec::new();
    match request.date {
        None => request.date = *date,
        Some(_) if request.date != *date => other.push("date"),
        Some(_) => {}
    }
    if request.conf.is_empty() && request.params.is_empty() {
        request.conf.clone_from(conf);
    } else {
        other.push("parameters");
    }
    let note = (!other.is_empty()).then(|| {
        format!(
            "the recorded run may have had another {}: its results are used as they are",
            other.join(" and other ")
        )
    });
    (request, note)
}

/// `--conf` and `--param` together, checked against the DAG's parameters.
fn conf_of(dag: &Dag, request: &Request) -> Result<Map<String, Value>, Error> {
    let mut conf = request.conf.clone();
    let names = || dag.params.keys().map(String::as_str);
    for (name, text) in &request.params {
        let Some(schema) = dag.params.get(name) else {
            let help = dags::suggest::did_you_mean(name, names()).unwrap_or_else(|| match dag.params.len() {
                0 => "the DAG has no `params`; `--conf` passes values that aren't parameters".to_owned(),
                _ => format!("its parameters are {}", dags::suggest::list(names(), "and")),
            });
            return Err(Error::usage(format!("`{}` has no parameter `{name}`", dag.dag_id), help));
        };
        // What isn't said to be a text is JSON, unless it can't be read as such: the check tells.
        let text_only = schema.get("type").is_some_and(|kind| kind == "string");
        let parsed = (!text_only).then(|| serde_json::from_str(text).ok()).flatten();
        conf.insert(name.clone(), parsed.unwrap_or_else(|| Value::String(text.clone())));
    }
    let misfits = conf::check(&dag.params, &conf);
    if misfits.is_empty() {
        return Ok(conf);
    }
    let list: Vec<String> = misfits.iter().map(ToString::to_string).collect();
    Err(Error::usage(list.join("; "), "pass values with `--param name=value`"))
}

fn connections(
    request: &Request,
    data: &std::path::Path,
) -> Result<(BTreeMap<String, Connection>, Policy), Error> {
    let mut policy = Policy::default();
    let mut connections = BTreeMap::new();
    for (name, url) in &request.connections {
        let given = connection::parse(name, url, data).map_err(|why| {
            Error::usage(
                format!("`--conn {name}` {why}"),
                format!(
                    "write a URL: `postgres://user@host/database`, `https://host`, `sqlite:data.db`, or `{}` for a \
                     database that lives as long as the run",
                    connection::TEMPORARY
                ),
            )
        })?;
        policy.data_dirs.extend(given.data_dir);
        connections.insert(name.clone(), given.connection);
    }
    Ok((connections, policy))
}

/// Whether a task instance failed by itself.
pub(crate) fn failed(row: &TaskRow) -> bool {
    row.state == TaskState::Failed
}

/// The one run there is.
fn the_run(journal: &SharedJournal) -> Option<RunId> {
    journal.lock().runs.keys().next().copied()
}
