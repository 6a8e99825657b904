//! Where values come from, and what a wrong one says.

use std::{fs, path::Path};

use super::*;

fn flag(key: &str, value: &str) -> Given {
    Given { key: key.to_owned(), value: Raw::Text(value.to_owned()), origin: Origin::Flag("--set") }
}

fn sources(file: Option<&Path>, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    Sources {
        file: file.map(Path::to_owned),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags: flags.iter().map(|(key, value)| flag(key, value)).collect(),
    }
}

/// What is wrong, a line each.
fn wrong(sources: Sources) -> Vec<String> {
    match load(sources) {
        Err(Error::Wrong(problems)) => problems.into_iter().map(|problem| problem.text).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("updraft.toml");
    fs::write(
        &file,
        "[scheduler]\nlease_ms = 2000\ndrain_s = 7\n\n[executors.fast]\nkind = \"noop\"\nslots = 9\n[log]\nfilter='x'\n",
    )
    .unwrap();
    let environment = [("UPDRAFT__SCHEDULER__LEASE_MS", "4000"), ("UPDRAFT__LOG__FILTER", "warn")];
    let loaded = load(sources(Some(&file), &environment, &[("scheduler.lease_ms", "5000")])).unwrap();
    let settings = loaded.settings;
    assert_eq!((settings.scheduler.lease_ms, settings.scheduler.drain_s), (5_000, Some(7)));
    assert_eq!(settings.log.filter, "warn");
    assert_eq!(settings.api.owner_wait_s, 10, "what nobody sets has its default");
    let fast = &settings.executors["fast"];
    assert_eq!((fast.kind, fast.slots), (Some(crate::settings::Kind::Noop), Some(9)));
    let origin = |key: &str| loaded.values[key].1.to_string();
    assert_eq!(origin("scheduler.lease_ms"), "--set");
    assert_eq!(origin("log.filter"), "UPDRAFT__LOG__FILTER");
    assert_eq!(origin("scheduler.drain_s"), format!("{}:3", file.display()));
    assert!(!loaded.values.contains_key("api.owner_wait_s"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("updraft.toml");
    fs::write(
        &file,
        "databse.url = \"sqlite:x\"\n[scheduler]\nlease_ms = 10\n[log]\nformat = \"jsn\"\n[api]\nowner_wait_s = \"long\"\n",
    )
    .unwrap();
    let file_name = file.display().to_string();
    let found = wrong(sources(Some(&file), &[("UPDRAFT__DATABASE__ULR", "x")], &[("nothing.here", "1")]));
    let found: Vec<_> = found.iter().map(|line| line.replace(&file_name, "updraft.toml")).collect();
    for line in [
        "`databse.url` (updraft.toml:1) isn't a setting; did you mean `database.url`?",
        "`scheduler.lease_ms` is 10 (updraft.toml:3), but must be a whole number from 1000 to 60000",
        "`log.format` is \"jsn\" (updraft.toml:5), but must be `auto`, `text` or `json`; did you mean `json`?",
        "`api.owner_wait_s` is \"long\" (updraft.toml:7), but must be a whole number from 1 to 300",
        "`database.ulr` (UPDRAFT__DATABASE__ULR) isn't a setting; did you mean `database.url`?",
    ] {
        assert!(found.iter().any(|found| found == line), "{line}\nisn't among\n{found:#?}");
    }
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("`nothing.here` (--set) isn't a setting: the sections are `"))
    );
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn a_password_is_in_no_message() {
    let secret = "postgres://u:hunter2@h/d";
    let loaded = load(sources(None, &[("UPDRAFT__DATABASE__URL", secret)], &[])).unwrap();
    assert_eq!(loaded.settings.database.url.as_ref().map(crate::settings::Secret::expose), Some(secret));
    assert!(!format!("{:?}", loaded.settings).contains("hunter2"));
    let shown = shown(Shown::Url, &loaded.values["database.url"].0);
    assert_eq!(shown, "\"postgres://u@h/d\"");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "[database]\nurl = [\"postgres://u:hunter2@h/d\"]\n").unwrap();
    let found = wrong(sources(Some(file.path()), &[], &[])).join("\n");
    assert!(found.contains("must be a text") && !found.contains("hunter2"), "{found}");
}

#[test]
fn a_file_that_others_may_change_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o664)).unwrap();
    let error = load(sources(Some(file.path()), &[], &[])).unwrap_err().to_string();
    assert!(error.contains("mode 0664") && error.contains("chmod go-w"), "{error}");
}

#[test]
fn a_name_of_the_users_own_is_kept_in_suggestions() {
    let found = wrong(sources(None, &[], &[("executors.big.slot", "3")]));
    assert_eq!(found, ["`executors.big.slot` (--set) isn't a setting; did you mean `executors.big.slots`?"]);
    let found = wrong(sources(None, &[], &[("executors.not a name.slots", "3")]));
    assert!(found[0].contains("executors"), "{found:?}");
}

#[test]
fn an_executor_of_which_nothing_is_said_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("updraft.toml");
    fs::write(&file, "[monitoring]\n[executors.local]\n[executors.lab]\nkind = \"noop\"\n").unwrap();
    let found = wrong(sources(Some(&file), &[], &[]));
    let path = file.display();
    assert_eq!(
        found,
        [format!("`executors.local` ({path}:2) isn't a setting; did you mean `executors.local.kind`?")]
    );
}
