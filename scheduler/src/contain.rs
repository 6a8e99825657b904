//! Panics of the engine, which are bugs: they end one engine, never the service, and never the work of everybody.
//!
//! An engine that panicked is dropped with all that it had computed and not committed, and built again from the database. It
//! is deterministic, so it would panic again: whom it worked for is remembered, and left alone after a few times
//! ([`crate::conflicts`]). Temporal and Restate do the same with a workflow whose code panics: it is retried, then set aside,
//! and the worker goes on. What nobody can be blamed for is tried again a few times; then the process ends, with the reason.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dags::time::Timestamp;
use engine::{
    Config,
    blame::Culprit,
    driver::{Action, Driver, Input},
    journal::Journal,
    rows::{Broken, Snapshot, Subject},
};

use crate::{desk::chain, shell::Error};

/// How often it is tried to build an engine from the same rows, with ever more of them left alone.
const BUILDS_MAX: usize = 3;

/// The engine panicked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// What it said. Where it happened is in the process's error output.
    pub message: String,
    /// Whom it worked for.
    pub culprit: Option<Culprit>,
}

impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the engine panicked: {}", self.message)
    }
}

/// Hands an input to the driver. After a panic the driver can't be used any more.
pub(crate) fn next(driver: &mut Driver, now: Timestamp, input: Input) -> Result<Vec<Action>, Panic> {
    contain(|| driver.next(now, input)).map_err(|message| Panic { message, culprit: driver.culprit() })
}

/// Builds a driver from what is stored. Runs and DAGs that it can't be built with are left alone, as are those of `isolate`.
pub(crate) async fn build<J: Journal>(
    journal: &mut J,
    config: &Config,
    mut isolate: Vec<Broken>,
) -> Result<Driver, Error> {
    let mut said = String::new();
    for _ in 0..BUILDS_MAX {
        let snapshot = read(journal, &isolate).await?;
        match contain(|| Driver::new(config.clone(), snapshot)) {
            Ok(built) => return built.map_err(Error::Restore),
            Err(message) => said = message,
        }
        tracing::error!(said, "the engine panicked when it was built; who is to blame is being found out");
        let culprits = suspects(config, &read(journal, &isolate).await?);
        if culprits.is_empty() {
            break;
        }
        isolate.extend(culprits);
    }
    Err(Error::Panicked(said))
}

async fn read<J: Journal>(journal: &mut J, isolate: &[Broken]) -> Result<Snapshot, Error> {
    let mut snapshot = journal.snapshot().await.map_err(|error| Error::Snapshot(chain(&error)))?;
    snapshot.isolate(isolate.to_vec());
    Ok(snapshot)
}

/// The runs and DAGs that an engine can't be built with, not even with them alone.
fn suspects(config: &Config, snapshot: &Snapshot) -> Vec<Broken> {
    let mut found: Vec<Broken> = Vec::new();
    for (part, alone) in snapshot.parts() {
        let with_its_dag = |known: &Broken| match (&known.subject, &part.subject) {
            (Subject::Dag(tenant, dag_id), Subject::Run(other, _)) => {
                tenant == other && Some(dag_id) == part.dag_id.as_ref()
            }
            (Subject::Run(..), _) | (_, Subject::Dag(..)) => false,
        };
        if found.iter().any(with_its_dag) {
            continue;
        }
        if let Err(message) = contain(|| drop(Driver::new(config.clone(), alone))) {
            let reason = format!("the engine can't be built with it, it panicked: {message}");
            found.push(Broken { reason, ..part });
        }
    }
    found
}

/// Calls it; an error is what a panic said.
fn contain<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it said nothing").to_owned()
    })
}
