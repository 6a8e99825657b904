//! Watching a folder of DAGs: every change becomes a bundle that is activated, usually within a tenth of a second.
//!
//! A file that can't be compiled never disturbs the others, and its DAGs stay as they were. Only files whose content, whose
//! named files or whose plugins changed are compiled again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use dags::{
    canonical,
    catalog::Catalog,
    diagnostic::{Diagnostic, Severity, Source, code, render},
    ids::{BundleId, DagId, DagVersion, TenantId},
    installation::Installation,
    model::Dag,
    time::Span,
};
use engine::command::{ActivatedDag, Command};
use migrations::{
    Db, TenantScope,
    store::{
        self,
        bundle::{NewBundle, NewVersion},
        import_error::ImportError,
    },
};
use notify::{
    EventKind, Watcher as _,
    event::{AccessKind, AccessMode},
};
use plugins::script::{Language, Options, Policy, ScriptPool};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, mpsc};

use crate::{
    bundle::{self, Scan},
    clock,
    compile::{FolderFiles, compile_file, is_dag_file, left_out},
    desk::chain,
    objects::Objects,
};

/// How long the folder must be quiet before it is looked at: editors write a file in several steps.
const QUIET: Span = Span::millis(60);
/// How often it is looked at anyhow, since not every file system tells of changes: as often as takes a small part of the time,
/// between the first and the second value.
const LOOK_ANYHOW: (Span, Span) = (Span::seconds(2), Span::seconds(60));
/// A look may take this part of the time until the next one.
const LOOK_PART: i64 = 1_000;

/// What is watched, and where it goes.
#[derive(Debug)]
pub struct Settings {
    /// The folder.
    pub root: PathBuf,
    /// Whose DAGs they are.
    pub tenant: TenantId,
    /// The database.
    pub db: Db,
    /// Where bundles go.
    pub objects: Objects,
    /// The program that runs scripts, if there is one.
    pub script_program: Option<PathBuf>,
    /// What DAGs may ask for; its routes are those of the tenant, whatever it says.
    pub installation: Installation,
    /// Rings for the scheduler.
    pub wake: Arc<Notify>,
}

/// Why a folder can't be watched or activated now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't become a bundle.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    /// The database refused.
    #[error("failed to {doing}")]
    Db {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: migrations::Error,
    },
    /// The operating system doesn't tell of changes.
    #[error("failed to watch the folder")]
    Watch(#[source] notify::Error),
    /// A look at the folder didn't come to an end.
    #[error("a look at the folder broke off")]
    BrokeOff(#[source] tokio::task::JoinError),
}

/// A file as it was compiled last.
#[derive(Debug, Clone)]
struct Known {
    /// What its compilation depended on.
    key: [u8; 32],
    /// Its DAGs, with the bundle that has them in this version.
    dags: Vec<(Arc<Dag>, DagVersion, BundleId)>,
    broken: bool,
}

/// The longest report of one file that is stored, in bytes.
const REPORT_MAX: usize = 64 * 1024;

impl Known {
    fn names(&self) -> BTreeSet<DagId> {
        self.dags.iter().map(|(dag, ..)| dag.dag_id.clone()).collect()
    }
}

/// What was found when the folder was looked at.
#[derive(Debug, Default)]
pub struct Found {
    /// How many DAGs are active.
    pub dags: usize,
    /// What is wrong with files, each with the text that it is about.
    pub diagnostics: Vec<(Diagnostic, Source)>,
    /// Whether anything changed for the scheduler.
    pub activated: bool,
    /// Who deployed what is active, if the folder isn't taken over for that.
    pub deployed_by: Option<String>,
}

fn is_script(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rhai")
}

/// Keeps the DAGs of a folder active.
#[derive(Debug)]
pub struct FolderWatch {
    options: Settings,
    known: BTreeMap<String, Known>,
    catalog_key: [u8; 32],
    scripts: Option<ScriptPool>,
    active: Option<BTreeMap<DagId, (DagVersion, BundleId)>>,
    /// What is stored as wrong; none before the first look.
    errors: Option<BTreeMap<String, ImportError>>,
}

impl FolderWatch {
    /// A watch that has seen nothing yet.
    pub fn new(options: Settings) -> Self {
        Self {
            options,
            known: BTreeMap::new(),
            catalog_key: [0; 32],
            scripts: None,
            active: None,
            errors: None,
        }
    }

    /// Looks at the folder once and activates what changed.
    pub async fn look(&mut self) -> Result<Found, Error> {
        let root = self.options.root.clone();
        let scan = bundle::scan(&root)?;
        let mut found = Found::default();
        let (catalog, problems) = plugins::user::catalog(&scan.root);
        let catalog = catalog.on(self.installation().await?);
        for problem in problems {
            let text = std::fs::read_to_string(scan.root.join(&problem.file)).unwrap_or_default();
            let source = Source::new(problem.file.clone(), text);
            found.diagnostics.push((problem, source));
        }
        found.diagnostics.extend(left_out(&scan));
        self.use_catalog(&catalog);
        self.compile(&scan, &catalog, &mut found).await?;
        let dags = self.collect(&scan.digest, &mut found);
        found.dags = dags.len();
        let wanted: BTreeMap<DagId, (DagVersion, BundleId)> = dags
            .iter()
            .map(|(dag, version, bundle, _)| (dag.dag_id.clone(), (version.clone(), bundle.clone())))
            .collect();
        if self.active.as_ref() != Some(&wanted) {
            found.deployed_by = self.deployed_by(&scan.digest).await?;
            if found.deployed_by.is_some() {
                return Ok(found);
            }
            self.activate(&scan, dags).await?;
            self.active = Some(wanted);
            found.activated = true;
        }
        self.store_errors(&found).await?;
        Ok(found)
    }

    /// Who deployed the tenant's DAGs, if somebody did: a folder doesn't take their place.
    async fn deployed_by(&self, digest: &BundleId) -> Result<Option<String>, Error> {
        let scope = TenantScope::new(self.options.tenant);
        let failed = |source| Error::Db { doing: "read which bundle is active", source };
        let active = store::bundle::active(&self.options.db, scope).await.map_err(failed)?;
        let other = active.filter(|active| active.digest != *digest);
        Ok(other.and_then(|active| active.deployed_by().map(str::to_owned)))
    }

    /// Stores which files are broken and how, where people see it.
    async fn store_errors(&mut self, found: &Found) -> Result<(), Error> {
        let now = clock::now();
        let mut errors: BTreeMap<String, ImportError> = BTreeMap::new();
        for (diagnostic, source) in &found.diagnostics {
            if diagnostic.severity != Severity::Error {
                continue;
            }
            let error = errors.entry(diagnostic.file.clone()).or_insert_with(|| ImportError {
                file: diagnostic.file.clone(),
                since: now,
                dags: self.known.get(&diagnostic.file).map(Known::names).unwrap_or_default(),
                report: String::new(),
            });
            if error.report.len() < REPORT_MAX {
                error.report.push_str(&render(diagnostic, source, false));
            }
        }
        for error in errors.values_mut() {
            if error.report.len() > REPORT_MAX {
                error.report.truncate(error.report.floor_char_boundary(REPORT_MAX));
                error.report.push_str("\n... and more: `updraft validate` shows all of it\n");
            }
            if let Some(known) = self.errors.as_ref().and_then(|known| known.get(&error.file))
                && known.report == error.report
            {
                error.since = known.since;
            }
        }
        if self.errors.as_ref() == Some(&errors) {
            return Ok(());
        }
        let scope = TenantScope::new(self.options.tenant);
        let rows: Vec<ImportError> = errors.values().cloned().collect();
        let failed = |source| Error::Db { doing: "store what is wrong with files", source };
        store::import_error::replace(&self.options.db, scope, &rows).await.map_err(failed)?;
        self.errors = Some(errors);
        Ok(())
    }

    /// What DAGs may ask for, with the routes that the tenant has now.
    async fn installation(&self) -> Result<Installation, Error> {
        let scope = TenantScope::new(self.options.tenant);
        let failed = |source| Error::Db { doing: "read the connections", source };
        let connections = store::connection::list(&self.options.db, scope).await.map_err(failed)?;
        let routes = connections
            .into_iter()
            .filter(|connection| plugins::notify::TYPES.contains(&connection.address.conn_type.as_str()))
            .map(|connection| connection.name);
        Ok(Installation { routes: Some(routes.collect()), ..self.options.installation.clone() })
    }

    fn use_catalog(&mut self, catalog: &Catalog) {
        let text = serde_json::to_vec(&(catalog, catalog.installation())).unwrap_or_default();
        let key: [u8; 32] = Sha256::digest(text).into();
        if key != self.catalog_key {
            self.catalog_key = key;
            self.scripts = self.options.script_program.clone().map(|program| {
                let options = Options { policy: Policy::BestEffort, ..Options::new(program) };
                ScriptPool::new(options, Language::of(catalog))
            });
        }
    }

    async fn compile(&mut self, scan: &Scan, catalog: &Catalog, found: &mut Found) -> Result<(), Error> {
        let hashes: BTreeMap<&str, &[u8; 32]> =
            scan.files.iter().map(|file| (file.path.as_str(), &file.sha256)).collect();
        let scripts_key = {
            let mut hash = Sha256::new();
            for (path, content) in hashes.iter().filter(|(path, _)| is_script(path)) {
                hash.update(path.as_bytes());
                hash.update(content);
            }
            hash.finalize()
        };
        let files = FolderFiles::new(scan);
        let left_out = scan.left_out.iter().map(|(path, _)| path.as_str());
        let present: BTreeSet<&str> =
            hashes.keys().copied().chain(left_out).filter(|path| is_dag_file(path)).collect();
        self.known.retain(|path, _| present.contains(path.as_str()));
        for path in present {
            let current = |known: &Known| known.key == self.key_of(path, &hashes, &scripts_key, &known.dags);
            if self.known.get(path).is_some_and(|known| !known.broken && current(known)) {
                continue;
            }
            let scripts = self.scripts.as_ref();
            let file = compile_file(&scan.root, path, catalog, &files, scripts, self.options.tenant).await;
            let broken = file.compiled.has_errors();
            found.diagnostics.extend(file.compiled.diagnostics.into_iter().map(|d| (d, file.source.clone())));
            let dags = if broken {
                match self.known.remove(path) {
                    Some(known) => known.dags,
                    None => self.stored(path).await?,
                }
            } else {
                let version = |dag: Dag| {
                    let version = canonical::version(&dag);
                    (Arc::new(dag), version, scan.digest.clone())
                };
                file.compiled.dags.into_iter().map(version).collect()
            };
            let key = self.key_of(path, &hashes, &scripts_key, &dags);
            self.known.insert(path.to_owned(), Known { key, dags, broken });
        }
        Ok(())
    }

    fn key_of(
        &self,
        path: &str,
        hashes: &BTreeMap<&str, &[u8; 32]>,
        scripts_key: &[u8],
        dags: &[(Arc<Dag>, DagVersion, BundleId)],
    ) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.catalog_key);
        // A file that is too large is always broken, so that it needs no key.
        hash.update(hashes.get(path).copied().copied().unwrap_or_default());
        if is_script(path) {
            hash.update(scripts_key);
        }
        for name in dags.iter().flat_map(|(dag, ..)| dag.files.keys()) {
            hash.update(name.as_bytes());
            hash.update(hashes.get(name.as_str()).copied().copied().unwrap_or_default());
        }
        hash.finalize().into()
    }

    /// The DAGs that a file had when it was last activated, before this process began.
    async fn stored(&self, path: &str) -> Result<Vec<(Arc<Dag>, DagVersion, BundleId)>, Error> {
        let scope = TenantScope::new(self.options.tenant);
        let failed = |source| Error::Db { doing: "read the DAGs that are active", source };
        let window = store::Window { limit: 100_000, offset: 0 };
        let dags = store::dag::list(&self.options.db, scope, &store::dag::DagFilter::default(), window)
            .await
            .map_err(failed)?;
        let mut found = Vec::new();
        for dag in dags.rows {
            let version =
                store::bundle::version(&self.options.db, scope, &dag.row.dag_id, &dag.row.version).await;
            let version = match version {
                // It isn't known which file it is of: the engine leaves that DAG alone, and so does this.
                Err(migrations::Error::Corrupt { .. }) => continue,
                version => version.map_err(failed)?,
            };
            if let Some(version) = version
                && version.source == path
                && !dag.row.stale
            {
                found.push((version.model, dag.row.version, dag.row.bundle));
            }
        }
        Ok(found)
    }

    /// All DAGs with their files; a name that two files use belongs to the first of them. New runs of what compiles use the
    /// new bundle, also where the model is the same: files that it doesn't name may have changed.
    fn collect(
        &mut self,
        digest: &BundleId,
        found: &mut Found,
    ) -> Vec<(Arc<Dag>, DagVersion, BundleId, String)> {
        let mut owners: BTreeMap<DagId, String> = BTreeMap::new();
        let mut dags = Vec::new();
        for (path, known) in &mut self.known {
            let broken = known.broken;
            for (dag, version, bundle) in &mut known.dags {
                if !broken {
                    bundle.clone_from(digest);
                }
                if let Some(owner) = owners.get(&dag.dag_id) {
                    let diagnostic = Diagnostic {
                        code: code::DAG_DUPLICATE,
                        severity: Severity::Error,
                        message: format!("`{owner}` defines a DAG named `{}` already", dag.dag_id),
                        file: path.clone(),
                        labels: Vec::new(),
                        help: Some("give one of them another name".to_owned()),
                    };
                    found.diagnostics.push((diagnostic, Source::new(path.clone(), "")));
                    continue;
                }
                owners.insert(dag.dag_id.clone(), path.clone());
                dags.push((dag.clone(), version.clone(), bundle.clone(), path.clone()));
            }
        }
        dags
    }

    async fn activate(
        &self,
        scan: &Scan,
        dags: Vec<(Arc<Dag>, DagVersion, BundleId, String)>,
    ) -> Result<(), Error> {
        let Settings { tenant, db, objects, wake, .. } = &self.options;
        bundle::store(scan, objects)?;
        let scope = TenantScope::new(*tenant);
        let new = NewBundle {
            digest: scan.digest.clone(),
            bytes: scan.bytes(),
            files: scan.files.len() as u32,
            created_by: Some(store::bundle::FOLDER.to_owned()),
            versions: dags
                .iter()
                .map(|(model, version, _, source)| NewVersion {
                    version: version.clone(),
                    model: model.clone(),
                    source: source.clone(),
                })
                .collect(),
        };
        let failed = |doing| move |source| Error::Db { doing, source };
        store::bundle::store(db, scope, &new).await.map_err(failed("store the bundle"))?;
        let command = Command::ActivateBundle {
            bundle: scan.digest.clone(),
            dags: dags
                .into_iter()
                .map(|(dag, version, bundle, _)| ActivatedDag {
                    dag_id: dag.dag_id.clone(),
                    version,
                    bundle: (bundle != scan.digest).then_some(bundle),
                    paused_upon_creation: false,
                })
                .collect(),
        };
        store::inbox::insert(db, scope, "folder", &command, None)
            .await
            .map_err(failed("activate the bundle"))?;
        wake.notify_one();
        Ok(())
    }

    /// Looks at the folder whenever it changes, until dropped. What was found is handed to `tell`.
    pub async fn run(mut self, mut tell: impl FnMut(Result<Found, Error>)) -> Result<(), Error> {
        let (changes, mut changed) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event| {
            if !is_change(&event) {
                return;
            }
            // One waiting signal is enough: it says that there is something, not what.
            let _ = changes.try_send(());
        })
        .map_err(Error::Watch)?;
        watcher.watch(&self.options.root, notify::RecursiveMode::Recursive).map_err(Error::Watch)?;
        let mut seen = None;
        let (mut retry, mut held) = (false, None);
        loop {
            let (root, looked) = (self.options.root.clone(), clock::monotonic());
            let print = tokio::task::spawn_blocking(move || bundle::fingerprint(&root)).await;
            let anyhow = until_next(looked.elapsed());
            let print = print.map_err(Error::BrokeOff).and_then(|print| print.map_err(Error::from));
            match print {
                Ok(print) if seen == Some(print) && !retry => {}
                Ok(print) => {
                    let found = self.look().await;
                    let holds = found.as_ref().ok().and_then(|found| found.deployed_by.clone());
                    // The folder may get its place back without a change of its own.
                    retry = found.is_err() || holds.is_some();
                    seen = Some(print);
                    if holds.is_none() || holds != held {
                        tell(found);
                    }
                    held = holds;
                }
                Err(error) => tell(Err(error)),
            }
            tokio::select! {
                Some(()) = changed.recv() => {}
                () = clock::sleep(anyhow) => {}
            }
            clock::sleep(QUIET).await;
            while changed.try_recv().is_ok() {}
        }
    }
}

/// Whether an event tells of a change. That a file was opened is told as well: each look at the folder would ask for the next.
fn is_change(event: &notify::Result<notify::Event>) -> bool {
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    event.as_ref().map_or(true, |event| !event.kind.is_access() || event.kind == written)
}

/// How long to wait after a look that took so long.
fn until_next(took: Span) -> Span {
    Span(took.0.saturating_mul(LOOK_PART)).clamp(LOOK_ANYHOW.0, LOOK_ANYHOW.1)
}

impl Error {
    /// The error with what is behind it.
    pub fn explain(&self) -> String {
        chain(self)
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, ModifyKind};

    use super::*;

    #[test]
    fn a_look_at_the_folder_is_no_change() {
        let is = |kind| is_change(&Ok(notify::Event::new(kind)));
        assert!(!is(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!is(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(is(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(is(EventKind::Modify(ModifyKind::Data(DataChange::Any))));
        assert!(is_change(&Err(notify::Error::generic("events were lost"))));
    }

    #[test]
    fn a_large_folder_is_looked_at_less_often() {
        assert_eq!(until_next(Span::millis(1)), Span::seconds(2));
        assert_eq!(until_next(Span::millis(40)), Span::seconds(40));
        assert_eq!(until_next(Span::seconds(3)), Span::seconds(60));
    }
}
