//! DAGs.

use dags::{
    ids::DagId,
    model::{AssetCondition, When},
    run_name::RunType,
    time::{Span, Timestamp},
};
use migrations::store::dag::{self, DagWithModel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{access::Permit, error::Error, v2::dag_versions::DagVersion};

pub(crate) mod delete;
pub(crate) mod details;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod release;
pub(crate) mod tags;

/// A DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dag {
    /// Its name.
    pub dag_id: String,
    /// The same: DAGs have one name.
    pub dag_display_name: String,
    /// Whether new runs and tasks wait.
    pub is_paused: bool,
    /// Whether the newest bundle no longer has it.
    pub is_stale: bool,
    /// Unknown: bundles are read, files aren't watched one by one.
    pub last_parsed_time: Option<Timestamp>,
    /// Unknown.
    pub last_parse_duration: Option<f64>,
    /// Unknown.
    pub last_expired: Option<Timestamp>,
    /// Bundles have no names.
    pub bundle_name: Option<String>,
    /// The bundle that new runs are pinned to.
    pub bundle_version: Option<String>,
    /// The path of its file within the bundle.
    pub relative_fileloc: Option<String>,
    /// The same.
    pub fileloc: String,
    /// The first line of its doc.
    pub description: Option<String>,
    /// Its schedule in short.
    pub timetable_summary: Option<String>,
    /// Its schedule in words.
    pub timetable_description: Option<String>,
    /// Never.
    pub timetable_partitioned: bool,
    /// Whether the schedule repeats by itself.
    pub timetable_periodic: bool,
    /// Labels to find it by.
    pub tags: Vec<Tag>,
    /// How many task instances of one run may be active.
    pub max_active_tasks: u32,
    /// How many runs may be active.
    pub max_active_runs: Option<u32>,
    /// After how many failed runs in a row it is paused; 0 means never.
    pub max_consecutive_failed_dag_runs: u32,
    /// Whether a task limits its own active instances.
    pub has_task_concurrency_limits: bool,
    /// Whether its newest version can't be read. A file with errors leaves the last good version in place.
    pub has_import_errors: bool,
    /// Our addition: why the scheduler leaves it alone, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<String>,
    /// What the next automated run stands for.
    pub next_dagrun_logical_date: Option<Timestamp>,
    /// Where its data interval starts.
    pub next_dagrun_data_interval_start: Option<Timestamp>,
    /// Where its data interval ends.
    pub next_dagrun_data_interval_end: Option<Timestamp>,
    /// When it is due.
    pub next_dagrun_run_after: Option<Timestamp>,
    /// Every type.
    pub allowed_run_types: Option<Vec<String>>,
    /// Who answers for it.
    pub owners: Vec<String>,
    /// Whether runs can be made for past dates.
    pub is_backfillable: bool,
    /// Bundle and file.
    pub file_token: String,
}

/// A label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tag {
    /// The label.
    pub name: String,
    /// The DAG that has it.
    pub dag_id: String,
    /// The same.
    pub dag_display_name: String,
}

/// A page of DAGs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DagCollection {
    /// The DAGs.
    pub dags: Vec<Dag>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// Everything about a DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DagDetails {
    /// What lists show.
    #[serde(flatten)]
    pub dag: Dag,
    /// Whether missed ticks get a run each.
    pub catchup: bool,
    /// How long a run may take, in ISO 8601.
    pub dag_run_timeout: Option<String>,
    /// The condition over assets.
    pub asset_expression: Option<Value>,
    /// Its doc.
    pub doc_md: Option<String>,
    /// No run covers anything earlier.
    pub start_date: Option<Timestamp>,
    /// No run covers anything later.
    pub end_date: Option<Timestamp>,
    /// Unknown.
    pub is_paused_upon_creation: Option<bool>,
    /// Parameters with default and schema.
    pub params: Option<Map<String, Value>>,
    /// Never.
    pub render_template_as_native_obj: bool,
    /// None.
    pub template_search_path: Option<Vec<String>>,
    /// The time zone of its schedule.
    pub timezone: Option<String>,
    /// Unknown.
    pub last_parsed: Option<Timestamp>,
    /// Defaults are part of each task.
    pub default_args: Option<Map<String, Value>>,
    /// Never by itself.
    pub rerun_with_latest_version: Option<bool>,
    /// None.
    pub owner_links: Option<Map<String, Value>>,
    /// Never.
    pub is_favorite: bool,
    /// Runs that aren't finished.
    pub active_runs_count: u64,
    /// The same as `max_active_tasks`.
    pub concurrency: u32,
    /// The version that new runs are pinned to.
    pub latest_dag_version: Option<DagVersion>,
}

/// A change of a DAG.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DagPatch {
    /// Whether new runs and tasks wait from now on.
    pub is_paused: bool,
}

/// The DAG of that name, or not found.
pub(crate) async fn find(may: &Permit, dag_id: &DagId) -> Result<DagWithModel, Error> {
    dag::get(may.db(), may.scope, dag_id).await?.ok_or_else(|| missing(dag_id))
}

pub(crate) fn missing(dag_id: &DagId) -> Error {
    Error::NotFound(format!("the DAG `{dag_id}` was not found"))
}

pub(crate) fn view(found: &DagWithModel) -> Dag {
    let DagWithModel { row, source, quarantine, broken, .. } = found;
    // What can't be read is shown without what its model says.
    let model = found.model().ok();
    let when = model.map(|model| &model.schedule.when);
    let dag_id = row.dag_id.to_string();
    let next = row.next.filter(|_| !row.paused && !row.stale && quarantine.is_none());
    let tag = |name: String| Tag { name, dag_id: dag_id.clone(), dag_display_name: dag_id.clone() };
    let limits = |model: &std::sync::Arc<dags::model::Dag>| {
        model.tasks.iter().any(|task| task.max_active.is_some() || task.max_active_per_run.is_some())
    };
    Dag {
        dag_display_name: dag_id.clone(),
        is_paused: row.paused,
        is_stale: row.stale,
        last_parsed_time: None,
        last_parse_duration: None,
        last_expired: None,
        bundle_name: None,
        bundle_version: Some(row.bundle.to_string()),
        relative_fileloc: Some(source.clone()),
        fileloc: source.clone(),
        description: model
            .and_then(|model| model.doc.as_deref())
            .and_then(|doc| doc.trim().lines().next())
            .map(str::to_owned),
        timetable_summary: when.and_then(summary),
        timetable_description: model.map(|model| description(&model.schedule.when, &model.schedule.timezone)),
        timetable_partitioned: false,
        timetable_periodic: matches!(
            when,
            Some(When::Every(_) | When::Crons(_) | When::AssetsOrCrons { .. })
        ),
        tags: found.tags().into_iter().map(tag).collect(),
        max_active_tasks: model.map_or(0, |model| model.max_active_tasks),
        max_active_runs: model.map(|model| model.max_active_runs),
        max_consecutive_failed_dag_runs: model.map_or(0, |model| model.max_consecutive_failed_runs),
        has_task_concurrency_limits: model.is_some_and(limits),
        has_import_errors: model.is_none() || *broken,
        quarantined: quarantine.clone(),
        next_dagrun_logical_date: next.and_then(|next| next.logical_date),
        next_dagrun_data_interval_start: next.and_then(|next| next.interval).map(|interval| interval.0),
        next_dagrun_data_interval_end: next.and_then(|next| next.interval).map(|interval| interval.1),
        next_dagrun_run_after: next.map(|next| next.run_after),
        allowed_run_types: Some(RunType::ALL.iter().map(|kind| kind.as_str().to_owned()).collect()),
        owners: model.and_then(|model| model.owner.clone()).into_iter().collect(),
        is_backfillable: matches!(when, Some(When::Every(_) | When::Crons(_))),
        file_token: format!("{}/{source}", row.bundle),
        dag_id,
    }
}

fn summary(when: &When) -> Option<String> {
    match when {
        When::Never => None,
        When::Once => Some("@once".to_owned()),
        When::Continuous => Some("@continuous".to_owned()),
        When::Every(span) => Some(format!("every {span}")),
        When::Crons(crons) => Some(crons.join(", ")),
        When::Assets(_) => Some("Asset".to_owned()),
        When::AssetsOrCrons { crons, .. } => Some(format!("Asset or {}", crons.join(", "))),
    }
}

fn description(when: &When, timezone: &str) -> String {
    match when {
        When::Never => "never: runs are started by hand or by the API".to_owned(),
        When::Once => "one run".to_owned(),
        When::Continuous => "the next run starts when the last one ended".to_owned(),
        When::Every(span) => format!("every {span}"),
        When::Crons(crons) => format!("at {} ({timezone})", crons.join(" and at ")),
        When::Assets(condition) => format!("when {} updated", assets(condition)),
        When::AssetsOrCrons { assets: condition, crons } => {
            format!("when {} updated, and at {} ({timezone})", assets(condition), crons.join(" and at "))
        }
    }
}

fn assets(condition: &AssetCondition) -> String {
    let list = |all: &[AssetCondition], word: &str| {
        let all: Vec<String> = all.iter().map(assets).collect();
        format!("({})", all.join(word))
    };
    match condition {
        AssetCondition::Asset(name) => format!("`{name}` is"),
        AssetCondition::Any(any) => list(any, " or "),
        AssetCondition::All(all) => list(all, " and "),
    }
}

/// As Airflow writes a condition over assets.
pub(crate) fn expression(when: &When) -> Option<Value> {
    fn of(condition: &AssetCondition) -> Value {
        match condition {
            AssetCondition::Asset(name) => {
                json!({ "asset": { "uri": name, "name": name, "group": "asset" } })
            }
            AssetCondition::Any(any) => json!({ "any": any.iter().map(of).collect::<Vec<_>>() }),
            AssetCondition::All(all) => json!({ "all": all.iter().map(of).collect::<Vec<_>>() }),
        }
    }
    when.assets().map(of)
}

/// A duration in ISO 8601, in seconds.
pub(crate) fn iso(span: Span) -> String {
    let (seconds, micros) = (span.0 / 1_000_000, span.0 % 1_000_000);
    if micros == 0 { format!("PT{seconds}S") } else { format!("PT{seconds}.{micros:06}S") }
}
