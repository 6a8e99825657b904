//! `updraft validate`: everything that is wrong with DAG files, at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use dags::{
    dag_test::is_test_file,
    diagnostic::{Diagnostic, Severity, Source, code, render},
    ids::DagId,
    installation::Installation,
};
use scheduler::compile::CompiledFile;
use serde::Serialize;

use crate::{
    Error,
    load::{Folder, Target, duplicate},
    terminal::{Tone, count, paint},
};

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// DAGs without errors.
    pub dags: usize,
    /// Files that were looked at.
    pub files: usize,
    /// What is wrong, in the order of the files, each with the text that it is about.
    pub diagnostics: Vec<(Diagnostic, Source)>,
    /// The installation's executors, for people.
    executors: String,
}

/// What is wrong here and may be right on another installation.
const FOREIGN: &[&str] = &[code::INSTALLATION_EXECUTOR, code::INSTALLATION_LACKS];

#[derive(Serialize)]
struct Report<'a> {
    dags: usize,
    files: usize,
    errors: usize,
    warnings: usize,
    diagnostics: Vec<&'a Diagnostic>,
}

/// Compiles the files and the DAG files of the folders that were named, as DAGs of that installation.
pub async fn validate(paths: &[PathBuf], installation: &Installation) -> Result<Findings, Error> {
    let mut findings = Findings { executors: installation.list(), ..Findings::default() };
    let mut chosen: BTreeMap<PathBuf, (PathBuf, Option<BTreeSet<String>>)> = BTreeMap::new();
    for path in paths {
        let target = Target::of(path, None)?;
        let shown = if target.file.is_some() { path.parent().unwrap_or(Path::new("")) } else { path };
        let entry = chosen.entry(target.root).or_insert_with(|| (shown.to_owned(), Some(BTreeSet::new())));
        match (target.file, &mut entry.1) {
            (Some(file), Some(files)) => _ = files.insert(file),
            (_, all) => *all = None,
        }
    }
    for (root, (shown, files)) in chosen {
        let (folder, files) = match files {
            Some(files) => (Folder::around(&root), files.into_iter().collect()),
            None => {
                let (folder, scan) = Folder::open(&root)?;
                (folder, Folder::dag_files(&scan))
            }
        };
        let mut folder = folder.on(installation);
        let name = |file: &str| shown.join(file).display().to_string();
        for (mut problem, mut source) in std::mem::take(&mut folder.problems) {
            problem.file = name(&problem.file);
            source.path.clone_from(&problem.file);
            findings.diagnostics.push((problem, source));
        }
        let mut owners: BTreeMap<DagId, String> = BTreeMap::new();
        for file in files {
            let shown = name(&file);
            if is_test_file(&file) {
                findings.tests(&root.join(&file), &shown)?;
                continue;
            }
            let CompiledFile { source, compiled } = folder.compile_as(&file, &shown).await;
            findings.files += 1;
            findings.dags += compiled.dags.len();
            for dag in &compiled.dags {
                if let Some(owner) = owners.get(&dag.dag_id) {
                    findings.diagnostics.push((duplicate(&shown, owner, dag), source.clone()));
                } else {
                    owners.insert(dag.dag_id.clone(), shown.clone());
                }
            }
            let problems = compiled.diagnostics.into_iter().map(|diagnostic| (diagnostic, source.clone()));
            findings.diagnostics.extend(problems);
        }
    }
    Ok(findings)
}

impl Findings {
    /// Reads a file of tests. Whether the names in it are those of its DAG is seen when it is run.
    fn tests(&mut self, path: &Path, shown: &str) -> Result<(), Error> {
        let text = std::fs::read_to_string(path).map_err(Error::path("read", path))?;
        let source = Source::new(shown, text);
        let (_, problems) = dags::dag_test::read(&source);
        self.files += 1;
        self.diagnostics.extend(problems.into_iter().map(|problem| (problem, source.clone())));
        Ok(())
    }

    fn counted(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|(diagnostic, _)| diagnostic.severity == severity).count()
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.counted(Severity::Error)
    }

    /// All diagnostics drawn, and a line that counts them.
    pub fn text(&self, colour: bool) -> String {
        let mut text = self.diagnostics.iter().fold(String::new(), |mut text, (diagnostic, source)| {
            text.push_str(&draw(diagnostic, source, colour));
            text
        });
        let (errors, warnings) = (self.errors(), self.counted(Severity::Warning));
        let found = format!("{}, {}", count(errors, "error"), count(warnings, "warning"));
        let tone = if errors > 0 { Tone::Bad } else { Tone::Good };
        let (dags, files) = (count(self.dags, "DAG"), count(self.files, "file"));
        text += format!("{dags} in {files}: {}\n", paint(&found, tone, colour)).as_str();
        if self.diagnostics.iter().any(|(diagnostic, _)| FOREIGN.contains(&diagnostic.code)) {
            text += &format!(
                "Checked for an installation whose executors are {}; `--config FILE` names the settings of another.\n",
                self.executors
            );
        }
        text
    }

    /// The same as one JSON object.
    pub fn json(&self) -> String {
        let report = Report {
            dags: self.dags,
            files: self.files,
            errors: self.errors(),
            warnings: self.counted(Severity::Warning),
            diagnostics: self.diagnostics.iter().map(|(diagnostic, _)| diagnostic).collect(),
        };
        let mut text = serde_json::to_string_pretty(&report).expect("invariant: texts and numbers are JSON");
        text.push('\n');
        text
    }
}

/// A diagnostic for people, with a blank line after it. One without a place names its file.
pub fn draw(diagnostic: &Diagnostic, source: &Source, colour: bool) -> String {
    let place = match diagnostic.labels.as_slice() {
        [] => format!("{}:\n", paint(&diagnostic.file, Tone::Strong, colour)),
        _ => String::new(),
    };
    format!("{place}{}\n\n", render(diagnostic, source, colour).trim_end())
}
