//! `GET /dags`: a page of DAGs with their last runs, for lists.

use axum::Json;
use dags::{
    ids::{DagId, RunName},
    run_name::RunType,
    time::Timestamp,
};
use engine::state::RunState;
use migrations::{
    policy::Kind,
    store::{
        Window,
        dag::{self, DagFilter, DagWithModel},
        overview::{self, Bar},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    error::Error,
    extract::{Asked, Parameter, Parameters, Params},
    list::LIMIT_MAX,
    v1::allowed::{self, Verdicts},
    v2::dag_runs::duration,
};

/// Runs of a strip.
pub(crate) const STRIP: u32 = 25;

/// A page of DAGs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DagPage {
    /// The DAGs, by name.
    pub items: Vec<DagInList>,
    /// How many there are on all pages.
    pub total: u64,
    /// The value of `after` that goes on; none at the end.
    pub next: Option<DagId>,
}

/// A DAG with its last runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DagInList {
    /// Its name.
    pub dag_id: DagId,
    /// The first line of its doc.
    pub description: Option<String>,
    /// Whether new runs and tasks wait.
    pub paused: bool,
    /// Its schedule in short.
    pub schedule: Option<String>,
    /// Its schedule in words.
    pub schedule_says: Option<String>,
    /// When the next automated run is due.
    pub next_run_after: Option<Timestamp>,
    /// Labels to find it by.
    pub tags: Vec<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Its file within the bundle.
    pub source: String,
    /// Why the scheduler leaves it alone, if it does.
    pub quarantined: Option<String>,
    /// Whether its newest version can't be read.
    pub unreadable: bool,
    /// The last runs, oldest first; none of them for those who may not read runs.
    pub runs: Vec<RunBar>,
    /// What one may do with it.
    pub allowed: Verdicts,
}

/// A run in a strip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunBar {
    /// Its name.
    pub id: RunName,
    /// Its state.
    pub state: RunState,
    /// Why it exists.
    pub run_type: RunType,
    /// When it is or was due.
    pub run_after: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// How long it took, in seconds; none while it isn't over.
    pub seconds: Option<f64>,
}

pub(crate) fn bar(bar: Bar) -> RunBar {
    let seconds = duration(bar.started_at, bar.ended_at);
    RunBar {
        id: bar.run_name,
        state: bar.state,
        run_type: bar.run_type,
        run_after: bar.run_after,
        started_at: bar.started_at,
        seconds,
    }
}

/// How many rows are wanted.
pub(crate) const LIMIT: Parameter =
    Parameter::one::<u64>("limit", "Rows of a page, from 1 to 100; 100 if absent.");

/// The rows that one page has at most.
pub(crate) fn page_size(query: &Params) -> Result<u64, Error> {
    match query.read::<u64>("limit")? {
        None => Ok(LIMIT_MAX),
        Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        Some(limit) => Err(Error::value("query", "limit", format!("must be 1 to {LIMIT_MAX}"), limit)),
    }
}

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        Parameter::one::<String>("name", "Only DAGs whose name contains it."),
        Parameter::one::<String>("tag", "Only DAGs that have it."),
        Parameter::one::<bool>("paused", "Only those that are, or are not, paused."),
        Parameter::one::<DagId>("after", "The `next` of the page before."),
        LIMIT,
    ];
}

/// `GET /dags?name=&tag=&paused=&after=&limit=`: DAGs whose name contains `name`.
pub(crate) async fn list(access: Access, query: Asked<Filter>) -> Result<Json<DagPage>, Error> {
    let may = access.list(Kind::Dag).await?;
    let limit = page_size(&query)?;
    let filter = DagFilter {
        paused: query.flag("paused")?,
        name_contains: query.text("name").filter(|text| !text.is_empty()).map(str::to_owned),
        tag: query.text("tag").map(str::to_owned),
        after: query.read("after")?,
        with_stale: false,
        visible: Some(may.visible.clone()),
    };
    let window = Window { limit: limit + 1, offset: 0 };
    let mut page = dag::list(may.db(), may.scope, &filter, window).await?;
    let more = page.rows.len() as u64 > limit;
    page.rows.truncate(limit as usize);
    let next = page.rows.last().filter(|_| more).map(|last| last.row.dag_id.clone());
    let runs = access.seen(Kind::Run);
    let shown = page.rows.iter().filter(|found| runs.covers(found.row.dag_id.as_str(), &found.tags()));
    let names: Vec<DagId> = shown.map(|found| found.row.dag_id.clone()).collect();
    let mut strips = overview::strips(may.db(), may.scope, &names, STRIP).await?;
    let item = |found: DagWithModel| {
        let mut runs: Vec<RunBar> =
            strips.remove(&found.row.dag_id).unwrap_or_default().into_iter().map(bar).collect();
        runs.reverse();
        view(&access, &found, runs)
    };
    Ok(Json(DagPage { items: page.rows.into_iter().map(item).collect(), total: page.total, next }))
}

fn view(access: &Access, found: &DagWithModel, runs: Vec<RunBar>) -> DagInList {
    let shown = crate::v2::dags::view(found);
    let tags = found.tags();
    DagInList {
        dag_id: found.row.dag_id.clone(),
        description: shown.description,
        paused: found.row.paused,
        schedule: shown.timetable_summary,
        schedule_says: shown.timetable_description,
        next_run_after: shown.next_dagrun_run_after,
        owner: shown.owners.into_iter().next(),
        source: found.source.clone(),
        quarantined: found.quarantine.clone(),
        unreadable: shown.has_import_errors,
        runs,
        allowed: allowed::on_dag(access, &found.row.dag_id, &tags),
        tags: tags.into_iter().collect(),
    }
}
