//! `updraft test` of `*.test.yaml` files: runs of DAGs under given circumstances, and what must come of them.
//!
//! A test runs with the engine of the service on a clock of its own ([`crate::clockwork`]), so a night of retries takes
//! milliseconds and ends the same each time. Tasks end as the test says; those that it names in `run` are processes of
//! this machine. [`play`] makes the run, [`seen`] is what came of it, [`judge`] compares that with what was expected,
//! [`report`] and [`junit`] tell.

mod answers;
mod judge;
mod junit;
mod play;
mod real;
mod report;
mod seen;
mod site;
mod snapshot;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use dags::{
    dag_test::{DagTest, is_test_file},
    diagnostic::{Diagnostic, Lines, Severity, Source},
    glob,
    time::Span,
};
use futures::StreamExt as _;
use scheduler::{bundle, clock};

use self::site::{Site, Sites};
pub use self::{
    judge::Difference,
    junit::junit,
    report::{json, text, text_of},
};
use crate::{Error, load::Target, test_run::Interrupt};

/// The largest file of tests in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What to test.
#[derive(Debug, Clone)]
pub struct Request {
    /// Files of tests, and folders in which to look for them.
    pub paths: Vec<PathBuf>,
    /// How many tests run at once.
    pub jobs: usize,
    /// Write what came of tests with `snapshot: true` instead of comparing it.
    pub update_snapshots: bool,
    /// Only tests whose name fits this pattern.
    pub name: Option<String>,
    /// How long a task that is run for real may take in the real world.
    pub timeout: Span,
}

/// What came of all tests.
#[derive(Debug)]
pub struct Report {
    /// Each test, in the order of files and their documents.
    pub tests: Vec<Tested>,
    /// What is wrong with files, each with the text that it is about.
    pub problems: Vec<(Diagnostic, Source)>,
    /// Snapshots that were written.
    pub written: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What came of a test.
#[derive(Debug, Clone)]
pub struct Tested {
    /// The file, as it was named.
    pub file: String,
    /// The line of the test's name.
    pub line: usize,
    /// What is tested.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took in the real world.
    pub took: Duration,
}

/// Whether a test passed.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// All is as expected.
    Passed,
    /// The run went otherwise.
    Failed {
        /// Where it differs.
        differences: Vec<Difference>,
        /// What happened, a line for each task instance.
        story: Vec<String>,
    },
    /// It couldn't be run.
    Broken(String),
}

impl Report {
    /// How many tests passed.
    pub fn passed(&self) -> usize {
        self.tests.iter().filter(|test| matches!(test.verdict, Verdict::Passed)).count()
    }

    /// Whether nothing is wrong.
    pub fn succeeded(&self) -> bool {
        let error = |(problem, _): &(Diagnostic, Source)| problem.severity == Severity::Error;
        self.passed() == self.tests.len() && !self.problems.iter().any(error)
    }
}

/// Whether a path that was named is one to look for tests at: a folder or a file of tests.
pub fn holds_tests(path: &Path) -> bool {
    path.is_dir() || path.to_str().is_some_and(is_test_file)
}

/// A test with its place.
struct Case {
    test: DagTest,
    file: String,
    line: usize,
    source: Source,
}

/// Runs all tests. `each` hears of every test when it has ended, in any order.
pub async fn run(
    request: &Request,
    interrupt: &Interrupt,
    each: &mut (dyn FnMut(&Tested) + Send),
) -> Result<Report, Error> {
    let start = clock::monotonic();
    let files = find(&request.paths)?;
    let mut problems = Vec::new();
    let mut cases = Vec::new();
    for file in &files {
        cases.extend(read(file, request.name.as_deref(), &mut problems)?);
    }
    if cases.is_empty() && problems.is_empty() {
        let pattern = request.name.as_deref().unwrap_or("*");
        return Err(Error::usage(
            format!("no test of {} is named `{pattern}`", crate::terminal::count(files.len(), "file")),
            "`--name` is compared with the whole name; `*` stands for any characters",
        ));
    }
    let scratch = tempfile::Builder::new().prefix("updraft-tests-").tempdir();
    let scratch = scratch.map_err(Error::path("make a folder in", std::env::temp_dir()))?;
    let place = scratch.path().canonicalize().map_err(Error::path("find", scratch.path()))?;
    let mut sites = Sites::new(&place);
    let mut ready = Vec::with_capacity(cases.len());
    for case in &cases {
        ready.push(prepare(case, &mut sites, &mut problems).await?);
    }
    let sites = &sites;
    let each = std::sync::Mutex::new(each);
    let (each, place) = (&each, &place);
    let plays = cases.iter().zip(ready).enumerate().map(|(number, (case, prepared))| async move {
        let began = clock::monotonic();
        let folder = place.join(format!("t{number}"));
        let (verdict, seen) = match prepared {
            Ok(stage) => one(case, sites.get(stage.site), &stage, &folder, request, interrupt).await,
            Err(why) => (Verdict::Broken(why), None),
        };
        let took = began.elapsed().to_std();
        let (file, name) = (case.file.clone(), case.test.name.value.clone());
        let tested = Tested { file, line: case.line, name, verdict, took };
        if let Ok(mut each) = each.lock() {
            each(&tested);
        }
        (number, tested, seen)
    });
    let plays: Vec<_> = plays.collect();
    let mut done: Vec<_> = futures::stream::iter(plays).buffer_unordered(request.jobs.max(1)).collect().await;
    done.sort_by_key(|(number, ..)| *number);
    let written = if request.update_snapshots { write_snapshots(&cases, &done)? } else { Vec::new() };
    let tests = done.into_iter().map(|(_, tested, _)| tested).collect();
    Ok(Report { tests, problems, written, elapsed: start.elapsed().to_std() })
}

/// A test whose DAG is known.
struct Stage {
    site: usize,
    dag: dags::model::Dag,
}

/// Finds and compiles the DAG of a test; the inner error says why the test can't be run.
async fn prepare(
    case: &Case,
    sites: &mut Sites,
    problems: &mut Vec<(Diagnostic, Source)>,
) -> Result<Result<Stage, String>, Error> {
    let beside = Path::new(&case.file).parent().unwrap_or(Path::new(""));
    let shown = tidied(&beside.join(&case.test.file.value));
    let root = case.test.root.as_ref().map(|root| tidied(&beside.join(&root.value)));
    let missing = |span, message: String, help: &str| {
        let label = Lines::new(&case.source.text).label(span, "this file".to_owned());
        Diagnostic {
            code: dags::diagnostic::code::TEST_FILE,
            severity: Severity::Error,
            message,
            file: case.file.clone(),
            labels: vec![label],
            help: Some(help.to_owned()),
        }
    };
    let target = match Target::of(&shown, root.as_deref()) {
        Ok(target) if target.file.is_some() => target,
        found => {
            let why = found.err().map_or_else(
                || "it is a folder".to_owned(),
                |error| {
                    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
                },
            );
            let message = format!("the DAG file {} can't be used: {why}", shown.display());
            let help = "the path is relative to the file of the test";
            problems.push((missing(case.test.file.span, message.clone(), help), case.source.clone()));
            return Ok(Err(message));
        }
    };
    let file = target.file.unwrap_or_default();
    let site = sites.at(&target.root, problems)?;
    let found = sites.compile(site, &file, &shown.display().to_string(), problems).await;
    let dags = match found {
        Ok(dags) => dags,
        Err(why) => return Ok(Err(why)),
    };
    let wanted = case.test.dag.as_ref().map(|id| id.value.as_str());
    let dag = match crate::load::Folder::choose(&shown.display().to_string(), dags, wanted) {
        Ok(dag) => dag,
        Err(error) => {
            let span = case.test.dag.as_ref().map_or(case.test.file.span, |id| id.span);
            let help = error.help().unwrap_or("say which with `id`").replace("`--dag`", "`id`");
            problems.push((missing(span, error.to_string(), &help), case.source.clone()));
            return Ok(Err(error.to_string()));
        }
    };
    let wrong = dags::dag_test::check(&case.test, &dag, &case.source);
    if !wrong.is_empty() {
        problems.extend(wrong.into_iter().map(|problem| (problem, case.source.clone())));
        return Ok(Err("it doesn't go with its DAG".to_owned()));
    }
    Ok(Ok(Stage { site, dag }))
}

async fn one(
    case: &Case,
    site: &Site,
    stage: &Stage,
    folder: &Path,
    request: &Request,
    interrupt: &Interrupt,
) -> (Verdict, Option<seen::Seen>) {
    let played = Box::pin(play::play(&case.test, site, &stage.dag, folder, request.timeout, interrupt)).await;
    // What real tasks leave behind is of no use any more.
    let cleaned = match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let seen = match (played, cleaned) {
        (Ok(seen), Ok(())) => seen,
        (Ok(_), Err(error)) => {
            return (Verdict::Broken(format!("its folder can't be removed: {error}")), None);
        }
        (Err(why), _) => return (Verdict::Broken(why), None),
    };
    let mut differences = judge::judge(&case.test, &stage.dag, &seen);
    differences.extend(judge::scripts(&case.test, site.scripts.as_ref(), &seen).await);
    if case.test.expect.snapshot && !request.update_snapshots {
        differences.extend(snapshot::compare(Path::new(&case.file), &case.test, &seen));
    }
    let verdict = if differences.is_empty() {
        Verdict::Passed
    } else {
        let lines = Lines::new(&case.source.text);
        for difference in &mut differences {
            difference.place = lines.position(difference.span.start);
        }
        Verdict::Failed { differences, story: seen.story() }
    };
    (verdict, Some(seen))
}

fn write_snapshots(
    cases: &[Case],
    done: &[(usize, Tested, Option<seen::Seen>)],
) -> Result<Vec<String>, Error> {
    let mut of_file: BTreeMap<&str, Vec<(&str, &seen::Seen)>> = BTreeMap::new();
    for (case, (_, _, seen)) in cases.iter().zip(done.iter()) {
        if let Some(seen) = seen.as_ref().filter(|_| case.test.expect.snapshot) {
            of_file.entry(&case.file).or_default().push((&case.test.name.value, seen));
        }
    }
    let mut written = Vec::new();
    for (file, seen) in of_file {
        written.extend(snapshot::write(Path::new(file), &seen)?);
    }
    Ok(written)
}

/// The files of tests among what was named.
fn find(paths: &[PathBuf]) -> Result<Vec<String>, Error> {
    let mut found = std::collections::BTreeSet::new();
    for path in paths {
        if !path.exists() {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(Error::path("find", path)(missing));
        }
        if !path.is_dir() {
            found.insert(path.display().to_string());
            continue;
        }
        let here = bundle::paths(path);
        let tests = here.iter().filter(|name| is_test_file(name));
        found.extend(tests.map(|name| tidied(&path.join(name)).display().to_string()));
    }
    if found.is_empty() {
        let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(Error::usage(
            format!("there is no `*.test.yaml` in {}", shown.join(", ")),
            "write one (docs/dev-loop.md shows how), or name the file of a DAG to run that once",
        ));
    }
    Ok(found.into_iter().collect())
}

/// The path without `.` and without `..` where it can be done in words.
fn tidied(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut parts: Vec<Component<'_>> = Vec::new();
    for part in path.components() {
        match (part, parts.last()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => _ = parts.pop(),
            _ => parts.push(part),
        }
    }
    parts.into_iter().collect()
}

fn read(
    file: &str,
    name: Option<&str>,
    problems: &mut Vec<(Diagnostic, Source)>,
) -> Result<Vec<Case>, Error> {
    let path = Path::new(file);
    let size = path.metadata().map_err(Error::path("read", path))?.len();
    if size > FILE_BYTES_MAX {
        return Err(Error::usage(
            format!("{file} has {size} bytes; a file of tests may have {FILE_BYTES_MAX}"),
            "split it into several files",
        ));
    }
    let text = std::fs::read_to_string(path).map_err(Error::path("read", path))?;
    let source = Source::new(file, text);
    let (tests, wrong) = dags::dag_test::read(&source);
    problems.extend(wrong.into_iter().map(|problem| (problem, source.clone())));
    let lines = Lines::new(&source.text);
    let wanted = |test: &DagTest| name.is_none_or(|pattern| glob::fits(pattern, &test.name.value));
    Ok(tests
        .into_iter()
        .filter(wanted)
        .map(|test| {
            let (line, _) = lines.position(test.name.span.start);
            Case { test, file: file.to_owned(), line, source: source.clone() }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_what_says_nothing() {
        let short = |path: &str| tidied(Path::new(path)).display().to_string();
        assert_eq!(
            [short("dags/tests/../a.yaml"), short("./x/./y"), short("../a"), short("/a/b/../c")],
            ["dags/a.yaml", "x/y", "../a", "/a/c"]
        );
    }
}
