//! Backfills.

use dags::{ids::DagId, time::Timestamp};
use engine::{command::Reprocess, rows::BackfillRow};
use migrations::store::backfill;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{access::Permit, error::Error};

pub(crate) mod change;
pub mod dry_run;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod post;

/// Runs for past dates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Backfill {
    /// Its number.
    pub id: i64,
    /// The DAG.
    pub dag_id: String,
    /// The first logical date.
    pub from_date: Timestamp,
    /// The last logical date, inclusive.
    pub to_date: Timestamp,
    /// What each run gets as its conf.
    pub dag_run_conf: Option<Map<String, Value>>,
    /// Whether it starts no more runs.
    pub is_paused: bool,
    /// What happens to dates that have a run.
    pub reprocess_behavior: Reprocess,
    /// How many of its runs may be active at once.
    pub max_active_runs: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was completed or cancelled.
    pub completed_at: Option<Timestamp>,
    /// When it ended, otherwise when it was made.
    pub updated_at: Timestamp,
    /// The same as `dag_id`.
    pub dag_display_name: String,
    /// How many of its runs were made: our addition.
    #[serde(default)]
    pub runs_made: u32,
}

/// A page of backfills.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackfillCollection {
    /// The backfills.
    pub backfills: Vec<Backfill>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// A backfill that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackfillBody {
    /// The DAG, which must have a periodic schedule.
    pub dag_id: DagId,
    /// The first logical date.
    pub from_date: Timestamp,
    /// The last logical date, inclusive.
    pub to_date: Timestamp,
    /// From the last date to the first.
    #[serde(default)]
    pub run_backwards: bool,
    /// What each run gets as its conf.
    #[serde(default)]
    pub dag_run_conf: Option<Map<String, Value>>,
    /// What happens to dates that have a run.
    #[serde(default = "reprocess_none")]
    pub reprocess_behavior: Reprocess,
    /// How many of its runs may be active at once.
    #[serde(default = "max_active_runs")]
    pub max_active_runs: u32,
    /// New runs are always of the newest version; runs that are there keep theirs.
    #[serde(default)]
    pub run_on_latest_version: Option<bool>,
}

fn reprocess_none() -> Reprocess {
    Reprocess::None
}

fn max_active_runs() -> u32 {
    10
}

/// The backfill of that number, or not found. The permit is one to read backfills.
async fn find(may: &Permit, id: i64) -> Result<BackfillRow, Error> {
    match backfill::get(may.db(), may.scope, id).await? {
        Some(found) if may.sees(found.spec.dag_id.as_str()).await? => Ok(found),
        _ => Err(Error::NotFound(format!("there is no backfill {id}"))),
    }
}

fn view(row: &BackfillRow) -> Backfill {
    Backfill {
        id: row.id,
        dag_id: row.spec.dag_id.to_string(),
        from_date: row.spec.from,
        to_date: row.spec.to,
        dag_run_conf: Some(row.spec.conf.clone()),
        is_paused: row.paused,
        reprocess_behavior: row.spec.reprocess,
        max_active_runs: row.spec.max_active_runs,
        created_at: row.created_at,
        completed_at: row.ended_at,
        updated_at: row.ended_at.unwrap_or(row.created_at),
        dag_display_name: row.spec.dag_id.to_string(),
        runs_made: row.made,
    }
}
