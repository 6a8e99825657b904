//! The object store against the rows that name what is in it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use migrations::{Db, store::doctor};

use super::{Finding, Severity};
use crate::settings::Settings;

/// The most objects that a finding names.
const NAMED_MAX: usize = 10;
/// What is newer may be about to be named by a row.
const FRESH: Duration = Duration::from_hours(1);

pub(super) async fn examine(settings: &Settings, db: &Db) -> Vec<Finding> {
    let root = match settings.objects_folder() {
        Ok(root) => root,
        Err(error) => {
            return vec![Finding::wrong(
                "objects",
                format!("{error:#}"),
                "name the folder, `objects.folder`",
            )];
        }
    };
    match compare(&root, db).await {
        Ok(found) if found.is_empty() => {
            vec![Finding::ok("objects", format!("{} has what rows name, and nothing else", root.display()))]
        }
        Ok(found) => found,
        Err(error) => {
            let says = format!("{} can't be looked at: {error:#}", root.display());
            vec![Finding::wrong(
                "objects",
                says,
                "see that the folder is there and that this user may read it",
            )]
        }
    }
}

async fn compare(root: &Path, db: &Db) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();

    let mut results = names(&root.join("results"))?;
    let mut missing = Vec::new();
    doctor::each_digest(db, |digest| {
        if !results.remove(&digest) && !root.join("results").join(&digest).exists() {
            missing.push(digest);
        }
    })
    .await?;
    findings.extend(gone("large results are gone", "results", &missing));
    findings.extend(orphans("large results that no row names", &root.join("results"), results));

    let mut bundles = names(&root.join("bundles"))?;
    let mut missing = Vec::new();
    for digest in doctor::bundles(db).await? {
        if !bundles.remove(&digest) && !root.join("bundles").join(&digest).exists() {
            missing.push(digest);
        }
    }
    findings.extend(gone("bundles are gone", "bundles", &missing));
    findings.extend(orphans("bundles that no row names", &root.join("bundles"), bundles));

    // A folder of logs is named by a dispatch, which begins with its attempt.
    let mut logs = names(&root.join("logs"))?;
    doctor::each_attempt(db, |attempt| {
        let prefix = format!("{attempt}-");
        let of: Vec<String> =
            logs.range(prefix.clone()..).take_while(|name| name.starts_with(&prefix)).cloned().collect();
        for name in of {
            logs.remove(&name);
        }
    })
    .await?;
    findings.extend(orphans("logs of attempts that no row names", &root.join("logs"), logs));
    Ok(findings)
}

fn names(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        entries => entries?,
    };
    for entry in entries {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn gone(what: &str, folder: &str, missing: &[String]) -> Option<Finding> {
    if missing.is_empty() {
        return None;
    }
    let says = format!("{} {what}", missing.len());
    let places = missing.iter().take(NAMED_MAX).map(|name| format!("{folder}/{name}")).collect();
    let todo = "restore the folder of objects from the same backup as the database";
    Some(Finding::wrong("objects", says, todo).at(places))
}

fn orphans(what: &str, folder: &Path, names: BTreeSet<String>) -> Option<Finding> {
    let old = |path: &PathBuf| {
        let modified = fs::metadata(path).and_then(|found| found.modified());
        modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > FRESH))
    };
    let paths: Vec<PathBuf> = names.into_iter().map(|name| folder.join(name)).filter(old).collect();
    if paths.is_empty() {
        return None;
    }
    let places = paths.iter().take(NAMED_MAX).map(|path| path.display().to_string()).collect();
    let todo = "they only take up room: remove them, if the database isn't older than they are";
    Some(Finding::new("objects", Severity::Note, format!("{} {what}", paths.len()), todo).at(places))
}
