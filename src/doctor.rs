//! `updraft doctor`: looks at everything that a service stands on, and says what isn't as it should be, where, and what to do.
//! It changes nothing, and may run beside a service.

use std::fmt::Write as _;

use ::scheduler::clock;
use dags::{
    ids::{ShardId, TenantId},
    time::Span,
};
use migrations::{
    Db, Role, TenantScope, migrate,
    seal::{MasterKey, Sealer},
    store::{doctor, inbox, shard},
};
use serde::Serialize;

use crate::{
    roles::FOREIGN_KEY,
    settings::{Settings, load::Loaded},
};

mod objects;

/// How far the clocks may be apart: beyond it a scheduler gets no lease.
const SKEW_MAX: Span = Span::seconds(1);
/// A request that waits for longer than this isn't taken by anybody.
const LAG_MAX: Span = Span::seconds(10);
/// How long the broker may take to answer.
const BROKER_MAX: Span = Span::seconds(10);

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// As it should be.
    Ok,
    /// Worth a look.
    Note,
    /// Not as it should be.
    Wrong,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: &'static str,
    pub(crate) severity: Severity,
    /// How it is.
    pub(crate) says: String,
    /// Where.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) places: Vec<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) todo: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self { check, severity: Severity::Ok, says: says.into(), places: Vec::new(), todo: None }
    }

    pub(crate) fn new(
        check: &'static str,
        severity: Severity,
        says: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        let (says, todo) = (says.into(), Some(todo.into()));
        Self { check, severity, says, places: Vec::new(), todo }
    }

    pub(crate) fn wrong(check: &'static str, says: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(check, Severity::Wrong, says, todo)
    }

    pub(crate) fn at(mut self, places: Vec<String>) -> Self {
        self.places = places;
        self
    }
}

/// Looks at everything.
pub(crate) async fn examine(loaded: &Loaded) -> Vec<Finding> {
    let settings = &loaded.settings;
    let mut findings = of_settings(settings);
    let db = match open(settings).await {
        Ok(db) => db,
        Err(finding) => {
            findings.push(finding);
            return findings;
        }
    };
    findings.push(database(&db).await);
    match migrate::check(&db).await {
        Ok(()) => {
            findings.push(Finding::ok("migrations", format!("the schema has number {}", migrate::newest())));
        }
        Err(error) => {
            let says = format!("{:#}", anyhow::Error::from(error));
            findings.push(Finding::wrong(
                "migrations",
                says,
                "`updraft migrate up` with the newest release of the service",
            ));
            // What follows needs the schema as it is known here.
            return findings;
        }
    }
    findings.extend(keys(settings, &db).await);
    findings.extend(owner(&db).await);
    findings.extend(rows(&db).await);
    findings.extend(objects::examine(settings, &db).await);
    findings.extend(broker(settings).await);
    findings
}

fn of_settings(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let wrong = |error: anyhow::Error| {
        Finding::wrong(
            "settings",
            format!("{error:#}"),
            "`updraft config check` shows what is in force and from where",
        )
    };
    findings.extend(settings.executors().err().map(wrong));
    findings.extend(settings.fleet().err().map(wrong));
    findings.extend(settings.clusters().err().map(wrong));
    findings.extend(settings.data_folders().err().map(wrong));
    findings.extend(settings.monitoring.token().err().map(wrong));
    match settings.master_file().map(|file| (MasterKey::load(&file), file)) {
        Ok((Ok(_), _)) => {}
        Ok((Err(error), file)) => findings.push(Finding::wrong(
            "keys",
            format!("the master key can't be read: {:#}", anyhow::Error::from(error)),
            format!("restore {} from a backup: without it no secret can be opened", file.display()),
        )),
        Err(error) => findings.push(wrong(error)),
    }
    if findings.is_empty() {
        findings.push(Finding::ok("settings", "they fit each other, and the master key is there"));
    }
    findings
}

async fn open(settings: &Settings) -> Result<Db, Finding> {
    let url = settings.own_database().map_err(|error| {
        Finding::wrong("database", format!("{error:#}"), "name the database, `database.url`")
    })?;
    // SQLite would make a file that isn't there.
    if let Some(path) = url.strip_prefix("sqlite:")
        && !std::path::Path::new(path.strip_prefix("//").unwrap_or(path)).exists()
    {
        let todo = "start `updraft standalone` once, or name the right file, `database.url`";
        return Err(Finding::wrong("database", format!("there is no file {path}"), todo));
    }
    Db::connect(&url, Role::Owner).await.map_err(|error| {
        let says = format!("{:#}", anyhow::Error::from(error));
        Finding::wrong("database", says, "see that the server runs and that `database.url` is right")
    })
}

async fn keys(settings: &Settings, db: &Db) -> Option<Finding> {
    // One that can't be read was found among the settings.
    let key = MasterKey::load(&settings.master_file().ok()?).ok()?;
    Some(match Sealer::new(key).check(db).await {
        Ok(()) => Finding::ok("keys", "the master key opens the keys of every tenant"),
        Err(error) => Finding::wrong("keys", format!("{:#}", anyhow::Error::from(error)), FOREIGN_KEY),
    })
}

async fn database(db: &Db) -> Finding {
    let (began, before) = (clock::monotonic(), clock::now());
    let now = match db.now().await {
        Ok(now) => now,
        Err(error) => {
            let says = format!("{:#}", anyhow::Error::from(error));
            return Finding::wrong("database", says, "see the server's log");
        }
    };
    let took = began.elapsed();
    // The answer was made at some instant in between.
    let apart = now.since(before).0 - took.0 / 2;
    let skew = Span(apart.abs());
    if skew > SKEW_MAX {
        let says = format!("this machine's clock and the database's are {skew} apart");
        return Finding::wrong(
            "clock",
            says,
            "have both machines' clocks set by NTP: a scheduler gets no lease until then",
        );
    }
    Finding::ok("database", format!("answers in {took}, its clock is {skew} from this machine's"))
}

async fn owner(db: &Db) -> Vec<Finding> {
    let mut findings = Vec::new();
    let failed = |error: migrations::Error| {
        Finding::wrong("owner", format!("{:#}", anyhow::Error::from(error)), "see the server's log")
    };
    match shard::ownership(db, TenantScope::new(TenantId::DEFAULT)).await {
        Ok(found) if found.owned => {
            let owner = found.owner.unwrap_or_default();
            findings.push(Finding::ok("owner", format!("{owner} owns the shard, batch {}", found.batch)));
        }
        Ok(_) => findings.push(Finding::new(
            "owner",
            Severity::Note,
            format!("nobody owns the shard {}: nothing is scheduled", ShardId::DEFAULT),
            "start `updraft scheduler` or `updraft standalone`, unless the service is meant to stand still",
        )),
        Err(error) => findings.push(failed(error)),
    }
    match inbox::waiting(db).await {
        Ok((0, _)) => {}
        Ok((n, lag)) if lag > LAG_MAX => findings.push(Finding::new(
            "inbox",
            Severity::Note,
            format!("{n} requests wait, the oldest for {lag}"),
            "see the log of whoever owns the shard",
        )),
        Ok(_) => {}
        Err(error) => findings.push(failed(error)),
    }
    findings
}

async fn rows(db: &Db) -> Vec<Finding> {
    match doctor::examine(db).await {
        Ok(found) if found.is_empty() => {
            vec![Finding::ok("rows", "every reference, state and format is as it should be")]
        }
        Ok(found) => found
            .into_iter()
            .map(|found| {
                let severity = if found.check == "quarantine" { Severity::Note } else { Severity::Wrong };
                Finding::new(found.check, severity, found.what, found.todo).at(found.places)
            })
            .collect(),
        Err(error) => {
            vec![Finding::wrong("rows", format!("{:#}", anyhow::Error::from(error)), "see the server's log")]
        }
    }
}

async fn broker(settings: &Settings) -> Option<Finding> {
    let Ok(Some(fleet)) = settings.fleet() else { return None };
    let tried = tokio::select! {
        tried = executor::broker::examine(&fleet.broker, ShardId::DEFAULT) => tried.map_err(|error| error.to_string()),
        () = clock::sleep(BROKER_MAX) => Err(format!("no answer within {BROKER_MAX}")),
    };
    Some(match tried {
        Ok(found) if found.dead > 0 => Finding::new(
            "broker",
            Severity::Note,
            format!("{} messages are in the dead-letter queue: they could not be read", found.dead),
            "look at the queue `updraft.dead`, then purge it; workers of another release may have sent them",
        ),
        Ok(found) => Finding::ok("broker", format!("answers, and {} reports wait", found.reports)),
        Err(why) => Finding::wrong("broker", why, "see that the broker runs and that `broker.url` is right"),
    })
}

/// Everything that was found, for people.
pub(crate) fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, severity, says, places, todo } in findings {
        let word = match severity {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Wrong => "wrong",
        };
        let _ = writeln!(text, "{word:<6} {check}: {says}");
        for place in places {
            let _ = writeln!(text, "       at {place}");
        }
        if let Some(todo) = todo {
            let _ = writeln!(text, "       do: {todo}");
        }
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (wrong, notes) = (count(Severity::Wrong), count(Severity::Note));
    let _ = writeln!(text, "{wrong} wrong, {notes} worth a look, {} as it should be", count(Severity::Ok));
    text
}
