//! Compiling the files of a folder of DAGs, YAML and Rhai alike.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Mutex,
};

use dags::{
    catalog::Catalog,
    compile::{Compiled, FileLookup, FileProblem, compile},
    diagnostic::{Diagnostic, Severity, Source, code},
    ids::TenantId,
};
use plugins::script::{Modules, ScriptPool};
use sha2::{Digest as _, Sha256};

use crate::bundle;

/// The largest DAG file in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Whether a path, relative to the folder of DAGs, is that of a DAG file. Tests of DAGs lie beside them and are none.
pub fn is_dag_file(path: &str) -> bool {
    if dags::dag_test::is_test_file(path) {
        return false;
    }
    let in_plugins = path.split('/').next() == Some(plugins::user::FOLDER);
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    !in_plugins && matches!(extension, Some("yaml" | "yml" | "rhai"))
}

/// The files of a folder, hashed when they are asked for.
#[derive(Debug)]
pub struct FolderFiles {
    root: PathBuf,
    /// The relative paths of what a bundle holds, sorted, if somebody has looked.
    paths: Option<Vec<String>>,
    known: Mutex<BTreeMap<String, String>>,
}

impl FolderFiles {
    /// The files of a folder that was looked at.
    pub fn new(scan: &bundle::Scan) -> Self {
        let paths = scan.files.iter().map(|file| file.path.clone()).collect();
        Self { root: scan.root.clone(), paths: Some(paths), known: Mutex::default() }
    }

    /// The files of a folder of which only few will be asked for.
    pub fn unseen(root: PathBuf) -> Self {
        Self { root, paths: None, known: Mutex::default() }
    }

    fn holds(&self, path: &str) -> bool {
        match &self.paths {
            Some(paths) => paths.binary_search_by(|known| known.as_str().cmp(path)).is_ok(),
            None => bundle::holds(&self.root, path),
        }
    }
}

impl FileLookup for FolderFiles {
    fn sha256(&self, path: &str) -> Result<String, FileProblem> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(hash) = known.get(path) {
            return Ok(hash.clone());
        }
        let full = self.root.join(path);
        let unreadable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => FileProblem::NotFound,
            _ => FileProblem::Unreadable(error.to_string()),
        };
        let metadata = full.symlink_metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(FileProblem::NotAFile);
        }
        if metadata.len() > bundle::FILE_BYTES_MAX {
            return Err(FileProblem::Unreadable(over(metadata.len())));
        }
        if !self.holds(path) {
            return Err(FileProblem::LeftOut);
        }
        let hash = hex::encode(Sha256::digest(std::fs::read(&full).map_err(unreadable)?));
        known.insert(path.to_owned(), hash.clone());
        Ok(hash)
    }

    fn paths(&self) -> Vec<String> {
        self.paths.clone().unwrap_or_else(|| bundle::paths(&self.root))
    }
}

/// A compiled file with its text, which diagnostics show.
#[derive(Debug, Clone)]
pub struct CompiledFile {
    /// The path within the folder and the text.
    pub source: Source,
    /// What it holds and what is wrong with it.
    pub compiled: Compiled,
}

fn over(bytes: u64) -> String {
    format!("it has {bytes} bytes, and a bundle takes files of at most {}", bundle::FILE_BYTES_MAX)
}

/// What is said of files that aren't part of the bundle and aren't DAG files, which say so themselves.
pub fn left_out(scan: &bundle::Scan) -> impl Iterator<Item = (Diagnostic, Source)> {
    scan.left_out.iter().filter(|(path, _)| !is_dag_file(path)).map(|(path, bytes)| {
        let message = format!("tasks can't use this file: {}", over(*bytes));
        let help = format!("keep it elsewhere, and name it in `{}`", bundle::IGNORE_FILE);
        (problem(path, code::FILE_UNREADABLE, message, Some(help)), Source::new(path.as_str(), ""))
    })
}

/// Compiles one file of the folder that `files` knows. Whatever goes wrong is a diagnostic of that file.
pub async fn compile_file(
    root: &Path,
    path: &str,
    catalog: &Catalog,
    files: &FolderFiles,
    scripts: Option<&ScriptPool>,
    tenant: TenantId,
) -> CompiledFile {
    let source = match read(root, path) {
        Ok(source) => source,
        Err(message) => {
            let diagnostics = vec![problem(path, code::FILE_UNREADABLE, message, None)];
            return CompiledFile {
                source: Source::new(path, ""),
                compiled: Compiled { dags: Vec::new(), diagnostics },
            };
        }
    };
    if Path::new(path).extension().is_none_or(|extension| extension != "rhai") {
        let compiled = compile(&source, catalog, files);
        return CompiledFile { source, compiled };
    }
    let compiled = match scripts {
        Some(scripts) => {
            let folder = root.join(path).parent().map_or_else(|| root.to_owned(), Path::to_owned);
            let modules = Modules::Folder(folder);
            match scripts.compile_dags(tenant, &source, &modules, catalog, files).await {
                Ok(compiled) => compiled,
                Err(error) => {
                    let message = crate::desk::chain(&error);
                    failed(problem(path, code::SCRIPT_UNAVAILABLE, message, None))
                }
            }
        }
        None => {
            let message = "Rhai files can't be compiled here".to_owned();
            let help = format!("install the program `{}` beside `updraft`", plugins::script::PROGRAM);
            failed(problem(path, code::SCRIPT_UNAVAILABLE, message, Some(help)))
        }
    };
    CompiledFile { source, compiled }
}

fn failed(diagnostic: Diagnostic) -> Compiled {
    Compiled { dags: Vec::new(), diagnostics: vec![diagnostic] }
}

fn read(root: &Path, path: &str) -> Result<Source, String> {
    let full = root.join(path);
    let size = full.symlink_metadata().map_err(|error| format!("the file can't be read: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("the file is {size} bytes long; at most {FILE_BYTES_MAX} are allowed"));
    }
    let bytes = std::fs::read(&full).map_err(|error| format!("the file can't be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        format!("the file isn't UTF-8: byte {} is wrong", error.utf8_error().valid_up_to())
    })?;
    Ok(Source::new(path, text))
}

fn problem(path: &str, code: &'static str, message: String, help: Option<String>) -> Diagnostic {
    Diagnostic { code, severity: Severity::Error, message, file: path.to_owned(), labels: Vec::new(), help }
}
