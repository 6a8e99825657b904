//! What would change with a bundle, and what stands in the way of it.

use std::collections::BTreeMap;

use dags::bundle::{Compiled, Size};
use migrations::{
    policy::{Action, Kind},
    store::{
        Window,
        bundle::{self, Bundle},
        connection,
        dag::{self, DagFilter, DagWithModel},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::diff::{Difference, between};
use crate::{
    access::{Access, Permit},
    error::Error,
    v1::policies::Room,
};

/// The most DAGs of a tenant that are looked at.
const DAGS_MAX: u64 = 100_000;

/// What would change with a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The bundle.
    pub bundle: String,
    /// The one that is active now, if one is.
    pub base: Option<String>,
    /// The DAGs of both, by name, as far as one may see them.
    pub dags: Vec<PlannedDag>,
    /// What stands in the way.
    pub troubles: Vec<Trouble>,
}

impl Plan {
    /// Whether it would make any difference.
    pub fn changes(&self) -> bool {
        self.base.as_deref() != Some(&self.bundle)
    }
}

/// What becomes of a DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedDag {
    /// Its name.
    pub dag_id: String,
    /// What becomes of it.
    pub change: Change,
    /// The version that it has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The version that it would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What differs; none if one may not read the DAG's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<Vec<Difference>>,
}

/// What becomes of a DAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It isn't there yet.
    New,
    /// It gets another version.
    Changed,
    /// It becomes stale.
    Removed,
    /// Its version stays; new runs use the new bundle's files.
    Unchanged,
}

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// Of what kind.
    pub cause: Cause,
    /// What, where, and what to do.
    pub message: String,
}

/// Why a bundle can't be made active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A file can't be used.
    File,
    /// One may not do that.
    Permission,
    /// The service lacks something that a DAG needs: it would fail or wait for ever.
    Missing,
    /// The tenant's DAGs come from a folder that the service watches.
    Folder,
}

/// A plan, with what it was made of.
pub(super) struct Made {
    pub(super) plan: Plan,
    pub(super) size: Size,
    pub(super) sources: Vec<Compiled>,
}

fn trouble(cause: Cause, message: String) -> Trouble {
    Trouble { cause, message }
}

/// Compiles a bundle and compares it with what is there.
pub(super) async fn make(access: &Access, may: &Permit, target: &Bundle) -> Result<Made, Error> {
    let (db, scope, address) = (may.db(), may.scope, &target.digest);
    let connections = connection::list(db, scope).await?;
    let is_route = |kind: &str| plugins::notify::TYPES.contains(&kind);
    let routes =
        connections.iter().filter(|one| is_route(&one.address.conn_type)).map(|one| one.name.clone());
    let contents = may.state.bundles.compile(scope.tenant(), address.clone(), routes.collect()).await?;
    let active = bundle::active(db, scope).await?;
    let filter = DagFilter { with_stale: true, ..DagFilter::default() };
    let there = dag::list(db, scope, &filter, Window { limit: DAGS_MAX, offset: 0 }).await?.rows;
    let there: BTreeMap<String, DagWithModel> =
        there.into_iter().map(|dag| (dag.row.dag_id.to_string(), dag)).collect();

    let mut troubles: Vec<Trouble> = Vec::new();
    for (file, report) in &contents.broken {
        troubles.push(trouble(Cause::File, format!("{file} can't be used:\n{report}")));
    }
    let is_other = active.as_ref().is_some_and(|active| active.digest != *address);
    if is_other && target.is_deployed() && active.as_ref().is_some_and(|active| !active.is_deployed()) {
        let message = "the DAGs of this tenant come from the folder that its service watches (`dags.folder`): deploy \
                       to another tenant, or take the folder's place, which isn't looked at any more then";
        troubles.push(trouble(Cause::Folder, message.to_owned()));
    }
    let room = Room::of(db, scope, contents.default_executor.clone(), may.state.default_pool_slots).await?;
    for found in contents.dags.values() {
        let lacks = room.lacks(&found.model, &found.connections, &found.variables);
        troubles.extend(lacks.into_iter().map(|message| trouble(Cause::Missing, message)));
    }

    let mut dags = Vec::new();
    for (dag_id, found) in &contents.dags {
        let name = dag_id.as_str();
        let before = there.get(name);
        let old_tags = before.map(DagWithModel::tags);
        // By what it is and by what it becomes: nobody gets hold of a DAG by another label.
        let allowed = access.may(Kind::Dag, Action::Create, name, &found.model.tags)
            && old_tags.as_ref().is_none_or(|tags| access.may(Kind::Dag, Action::Create, name, tags));
        if !allowed {
            troubles.push(trouble(Cause::Permission, format!("you may not deploy the DAG `{name}`")));
        }
        let live = before.filter(|before| !before.row.stale);
        let seen = live.filter(|dag| access.may(Kind::Code, Action::Read, name, &dag.tags()));
        let (change, differences) = match live {
            None => (Change::New, None),
            Some(before) if before.row.version == found.version => (Change::Unchanged, None),
            Some(_) => {
                let model = seen.and_then(|before| before.model().ok());
                let differences = model.map(|model| between(model, &found.model)).transpose();
                (Change::Changed, differences.map_err(|error| Error::Internal(error.to_string()))?)
            }
        };
        dags.push(PlannedDag {
            dag_id: name.to_owned(),
            change,
            before: live.map(|before| before.row.version.to_string()),
            after: Some(found.version.to_string()),
            differences,
        });
    }
    let mut hidden = 0;
    for (name, before) in &there {
        let broken = contents.broken.contains_key(&before.source);
        if before.row.stale || broken || contents.dags.contains_key(&before.row.dag_id) {
            continue;
        }
        let tags = before.tags();
        if !access.may(Kind::Dag, Action::Read, name, &tags) {
            hidden += 1;
            continue;
        }
        if !access.may(Kind::Dag, Action::Delete, name, &tags) {
            let message = format!("you may not take the DAG `{name}` away, which the bundle doesn't have");
            troubles.push(trouble(Cause::Permission, message));
        }
        dags.push(PlannedDag {
            dag_id: name.clone(),
            change: Change::Removed,
            before: Some(before.row.version.to_string()),
            after: None,
            differences: None,
        });
    }
    if hidden > 0 {
        let message = "the bundle lacks DAGs that you may not see, and would take them away";
        troubles.push(trouble(Cause::Permission, message.to_owned()));
    }
    dags.sort_by(|a, b| a.dag_id.cmp(&b.dag_id));
    troubles.sort_by_key(|trouble| trouble.cause);
    let plan = Plan {
        bundle: address.to_string(),
        base: active.map(|active| active.digest.to_string()),
        dags,
        troubles,
    };
    Ok(Made { plan, size: contents.size, sources: contents.dags.into_values().collect() })
}
