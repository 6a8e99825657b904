//! Finding and compiling DAG files.
//!
//! A path that was named is a folder of DAGs or one file of such a folder. Its **root** is what becomes the bundle: the
//! folder itself or, for a file, the folder that it lies in. Plugins are those of `plugins/` directly below the root.

use std::path::{Path, PathBuf};

use dags::{
    catalog::Catalog,
    diagnostic::{Diagnostic, Severity, Source, code},
    ids::TenantId,
    installation::Installation,
    model::{Dag, Runner},
};
use plugins::script::{Language, Options, Policy, ScriptPool};
use scheduler::{
    bundle::{self, Scan},
    compile::{CompiledFile, FolderFiles, compile_file, is_dag_file, left_out},
};

use crate::Error;

/// A folder of DAGs.
#[derive(Debug)]
pub struct Folder {
    /// Where it is.
    pub root: PathBuf,
    /// The operators that its DAGs may use.
    pub catalog: Catalog,
    /// What is wrong with its plugins, each with the text that it is about.
    pub problems: Vec<(Diagnostic, Source)>,
    files: FolderFiles,
    scripts: Option<ScriptPool>,
}

/// A path that was named: a folder, and the one file of it that is meant, if one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The folder.
    pub root: PathBuf,
    /// The file, within the folder.
    pub file: Option<String>,
}

impl Target {
    /// What a path means. `root` is the folder that the author named for a file, which must lie in it.
    pub fn of(path: &Path, root: Option<&Path>) -> Result<Self, Error> {
        let full = path.canonicalize().map_err(Error::path("find", path))?;
        if full.is_dir() {
            return Ok(Self { root: full, file: None });
        }
        let beside = full.parent().unwrap_or(Path::new("/"));
        let root = match root {
            Some(root) => root.canonicalize().map_err(Error::path("find", root))?,
            None => beside.to_owned(),
        };
        let within = full.strip_prefix(&root).ok().and_then(Path::to_str).ok_or_else(|| {
            Error::usage(
                format!("{} isn't in the folder {}", full.display(), root.display()),
                "`--root` names a folder that the file lies in",
            )
        })?;
        Ok(Self { file: Some(within.to_owned()), root })
    }
}

impl Folder {
    /// A folder of which all is meant. Nothing of it is run.
    pub fn open(root: &Path) -> Result<(Self, Scan), Error> {
        let scan = bundle::scan(root)?;
        let mut folder = Self::of(scan.root.clone(), FolderFiles::new(&scan));
        folder.problems.extend(left_out(&scan));
        Ok((folder, scan))
    }

    /// A folder of which one file is meant, so that the rest of it, which may be large, isn't read.
    pub fn around(root: &Path) -> Self {
        Self::of(root.to_owned(), FolderFiles::unseen(root.to_owned()))
    }

    fn of(root: PathBuf, files: FolderFiles) -> Self {
        let (catalog, problems) = plugins::user::catalog(&root);
        let problems = problems
            .into_iter()
            .map(|problem| {
                // A plugin that can't be read has a diagnostic that says so.
                let text = std::fs::read_to_string(root.join(&problem.file)).unwrap_or_default();
                let source = Source::new(problem.file.clone(), text);
                (problem, source)
            })
            .collect();
        Self { root, catalog, problems, files, scripts: None }
    }

    /// The same, for DAGs that are to run on that installation.
    #[must_use]
    pub fn on(self, installation: &Installation) -> Self {
        Self { catalog: self.catalog.on(installation.clone()), ..self }
    }

    /// The DAG files in it, by path. A Rhai file that only other files import isn't one: it hands over no DAG.
    pub fn dag_files(scan: &Scan) -> Vec<String> {
        let paths =
            scan.files.iter().map(|file| &file.path).chain(scan.left_out.iter().map(|(path, _)| path));
        let scripts: Vec<String> = paths
            .clone()
            .filter(|path| is_script(path))
            .filter_map(|path| std::fs::read_to_string(scan.root.join(path)).ok())
            .collect();
        let imported = |path: &str| {
            let name = path.strip_suffix(".rhai").unwrap_or(path);
            let name = name.rsplit('/').next().unwrap_or(name);
            let import = format!("import \"{name}\"");
            scripts.iter().any(|text| text.contains(&import))
        };
        paths
            .filter(|path| is_dag_file(path))
            .filter(|path| !(is_script(path) && imported(path)))
            .cloned()
            .collect()
    }

    /// Compiles a file of it. Whatever is wrong with the file is a diagnostic.
    pub async fn compile(&mut self, path: &str) -> CompiledFile {
        if is_script(path) {
            self.start_scripts();
        }
        let scripts = self.scripts.as_ref();
        compile_file(&self.root, path, &self.catalog, &self.files, scripts, TenantId::DEFAULT).await
    }

    /// As [`Folder::compile`], with the file's name in diagnostics as the author wrote it.
    pub async fn compile_as(&mut self, path: &str, shown: &str) -> CompiledFile {
        let mut file = self.compile(path).await;
        shown.clone_into(&mut file.source.path);
        for diagnostic in &mut file.compiled.diagnostics {
            // A diagnostic of a Rhai file may be about a module that it imports.
            if diagnostic.file == path {
                shown.clone_into(&mut diagnostic.file);
            }
        }
        file
    }

    /// Who evaluates what the engine must evaluate for this DAG, if there is such a thing and the program is there.
    pub fn scripts_for(&mut self, dag: &Dag) -> Option<ScriptPool> {
        let asks = |task: &dags::model::Task| {
            task.when.is_some() || (task.runner == Runner::Engine && task.operator != "empty")
        };
        if dag.tasks.iter().any(asks) {
            self.start_scripts();
        }
        self.scripts.clone()
    }

    /// Who evaluates expressions and scripts, if the program is there.
    pub fn scripts(&mut self) -> Option<ScriptPool> {
        self.start_scripts();
        self.scripts.clone()
    }

    fn start_scripts(&mut self) {
        if self.scripts.is_none()
            && let Ok(program) = plugins::script::locate(None)
        {
            // An author's own scripts on the author's own machine: whatever confinement there is.
            let options = Options { policy: Policy::Development, ..Options::new(program) };
            self.scripts = Some(ScriptPool::new(options, Language::of(&self.catalog)));
        }
    }

    /// The one DAG of a file that is meant; an error lists the others.
    pub fn choose(path: &str, dags: Vec<Dag>, wanted: Option<&str>) -> Result<Dag, Error> {
        let names: Vec<String> = dags.iter().map(|dag| dag.dag_id.to_string()).collect();
        let named =
            |list: &[String]| list.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match wanted {
            Some(wanted) => dags.into_iter().find(|dag| dag.dag_id.as_str() == wanted).ok_or_else(|| {
                Error::usage(
                    format!("{path} defines no DAG `{wanted}`"),
                    format!("it defines {}", named(&names)),
                )
            }),
            None if dags.len() > 1 => Err(Error::usage(
                format!("{path} defines {} DAGs", dags.len()),
                format!("choose one with `--dag`: {}", named(&names)),
            )),
            None => dags
                .into_iter()
                .next()
                .ok_or_else(|| Error::Usage { message: format!("{path} defines no DAG"), help: None }),
        }
    }
}

fn is_script(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rhai")
}

/// A diagnostic about a name that two files of a folder use.
pub(crate) fn duplicate(path: &str, owner: &str, dag: &Dag) -> Diagnostic {
    Diagnostic {
        code: code::DAG_DUPLICATE,
        severity: Severity::Error,
        message: format!("`{owner}` defines a DAG named `{}` already", dag.dag_id),
        file: path.to_owned(),
        labels: Vec::new(),
        help: Some("give one of them another name".to_owned()),
    }
}
