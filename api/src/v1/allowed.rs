//! `GET /allowed`: what one may do here, so that a page shows what is out of reach as such, with the reason.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use dags::ids::DagId;
use migrations::policy::{Action, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, NO_TAGS, Resource, tags},
    error::Error,
    extract::{Asked, Parameter, Parameters},
};

/// Whether something may be done, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Whether it may.
    pub allowed: bool,
    /// What it would take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What one may do, by verb.
pub type Verdicts = BTreeMap<String, Verdict>;

/// What is done with a DAG.
const ON_DAG: [(&str, Kind, Action); 9] = [
    ("pause", Kind::Dag, Action::Change),
    ("trigger", Kind::Run, Action::Create),
    ("mark_run", Kind::Run, Action::Change),
    ("clear", Kind::Task, Action::Change),
    ("backfill", Kind::Backfill, Action::Create),
    ("tasks", Kind::Task, Action::Read),
    ("logs", Kind::Log, Action::Read),
    ("results", Kind::Result, Action::Read),
    ("code", Kind::Code, Action::Read),
];

/// What is done with a tenant's other objects. A star stands for all of them.
const IN_TENANT: [(&str, Kind, Action); 13] = [
    ("dags", Kind::Dag, Action::Read),
    ("runs", Kind::Run, Action::Read),
    ("tasks", Kind::Task, Action::Read),
    ("pools", Kind::Pool, Action::Read),
    ("edit_pools", Kind::Pool, Action::Change),
    ("variables", Kind::Variable, Action::Read),
    ("edit_variables", Kind::Variable, Action::Change),
    ("connections", Kind::Connection, Action::Read),
    ("edit_connections", Kind::Connection, Action::Change),
    ("assets", Kind::Asset, Action::Read),
    ("members", Kind::Member, Action::Read),
    ("edit_members", Kind::Member, Action::Change),
    ("audit", Kind::Audit, Action::Read),
];

fn verdict(allowed: bool, kind: Kind, action: Action, name: &str) -> Verdict {
    let needs = || format!("needs {}:{} on {name}", kind.as_str(), action.as_str());
    Verdict { allowed, reason: (!allowed).then(needs) }
}

/// What the actor may do with a DAG that has those tags.
pub(crate) fn on_dag(access: &Access, dag: &DagId, tags: &BTreeSet<String>) -> Verdicts {
    let one = |(verb, kind, action): (&str, Kind, Action)| {
        let allowed = access.may(kind, action, dag.as_str(), tags);
        (verb.to_owned(), verdict(allowed, kind, action, dag.as_str()))
    };
    ON_DAG.into_iter().map(one).collect()
}

/// What may be asked.
pub(crate) struct Wanted;

impl Parameters for Wanted {
    const ALL: &'static [Parameter] =
        &[Parameter::one::<DagId>("dag", "A DAG; the tenant as a whole if absent.")];
}

/// `GET /allowed?dag=`: with a DAG what may be done with it, otherwise what may be done in the tenant.
pub(crate) async fn get(access: Access, query: Asked<Wanted>) -> Result<Json<Verdicts>, Error> {
    let Some(dag) = query.read::<DagId>("dag")? else {
        let one = |(verb, kind, action): (&str, Kind, Action)| {
            // What is read is listed, and a list is cut down to what one may see.
            let some = action == Action::Read && !access.seen(kind).allow.is_empty();
            let allowed = some || access.may(kind, action, "*", &NO_TAGS);
            (verb.to_owned(), verdict(allowed, kind, action, "*"))
        };
        return Ok(Json(IN_TENANT.into_iter().map(one).collect()));
    };
    let may = access.authorize(Resource::dag(Kind::Dag, &dag), Action::Read).await?;
    Ok(Json(on_dag(&access, &dag, &tags(may.db(), may.scope, &dag).await?)))
}
