//! From what the tables hold to what the engine and the API know.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use dags::{
    ids::{AttemptId, BundleId, DagVersion, InvalidName, RunId, TenantId, WorkerId},
    model::Dag,
    time::Timestamp,
};
use engine::{
    command::Backfill,
    dispatch::{Contract, ResultRef},
    quota::Limits,
    rows::{
        AssetEventRow, AttemptRow, BackfillRow, Cursor, DagRow, EventRow, MemberRow, PendingAssetRow,
        PoolRow, QuotaNode, QuotaRow, ResultRow, RunRow, RunType, TaskRow,
    },
    sharing::Quotas,
    state::{RunState, TaskState},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{entity, error::Error};

/// The number of the format in which an event's transitions are written.
pub(crate) const EVENT_FORMAT: i32 = 1;
/// The number of the format in which a backfill's specification is written.
pub(crate) const BACKFILL_FORMAT: i32 = 1;

/// The number of the format in which quotas without limits are written.
const QUOTA_FORMAT: i32 = 1;
/// The same of those with limits, which a release that doesn't know them must not take for ones without.
const LIMITED_QUOTA_FORMAT: i32 = 2;

/// A checked name, read back.
pub(crate) fn name<T: std::str::FromStr<Err = InvalidName>>(
    table: &'static str,
    text: &str,
) -> Result<T, Error> {
    text.parse().map_err(|why| Error::corrupt(table, format!("the name {text:?} {why}")))
}

/// A document, read back.
pub(crate) fn json<T: DeserializeOwned>(table: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text)
        .map_err(|why| Error::corrupt(table, format!("a document can't be read: {why}")))
}

/// A document as text. Maps with keys that aren't text don't occur in ours.
pub(crate) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("invariant: our documents have text keys and no failing Serialize")
}

/// A document in a format that we can read.
pub(crate) fn format(table: &'static str, stored: i32, known: i32) -> Result<(), Error> {
    if stored == known {
        return Ok(());
    }
    Err(Error::corrupt(table, format!("a document has format {stored}, this release reads format {known}")))
}

/// The model of a DAG version.
pub(crate) fn model(row: &entity::dag_version::Model) -> Result<Arc<Dag>, Error> {
    format("dag_version", row.format, dags::model::FORMAT as i32)?;
    json("dag_version", &row.model)
}

fn pair(start: Option<i64>, end: Option<i64>) -> Option<(Timestamp, Timestamp)> {
    Some((Timestamp(start?), Timestamp(end?)))
}

fn shared(text: Option<String>) -> Option<Arc<str>> {
    text.map(Arc::from)
}

impl TryFrom<entity::run::Model> for Run {
    type Error = Error;
    fn try_from(row: entity::run::Model) -> Result<Self, Error> {
        let table = "run";
        Ok(Self(RunRow {
            tenant: TenantId(row.tenant_id),
            run: RunId(row.run_id),
            dag_id: name(table, &row.dag_id)?,
            run_name: name(table, &row.run_name)?,
            run_type: RunType::parse(&row.run_type)
                .ok_or_else(|| Error::corrupt(table, format!("run_type {:?}", row.run_type)))?,
            version: DagVersion(row.version.into()),
            bundle: BundleId(row.bundle.into()),
            state: RunState::parse(&row.state)
                .ok_or_else(|| Error::corrupt(table, format!("state {:?}", row.state)))?,
            logical_date: row.logical_date.map(Timestamp),
            interval: pair(row.interval_start, row.interval_end),
            run_after: Timestamp(row.run_after),
            created_at: Timestamp(row.created_at),
            queued_at: Timestamp(row.queued_at),
            started_at: row.started_at.map(Timestamp),
            ended_at: row.ended_at.map(Timestamp),
            conf: match json(table, &row.conf) {
                Ok(conf) => conf,
                // What is quarantined is shown whatever it holds.
                Err(_) if row.quarantine.is_some() => Arc::default(),
                Err(why) => return Err(why),
            },
            reason: match row.quarantine {
                Some(why) => Some(format!("quarantined: {why}").into()),
                None => shared(row.reason),
            },
            note: shared(row.note),
            clear_number: row.clear_number as u32,
            created_tasks: row.created_tasks as u32,
            backfill: row.backfill_id.zip(row.backfill_place.map(|place| place as u32)),
            triggered_by: shared(row.triggered_by),
            chain_depth: row.chain_depth as u32,
            asset_window: pair(row.assets_after, row.assets_until),
        }))
    }
}

/// Rows of the engine with the conversion from our entities; the engine's types aren't ours to convert into.
pub(crate) struct Run(pub(crate) RunRow);
pub(crate) struct Task(pub(crate) TaskRow);

macro_rules! task_row {
    ($table:literal, $row:ident) => {
        TaskRow {
            tenant: TenantId($row.tenant_id),
            run: RunId($row.run_id),
            task: name($table, &$row.task_id)?,
            map_index: $row.map_index,
            state: TaskState::parse(&$row.state)
                .ok_or_else(|| Error::corrupt($table, format!("state {:?}", $row.state)))?,
            try_number: $row.try_number as u32,
            max_tries: $row.max_tries as u32,
            dispatch_n: $row.dispatch_n as u32,
            preempted: $row.preempted as u32,
            requeued: $row.requeued as u32,
            scheduled_at: $row.scheduled_at.map(Timestamp),
            queued_at: $row.queued_at.map(Timestamp),
            started_at: $row.started_at.map(Timestamp),
            ended_at: $row.ended_at.map(Timestamp),
            wake_at: $row.wake_at.map(Timestamp),
            executor: $row.executor.as_deref().map(|executor| name($table, executor)).transpose()?,
            members: $row.members as u32,
            host: shared($row.host),
            pool: name($table, &$row.pool)?,
            pool_slots: $row.pool_slots as u32,
            weight: $row.weight,
            reason: shared($row.reason),
            exit_code: $row.exit_code,
            mapped_length: $row.mapped_length.map(|length| length as u32),
            skips: $row.skips.as_deref().map(|tasks| json($table, tasks)).transpose()?,
            marked_by: shared($row.marked_by),
            worker: $row.worker_id.map(WorkerId),
        }
    };
}

impl TryFrom<entity::task_instance::Model> for Task {
    type Error = Error;
    fn try_from(row: entity::task_instance::Model) -> Result<Self, Error> {
        Ok(Self(task_row!("task_instance", row)))
    }
}

pub(crate) fn attempt(row: entity::attempt::Model) -> Result<AttemptRow, Error> {
    Ok(AttemptRow { row: task_row!("attempt", row) })
}

pub(crate) fn member(row: entity::member::Model) -> Result<MemberRow, Error> {
    let table = "member";
    format(table, row.format, Contract::NUMBER as i32)?;
    Ok(MemberRow {
        tenant: TenantId(row.tenant_id),
        run: RunId(row.run_id),
        task: name(table, &row.task_id)?,
        map_index: row.map_index,
        try_number: row.try_number as u32,
        dispatch_n: row.dispatch_n as u32,
        member: row.member as u32,
        host: shared(row.host),
        started_at: row.started_at.map(Timestamp),
        ended_at: row.ended_at.map(Timestamp),
        end: row.ending.as_deref().map(|end| json(table, end)).transpose()?,
    })
}

pub(crate) fn result(row: entity::result::Model) -> Result<ResultRow, Error> {
    let value = match (row.value, row.digest) {
        (Some(value), None) => ResultRef::Inline(json("result", &value)?),
        (None, Some(digest)) => ResultRef::Stored { digest, bytes: row.bytes as u64 },
        _ => return Err(Error::corrupt("result", "neither a value nor a digest")),
    };
    Ok(ResultRow {
        tenant: TenantId(row.tenant_id),
        run: RunId(row.run_id),
        task: name("result", &row.task_id)?,
        map_index: row.map_index,
        attempt: AttemptId(row.attempt_id),
        value,
    })
}

pub(crate) fn dag(row: &entity::dag::Model) -> Result<DagRow, Error> {
    Ok(DagRow {
        tenant: TenantId(row.tenant_id),
        dag_id: name("dag", &row.dag_id)?,
        version: DagVersion(row.version.as_str().into()),
        bundle: BundleId(row.bundle.as_str().into()),
        paused: row.paused,
        stale: row.stale,
        cursor: row.cursor_run_after.map(|run_after| Cursor {
            run_after: Timestamp(run_after),
            logical_date: row.cursor_logical_date.map(Timestamp),
            interval: pair(row.cursor_start, row.cursor_end),
        }),
        next: row.next_run_after.map(|run_after| Cursor {
            run_after: Timestamp(run_after),
            logical_date: row.next_logical_date.map(Timestamp),
            interval: pair(row.next_start, row.next_end),
        }),
        reserved: match row.reserved.as_deref().map(|dates| json("dag", dates)).transpose() {
            Ok(dates) => dates.unwrap_or_default(),
            // What is quarantined is shown whatever it holds; the engine doesn't look at it.
            Err(_) if row.quarantine.is_some() => BTreeSet::default(),
            Err(why) => return Err(why),
        },
        listening_since: row.listening_since.map(Timestamp),
        failed_in_row: row.failed_in_row as u32,
    })
}

pub(crate) fn pool(row: &entity::pool::Model) -> Result<PoolRow, Error> {
    if row.slots < -1 {
        return Err(Error::corrupt(
            "pool",
            format!("slots {}; there are -1 (no limit), 0 and more", row.slots),
        ));
    }
    Ok(PoolRow {
        tenant: TenantId(row.tenant_id),
        name: name("pool", &row.name)?,
        slots: row.slots,
        include_deferred: row.include_deferred,
    })
}

/// The kind and the name of who has a quota.
pub(crate) fn quota_key(node: &QuotaNode) -> (&'static str, String) {
    match node {
        QuotaNode::Cohort(name) => ("cohort", name.to_string()),
        QuotaNode::Tenant(tenant) => ("tenant", tenant.0.to_string()),
    }
}

/// Quotas with limits, as they are stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitedQuotas<'a> {
    quotas: Cow<'a, Quotas>,
    limits: Cow<'a, Limits>,
}

/// The number of the format, and the document.
pub(crate) fn quotas_of(row: &QuotaRow) -> (i32, String) {
    if row.limits.is_empty() {
        return (QUOTA_FORMAT, to_json(&row.quotas));
    }
    let (quotas, limits) = (Cow::Borrowed(&row.quotas), Cow::Borrowed(&row.limits));
    (LIMITED_QUOTA_FORMAT, to_json(&LimitedQuotas { quotas, limits }))
}

pub(crate) fn quota(row: &entity::quota::Model) -> Result<QuotaRow, Error> {
    let (quotas, limits) = if row.format == QUOTA_FORMAT {
        (json("quota", &row.quotas)?, Limits::default())
    } else {
        format("quota", row.format, LIMITED_QUOTA_FORMAT)?;
        let LimitedQuotas { quotas, limits } = json("quota", &row.quotas)?;
        (quotas.into_owned(), limits.into_owned())
    };
    let node =
        match row.kind.as_str() {
            "cohort" => QuotaNode::Cohort(row.name.as_str().into()),
            _ => QuotaNode::Tenant(TenantId(row.name.parse().map_err(|why| {
                Error::corrupt("quota", format!("{:?} is no tenant's id: {why}", row.name))
            })?)),
        };
    let weight =
        row.weight.parse().map_err(|why| Error::corrupt("quota", format!("{:?}: {why}", row.weight)))?;
    Ok(QuotaRow { node, parent: row.parent.as_deref().map(Into::into), weight, quotas, limits })
}

pub(crate) fn pending_asset(row: &entity::pending_asset::Model) -> Result<PendingAssetRow, Error> {
    Ok(PendingAssetRow {
        tenant: TenantId(row.tenant_id),
        dag_id: name("pending_asset", &row.dag_id)?,
        asset: row.asset.as_str().into(),
        at: Timestamp(row.at),
    })
}

pub(crate) fn asset_event(row: &entity::asset_event::Model) -> Result<AssetEventRow, Error> {
    let source = match (row.source_run, &row.source_task, row.source_map_index) {
        (Some(run), Some(task), Some(map_index)) => Some((RunId(run), name("asset_event", task)?, map_index)),
        _ => None,
    };
    Ok(AssetEventRow {
        tenant: TenantId(row.tenant_id),
        asset: row.asset.as_str().into(),
        at: Timestamp(row.at),
        source,
        extra: json("asset_event", &row.extra)?,
    })
}

pub(crate) fn backfill(row: &entity::backfill::Model) -> Result<BackfillRow, Error> {
    format("backfill", row.format, BACKFILL_FORMAT)?;
    Ok(BackfillRow {
        tenant: TenantId(row.tenant_id),
        id: row.id,
        spec: json::<Backfill>("backfill", &row.spec)?.into(),
        paused: row.paused,
        created_at: Timestamp(row.created_at),
        ended_at: row.ended_at.map(Timestamp),
        next_date: row.next_date.map(Timestamp),
        made: row.made as u32,
    })
}

pub(crate) fn event(row: &entity::event::Model) -> Result<EventRow, Error> {
    format("event", row.format, EVENT_FORMAT)?;
    Ok(EventRow {
        tenant: TenantId(row.tenant_id),
        run: RunId(row.run_id),
        dag_id: name("event", &row.dag_id)?,
        at: Timestamp(row.at),
        transitions: json("event", &row.body)?,
    })
}
