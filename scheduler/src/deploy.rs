//! Bundles that are sent to a service: taken in with distrust, and compiled for the place that they are to run in.
//!
//! What comes is an archive. It is unpacked beside its place as it comes, and becomes the bundle only if it has the address that
//! was announced and holds nothing that a bundle of a folder wouldn't: so it is there whole, or nothing of it is. Who may do
//! that, and what becomes active, is decided by the API.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dags::{
    canonical,
    diagnostic::{Diagnostic, Severity, Source, code, render},
    ids::{BundleId, DagId, DagVersion, ExecutorName, TenantId},
    installation::Installation,
    model::Dag,
};
use executor::archive;
use plugins::script::{Language, Options, Policy, ScriptPool};
use tokio::sync::Semaphore;

use crate::{
    bundle::{self, Scan},
    compile::{FolderFiles, compile_file, is_dag_file, left_out},
    desk::chain,
    objects::{Objects, remove_folder},
};

/// Bundles that are taken in, compiled or packed at once.
const AT_ONCE: usize = 2;
/// What a process left that was killed while it took a bundle in goes after that long.
const LEFT_BEHIND: Duration = Duration::from_hours(1);
/// The longest report of one file, in bytes.
const REPORT_MAX: usize = 64 * 1024;

/// Why a bundle can't be taken in or looked into.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It isn't what it should be.
    #[error("{0}")]
    Refused(String),
    /// It isn't there.
    #[error("the bundle isn't stored here any more: send it again")]
    Missing,
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
}

/// A bundle that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The bytes of all files together.
    pub bytes: u64,
    /// How many files it has.
    pub files: u32,
}

/// What a bundle holds.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Its size.
    pub received: Received,
    /// Its DAGs, by name.
    pub dags: BTreeMap<DagId, Compiled>,
    /// What is wrong with its files: the path, and everything with the lines.
    pub broken: BTreeMap<String, String>,
    /// The executor of tasks that name none.
    pub default_executor: ExecutorName,
}

/// A DAG of a bundle.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The model.
    pub model: Arc<Dag>,
    /// Its hash.
    pub version: DagVersion,
    /// The path of its file.
    pub source: String,
    /// The connections that its tasks name.
    pub connections: BTreeSet<String>,
    /// The variables that its tasks name.
    pub variables: BTreeSet<String>,
}

/// Takes bundles in and looks into them.
#[derive(Debug, Clone)]
pub struct Deployments {
    objects: Objects,
    script_program: Option<PathBuf>,
    installation: Installation,
    turns: Arc<Semaphore>,
}

/// A folder that goes unless it became a bundle.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        if let Err(error) = remove_folder(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "what came of a bundle can't be removed");
        }
    }
}

impl Deployments {
    /// For bundles that go there and are to run on that installation.
    pub fn new(objects: Objects, script_program: Option<PathBuf>, installation: Installation) -> Self {
        Self { objects, script_program, installation, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Takes a bundle in that is to have that address.
    pub async fn receive(
        &self,
        bundle: BundleId,
        archive: impl io::Read + Send + 'static,
    ) -> Result<Received, Error> {
        let _turn = self.turn().await?;
        let objects = self.objects.clone();
        blocking(move || take_in(&objects, &bundle, archive)).await
    }

    /// Compiles a bundle for a tenant that has those notification routes.
    pub async fn compile(
        &self,
        tenant: TenantId,
        bundle: BundleId,
        routes: BTreeSet<String>,
    ) -> Result<Contents, Error> {
        let _turn = self.turn().await?;
        let found = self.objects.touch_bundle(&bundle).map_err(|error| unavailable(&error))?;
        if !found {
            return Err(Error::Missing);
        }
        let (root, scripts) = (self.objects.bundle(&bundle), self.script_program.clone());
        let installation = Installation { routes: Some(routes), ..self.installation.clone() };
        let runtime = tokio::runtime::Handle::current();
        // Compiling is work for a processor, with a few waits for the program that runs scripts.
        let work = move || runtime.block_on(compile(&root, tenant, installation, scripts));
        blocking(work).await
    }

    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Error> {
        self.turns.acquire().await.map_err(|error| unavailable(&error))
    }
}

fn unavailable(error: &dyn std::error::Error) -> Error {
    let why = chain(error);
    tracing::error!(error = why, "a bundle can't be worked with");
    Error::Unavailable("the place of bundles can't be used at present; the service's log says why".to_owned())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(unavailable(&error)))
}

fn take_in(objects: &Objects, bundle: &BundleId, archive: impl io::Read) -> Result<Received, Error> {
    objects.sweep_bundles(LEFT_BEHIND).map_err(|error| unavailable(&error))?;
    let beside = Beside(objects.beside_bundle(bundle));
    archive::unpack(archive, &beside.0, bundle).map_err(|error| match error {
        // Neither the way here nor what came over it is our fault, but a full disk is.
        archive::Error::Io("read the archive", _)
        | archive::Error::Strange(_)
        | archive::Error::Address { .. } => Error::Refused(chain(&error)),
        archive::Error::Io("write a file of the bundle", source)
            if matches!(
                source.kind(),
                io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory
            ) =>
        {
            Error::Refused("the archive names a file twice, or a file as a folder".to_owned())
        }
        archive::Error::Io("make a folder of the bundle", source)
            if source.kind() == io::ErrorKind::AlreadyExists
                || source.kind() == io::ErrorKind::NotADirectory =>
        {
            Error::Refused("the archive names a file as a folder".to_owned())
        }
        error => unavailable(&error),
    })?;
    let scan = bundle::scan(&beside.0).map_err(|error| Error::Refused(chain(&error)))?;
    if let Some((path, bytes)) = scan.left_out.first() {
        let most = bundle::FILE_BYTES_MAX;
        return Err(Error::Refused(format!(
            "`{path}` has {bytes} bytes, and a bundle takes files of at most {most}"
        )));
    }
    if scan.digest != *bundle {
        let why =
            "the archive holds files that no bundle has: hidden ones, or what its own ignore files name";
        return Err(Error::Refused(why.to_owned()));
    }
    let received = Received { bytes: scan.bytes(), files: scan.files.len() as u32 };
    objects.keep_bundle(&beside.0, bundle).map_err(|error| unavailable(&error))?;
    Ok(received)
}

async fn compile(
    root: &Path,
    tenant: TenantId,
    installation: Installation,
    script_program: Option<PathBuf>,
) -> Result<Contents, Error> {
    let scan = bundle::scan(root).map_err(|error| unavailable(&error))?;
    let default_executor = installation.default_executor.clone();
    let (catalog, problems) = plugins::user::catalog(&scan.root);
    let catalog = catalog.on(installation);
    let mut reports = Reports::default();
    for problem in problems {
        let text = std::fs::read_to_string(scan.root.join(&problem.file)).unwrap_or_default();
        reports.add(&problem, &Source::new(problem.file.clone(), text));
    }
    for (problem, source) in left_out(&scan) {
        reports.add(&problem, &source);
    }
    let scripts = script_program.map(|program| {
        let options = Options { policy: Policy::BestEffort, ..Options::new(program) };
        ScriptPool::new(options, Language::of(&catalog))
    });
    let files = FolderFiles::new(&scan);
    let mut dags: BTreeMap<DagId, Compiled> = BTreeMap::new();
    for path in scan.files.iter().map(|file| file.path.as_str()).filter(|path| is_dag_file(path)) {
        let file = compile_file(&scan.root, path, &catalog, &files, scripts.as_ref(), tenant).await;
        for diagnostic in &file.compiled.diagnostics {
            reports.add(diagnostic, &file.source);
        }
        if file.compiled.has_errors() {
            continue;
        }
        for dag in file.compiled.dags {
            if let Some(owner) = dags.get(&dag.dag_id) {
                reports.add(&duplicate(path, &owner.source, &dag.dag_id), &Source::new(path, ""));
                continue;
            }
            dags.insert(dag.dag_id.clone(), compiled(dag, path, &scan));
        }
    }
    let received = Received { bytes: scan.bytes(), files: scan.files.len() as u32 };
    Ok(Contents { received, dags, broken: reports.0, default_executor })
}

fn duplicate(path: &str, owner: &str, dag: &DagId) -> Diagnostic {
    Diagnostic {
        code: code::DAG_DUPLICATE,
        severity: Severity::Error,
        message: format!("`{owner}` defines a DAG named `{dag}` already"),
        file: path.to_owned(),
        labels: Vec::new(),
        help: Some("give one of them another name".to_owned()),
    }
}

fn compiled(dag: Dag, path: &str, scan: &Scan) -> Compiled {
    let (mut connections, mut variables) = (BTreeSet::new(), BTreeSet::new());
    let text = |path: &str| std::fs::read_to_string(scan.root.join(path)).ok();
    for task in &dag.tasks {
        // A template that can't be read is an error of its file.
        if let Ok(needs) = plugins::needs::of(task, text) {
            connections.extend(needs.connections);
            variables.extend(needs.variables);
        }
    }
    let version = canonical::version(&dag);
    Compiled { model: Arc::new(dag), version, source: path.to_owned(), connections, variables }
}

/// What is wrong with files, by path.
#[derive(Default)]
struct Reports(BTreeMap<String, String>);

impl Reports {
    fn add(&mut self, diagnostic: &Diagnostic, source: &Source) {
        if diagnostic.severity != Severity::Error {
            return;
        }
        let report = self.0.entry(diagnostic.file.clone()).or_default();
        if report.len() < REPORT_MAX {
            report.push_str(&render(diagnostic, source, false));
        }
    }
}
