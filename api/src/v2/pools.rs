//! Pools.

use dags::ids::PoolName;
use engine::{rows::PoolRow, state::TaskState};
use migrations::store::pool;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{access::Permit, error::Error};

pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod post;

/// The pool of tasks that name none. It is there though nobody made it.
const DEFAULT: &str = "default_pool";

/// A pool and its use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its slots; -1 for no limit.
    pub slots: i32,
    /// Pools have none.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether deferred task instances keep their slots.
    pub include_deferred: bool,
    /// Slots that are taken.
    pub occupied_slots: u64,
    /// Slots of what runs.
    pub running_slots: u64,
    /// Slots of what is handed over and doesn't run yet.
    pub queued_slots: u64,
    /// Slots that are waited for.
    pub scheduled_slots: u64,
    /// Slots that are free; -1 for no limit.
    pub open_slots: i64,
    /// Slots of what is deferred.
    pub deferred_slots: u64,
    /// None.
    pub team_name: Option<String>,
}

/// A page of pools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolCollection {
    /// The pools.
    pub pools: Vec<Pool>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// A pool that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolBody {
    /// Its name.
    pub name: String,
    /// Its slots; -1 for no limit.
    pub slots: i32,
    /// Pools have none.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether deferred task instances keep their slots.
    #[serde(default)]
    pub include_deferred: bool,
    /// There are no teams.
    #[serde(default)]
    pub team_name: Option<String>,
}

/// A change of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolPatch {
    /// Its name, which can't be changed.
    pub pool: Option<String>,
    /// Its slots; -1 for no limit.
    pub slots: Option<i32>,
    /// Pools have none.
    pub description: Option<String>,
    /// Whether deferred task instances keep their slots.
    pub include_deferred: Option<bool>,
    /// There are no teams.
    pub team_name: Option<String>,
}

/// What Airflow's pools have and ours haven't.
fn plain(description: Option<&String>, team: Option<&String>) -> Result<(), Error> {
    if description.is_some_and(|text| !text.is_empty()) {
        return Err(Error::unsupported("`description`", "a pool has a name and slots"));
    }
    no_team(team)
}

/// There are tenants instead.
pub(crate) fn no_team(team: Option<&String>) -> Result<(), Error> {
    match team {
        Some(_) => Err(Error::unsupported("`team_name`", "tenants keep teams apart")),
        None => Ok(()),
    }
}

/// All pools by name, the default pool among them.
async fn all(may: &Permit) -> Result<Vec<PoolRow>, Error> {
    let mut rows = pool::list(may.db(), may.scope).await?;
    if !rows.iter().any(|row| row.name.as_str() == DEFAULT) {
        let name = PoolName::parse(DEFAULT).expect("invariant: the default pool's name is a name");
        let slots = may.state.default_pool_slots;
        rows.push(PoolRow { tenant: may.scope.tenant(), name, slots, include_deferred: false });
        rows.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(rows)
}

/// The pool of that name, or not found.
async fn find(may: &Permit, name: &PoolName) -> Result<PoolRow, Error> {
    let found = all(may).await?.into_iter().find(|row| row.name == *name);
    found.ok_or_else(|| Error::NotFound(format!("the pool `{name}` was not found")))
}

async fn read(may: &Permit, name: &PoolName) -> Result<Pool, Error> {
    let row = find(may, name).await?;
    Ok(view(&row, &pool::usage(may.db(), may.scope).await?))
}

fn view(row: &PoolRow, usage: &[(PoolName, TaskState, u64)]) -> Pool {
    let slots = |states: &[TaskState]| -> u64 {
        let here = usage.iter().filter(|(pool, state, _)| *pool == row.name && states.contains(state));
        here.map(|(.., slots)| slots).sum()
    };
    let running = slots(&[TaskState::Running, TaskState::Restarting]);
    let queued = slots(&[TaskState::Queued]);
    let deferred = slots(&[TaskState::Deferred]);
    let occupied = running + queued + if row.include_deferred { deferred } else { 0 };
    Pool {
        name: row.name.to_string(),
        slots: row.slots,
        description: None,
        include_deferred: row.include_deferred,
        occupied_slots: occupied,
        running_slots: running,
        queued_slots: queued,
        scheduled_slots: slots(&[TaskState::Scheduled]),
        // Fewer than none after a pool was made smaller.
        open_slots: if row.slots < 0 { -1 } else { (i64::from(row.slots) - occupied as i64).max(0) },
        deferred_slots: deferred,
        team_name: None,
    }
}
