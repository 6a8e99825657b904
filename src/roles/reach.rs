//! Waiting for the database at the start. Whoever has the right settings waits for a server that isn't there yet; what no
//! waiting mends, such as a wrong password or an old schema, ends the start.

use anyhow::Context as _;
use dags::time::Span;
use migrations::{Db, Error, migrate, seal::Sealer};
use scheduler::{clock, patience::Patience};

use super::Stop;
use crate::monitoring::Waits;

/// The first and the longest pause between two tries.
const PAUSES: (Span, Span) = (Span::millis(200), Span::seconds(5));

/// What to do about a master key that another one should be.
pub(crate) const FOREIGN_KEY: &str = "the master key (`keys.master_file`) isn't the one of this database: restore its file; if it is \
     lost for good, `updraft migrate forget-secrets` gives up what was sealed with it";

/// Waits for a database with the schema that this binary needs, whose secrets our master key opens. False if the process was
/// asked to end before.
pub(super) async fn database(db: &Db, sealer: &Sealer, waits: &Waits, stop: &Stop) -> anyhow::Result<bool> {
    let there = async || {
        db.reach().await?;
        migrate::check(db).await?;
        sealer.check(db).await
    };
    Ok(until(there, waits, stop).await?.is_some())
}

/// Calls `ask` until the database's server is there. None if the process was asked to end before.
pub(super) async fn until<T>(
    ask: impl AsyncFn() -> Result<T, Error>,
    waits: &Waits,
    stop: &Stop,
) -> anyhow::Result<Option<T>> {
    let mut patience = Patience::new(PAUSES.0, PAUSES.1);
    loop {
        let asked = tokio::select! {
            asked = ask() => asked,
            () = stop.drain.cancelled() => return Ok(None),
        };
        let why = match asked {
            Ok(found) => {
                if patience.came_back() {
                    tracing::info!("the database is there");
                }
                waits.over();
                return Ok(Some(found));
            }
            Err(error) if error.is_away() => crate::monitoring::error_chain(&error),
            Err(error @ Error::Seal(_)) => return Err(error).context(FOREIGN_KEY),
            Err(error) => return Err(error).context("failed to open the database (`database.url`)"),
        };
        // Why may differ from try to try; `/readyz` has the last one.
        if patience.is_news("away") {
            tracing::warn!(error = why, "the database can't be reached (`database.url`); waiting for it");
        }
        waits.say("database", format!("waiting for it: {why}"));
        tokio::select! {
            () = clock::sleep(patience.pause()) => {}
            () = stop.drain.cancelled() => return Ok(None),
        }
    }
}
