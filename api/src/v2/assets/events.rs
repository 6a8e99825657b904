//! `GET /assets/events` and `POST /assets/events`

use std::collections::BTreeMap;

use axum::Json;
use dags::{
    ids::{DagId, RunId, RunName},
    time::Timestamp,
};
use engine::{
    command::Command,
    rows::{AssetEventRow, RunRow},
};
use migrations::policy::{Action, Kind, Visible};
use migrations::store::{
    Page, Window,
    asset::{self, EventFilter},
    bundle, run,
};
use plugins::context::ASSET_EVENTS_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Asked, Body, Named, Parameter, Parameters},
    list::{ORDER_BY, PAGE_LIMIT, PAGE_OFFSET},
    v2::{
        assets::{Seen, find, id},
        dag_runs,
    },
};

/// An update of an asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AssetEvent {
    /// Its number.
    pub id: i64,
    /// The asset's number.
    pub asset_id: u64,
    /// The asset's name.
    pub uri: Option<String>,
    /// The asset's name.
    pub name: Option<String>,
    /// `asset`.
    pub group: Option<String>,
    /// Whatever the producer wants consumers to see.
    pub extra: Option<Map<String, Value>>,
    /// The task that made it, if one did.
    pub source_task_id: Option<String>,
    /// Its DAG.
    pub source_dag_id: Option<String>,
    /// Its run.
    pub source_run_id: Option<String>,
    /// Its map index, -1 if there is none.
    pub source_map_index: i32,
    /// Unknown: an event doesn't know who used it.
    pub created_dagruns: Vec<Value>,
    /// When it happened.
    pub timestamp: Timestamp,
    /// None.
    pub partition_key: Option<String>,
}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AssetEventCollection {
    /// The events.
    pub asset_events: Vec<AssetEvent>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// An update from outside of a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetEventBody {
    /// The asset's number.
    pub asset_id: u64,
    /// There are no partitions.
    #[serde(default)]
    pub partition_key: Option<String>,
    /// Whatever consumers are to see.
    #[serde(default)]
    pub extra: Map<String, Value>,
    /// There are no teams.
    #[serde(default)]
    pub access_control: Option<Value>,
}

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] =
        &[PAGE_LIMIT, PAGE_OFFSET, ORDER_BY, Parameter::one::<u64>("asset_id", "Only events of that asset.")];
}

/// Events of one asset or of all, the newest first.
pub(crate) async fn list(access: Access, query: Asked<Filter>) -> Result<Json<AssetEventCollection>, Error> {
    let seen = Seen::of(&access).await?;
    let may = &seen.may;
    query.order(&["-timestamp", "-id"])?;
    let mut which = EventFilter::default();
    if let Some(id) = query.read("asset_id")? {
        which.assets.insert(find(&seen, id).await?.name);
    }
    let page = asset::events(may.db(), may.scope, &may.visible, &which, query.window()?).await?;
    collection(&seen, page).await
}

/// The events that a run stands for, the newest first: those of assets that may be seen, at most
/// [`ASSET_EVENTS_MAX`]. A run that no asset made has none.
pub(crate) async fn of_run(
    access: Access,
    Named((dag_id, name)): Named<(DagId, RunName)>,
) -> Result<Json<AssetEventCollection>, Error> {
    let may = access.authorize(Resource::dag(Kind::Run, &dag_id), Action::Read).await?;
    let seen = Seen { may, dags: access.seen(Kind::Dag) };
    let may = &seen.may;
    let run = dag_runs::find(may, &dag_id, &name).await?;
    let version = bundle::version(may.db(), may.scope, &dag_id, &run.version).await?;
    let condition = version.as_ref().and_then(|version| version.model.schedule.when.assets());
    let (Some(window), Some(condition)) = (run.asset_window, condition) else {
        return collection(&seen, Page { rows: Vec::new(), total: 0 }).await;
    };
    let which = EventFilter { assets: condition.names(), within: Some(window) };
    let newest = Window { limit: ASSET_EVENTS_MAX, offset: 0 };
    let page = asset::events(may.db(), may.scope, &access.seen(Kind::Asset), &which, newest).await?;
    collection(&seen, page).await
}

async fn collection(
    seen: &Seen,
    page: Page<(i64, AssetEventRow)>,
) -> Result<Json<AssetEventCollection>, Error> {
    let mut runs: BTreeMap<RunId, Option<RunRow>> = BTreeMap::new();
    let mut asset_events = Vec::with_capacity(page.rows.len());
    for (id, row) in &page.rows {
        asset_events.push(view(seen, *id, row, &mut runs).await?);
    }
    Ok(Json(AssetEventCollection { asset_events, total_entries: page.total }))
}

/// Records that an asset was updated by something that is no task.
pub(crate) async fn post(
    access: Access,
    Body(body): Body<AssetEventBody>,
) -> Result<Json<AssetEvent>, Error> {
    let seen = Seen::of(&access).await?;
    if body.partition_key.is_some() || body.access_control.is_some() {
        return Err(Error::unsupported("`partition_key` and `access_control`", "an event has `extra`"));
    }
    let asset = find(&seen, body.asset_id).await?.name;
    let may = access.authorize(Resource::named(Kind::Asset, &asset), Action::Create).await?;
    may.request(Command::AssetEvent { asset: asset.clone(), extra: body.extra }).await?;
    let which = EventFilter { assets: [asset.clone()].into(), within: None };
    let newest =
        asset::events(may.db(), may.scope, &Visible::all(), &which, Window { limit: 1, offset: 0 }).await?;
    let (id, row) = newest
        .rows
        .first()
        .ok_or_else(|| Error::Internal(format!("the event of `{asset}` that was made isn't there")))?;
    Ok(Json(view(&seen, *id, row, &mut BTreeMap::new()).await?))
}

async fn view(
    seen: &Seen,
    number: i64,
    row: &AssetEventRow,
    runs: &mut BTreeMap<RunId, Option<RunRow>>,
) -> Result<AssetEvent, Error> {
    let mut source = None;
    if let Some((run, task, map_index)) = &row.source {
        if !runs.contains_key(run) {
            let found = run::by_id(seen.may.db(), seen.may.scope, *run).await?;
            // Who may not see a DAG doesn't learn that it is behind an event.
            let found = match found {
                Some(found) if seen.sees(&found.dag_id).await? => Some(found),
                _ => None,
            };
            runs.insert(*run, found);
        }
        let run = runs.get(run).and_then(Option::as_ref);
        source =
            run.map(|run| (run.dag_id.to_string(), run.run_name.to_string(), task.to_string(), *map_index));
    }
    Ok(AssetEvent {
        id: number,
        asset_id: id(&row.asset),
        uri: Some(row.asset.to_string()),
        name: Some(row.asset.to_string()),
        group: Some("asset".to_owned()),
        extra: Some((*row.extra).clone()),
        source_task_id: source.as_ref().map(|source| source.2.clone()),
        source_dag_id: source.as_ref().map(|source| source.0.clone()),
        source_run_id: source.as_ref().map(|source| source.1.clone()),
        source_map_index: source.as_ref().map_or(-1, |source| source.3),
        created_dagruns: Vec::new(),
        timestamp: row.at,
        partition_key: None,
    })
}
