//! What the engine is rebuilt from beside DAGs and runs. A row that can't be read is left out and never keeps the others back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dags::ids::{BundleId, PoolName, RunId, TenantId};
use engine::{
    rows::{BackfillRow, Broken, ContinuationRow, InputRow, PendingAssetRow, PoolRow, QuotaRow},
    state::TaskState,
};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
    sea_query::{Expr, ExprTrait as _},
};
use uuid::Uuid;

use super::{RUNS_PER_READ, WithTasks, statement, tenants};
use crate::{
    db::Db,
    entity::{backfill, bundle, input_request, pending_asset, pool, quota, run, tenant},
    error::{Doing as _, Error},
    rows,
    scope::ShardScope,
    store::tenant::TenantState,
};

/// What could be read of a table, and why the rest couldn't, by key.
type Readable<K, R> = (Vec<R>, BTreeMap<K, Arc<str>>);

/// Says that a row is left out that nothing else refers to.
fn passed_over(tenant: Uuid, what: &str, name: &str, why: &Error) {
    tracing::error!(tenant.id = %tenant, name, error = %why, "{what} can't be read; it is passed over until it is mended");
}

pub(super) async fn pools(
    db: &Db,
    scope: ShardScope,
) -> Result<Readable<(TenantId, PoolName), PoolRow>, Error> {
    let found = pool::Entity::find()
        .filter(pool::Column::TenantId.in_subquery(tenants(scope)))
        .order_by_asc(pool::Column::TenantId)
        .order_by_asc(pool::Column::Name)
        .all(db.read())
        .await
        .doing("read pools")?;
    let (mut pools, mut unreadable) = (Vec::with_capacity(found.len()), BTreeMap::new());
    for row in found {
        match rows::pool(&row) {
            Ok(pool) => pools.push(pool),
            Err(why) => {
                passed_over(row.tenant_id, "a pool", &row.name, &why);
                if let Ok(name) = row.name.parse() {
                    unreadable.insert((TenantId(row.tenant_id), name), why.to_string().into());
                }
            }
        }
    }
    Ok((pools, unreadable))
}

/// Tenants that are suspended.
pub(super) async fn suspended(db: &Db, scope: ShardScope) -> Result<BTreeSet<TenantId>, Error> {
    let found = tenant::Entity::find()
        .filter(tenant::Column::ShardId.eq(scope.shard().0))
        .filter(tenant::Column::State.eq(TenantState::Suspended.as_str()))
        .all(db.read());
    let found = found.await.doing("read suspended tenants")?;
    Ok(found.into_iter().map(|row| TenantId(row.id)).collect())
}

/// The bundle of each tenant that was made active last.
pub(super) async fn active_bundles(
    db: &Db,
    scope: ShardScope,
) -> Result<BTreeMap<TenantId, BundleId>, Error> {
    let found: Vec<(Uuid, String)> = bundle::Entity::find()
        .select_only()
        .columns([bundle::Column::TenantId, bundle::Column::Digest])
        .filter(bundle::Column::TenantId.in_subquery(tenants(scope)))
        .filter(bundle::Column::ActivatedAt.is_not_null())
        .order_by_asc(bundle::Column::ActivatedAt)
        .order_by_asc(bundle::Column::Digest)
        .into_tuple()
        .all(db.read())
        .await
        .doing("read which bundles are active")?;
    // The last one of a tenant stays.
    Ok(found.into_iter().map(|(tenant, digest)| (TenantId(tenant), BundleId(digest.into()))).collect())
}

/// The tree of quotas. Whoever's quota can't be read has none, and whoever's cohort isn't there belongs to the one above all.
pub(super) async fn quotas(db: &Db, scope: ShardScope) -> Result<Vec<QuotaRow>, Error> {
    let found = quota::Entity::find()
        .filter(quota::Column::ShardId.eq(scope.shard().0))
        .order_by_asc(quota::Column::Kind)
        .order_by_asc(quota::Column::Name)
        .all(db.read())
        .await
        .doing("read quotas")?;
    let mut quotas = Vec::with_capacity(found.len());
    for row in found {
        match rows::quota(&row) {
            Ok(row) => quotas.push(row),
            Err(why) => passed_over(Uuid::nil(), "a quota", &row.name, &why),
        }
    }
    let (quotas, changed) = engine::quota::mend(quotas);
    for why in changed {
        tracing::error!(code = %why.code, why = %why.message, "a quota doesn't hold as it is stored until it is set again");
    }
    Ok(quotas)
}

pub(super) async fn pending_assets(db: &Db, scope: ShardScope) -> Result<Vec<PendingAssetRow>, Error> {
    let found = pending_asset::Entity::find()
        .filter(pending_asset::Column::TenantId.in_subquery(tenants(scope)))
        .order_by_asc(pending_asset::Column::TenantId)
        .order_by_asc(pending_asset::Column::DagId)
        .order_by_asc(pending_asset::Column::Asset)
        .all(db.read())
        .await
        .doing("read pending asset events")?;
    let mut pending = Vec::with_capacity(found.len());
    for row in found {
        match rows::pending_asset(&row) {
            Ok(row) => pending.push(row),
            Err(why) => passed_over(row.tenant_id, "a pending asset event", &row.dag_id, &why),
        }
    }
    Ok(pending)
}

pub(super) async fn backfills(
    db: &Db,
    scope: ShardScope,
) -> Result<Readable<(TenantId, i64), BackfillRow>, Error> {
    let found = backfill::Entity::find()
        .filter(backfill::Column::TenantId.in_subquery(tenants(scope)))
        .filter(backfill::Column::EndedAt.is_null())
        .order_by_asc(backfill::Column::TenantId)
        .order_by_asc(backfill::Column::Id)
        .all(db.read())
        .await
        .doing("read unfinished backfills")?;
    let (mut backfills, mut unreadable) = (Vec::with_capacity(found.len()), BTreeMap::new());
    for row in found {
        match rows::backfill(&row) {
            Ok(row) => backfills.push(row),
            Err(why) => {
                passed_over(row.tenant_id, "a backfill", &row.id.to_string(), &why);
                unreadable.insert((TenantId(row.tenant_id), row.id), why.to_string().into());
            }
        }
    }
    Ok((backfills, unreadable))
}

/// Unfinished runs that are quarantined by themselves.
pub(super) async fn quarantined_runs(db: &Db, scope: ShardScope) -> Result<BTreeSet<RunId>, Error> {
    let found: Vec<Uuid> = run::Entity::find()
        .select_only()
        .column(run::Column::RunId)
        .filter(Expr::cust("NOT finished"))
        .filter(run::Column::Quarantine.is_not_null())
        .filter(run::Column::TenantId.in_subquery(tenants(scope)))
        .into_tuple()
        .all(db.read())
        .await
        .doing("find quarantined runs")?;
    Ok(found.into_iter().map(RunId).collect())
}

/// The questions that task instances of these runs wait for. A run whose question can't be read is taken out.
pub(super) async fn inputs(
    db: &Db,
    runs: &mut Vec<WithTasks>,
    broken: &mut Vec<Broken>,
) -> Result<Vec<InputRow>, Error> {
    let waiting: Vec<(TenantId, Uuid)> = runs
        .iter()
        .flat_map(|(_, tasks)| tasks)
        .filter(|task| task.state == TaskState::AwaitingInput)
        .map(|task| (task.tenant, task.attempt().0))
        .collect();
    let mut inputs = Vec::with_capacity(waiting.len());
    for same_tenant in waiting.chunk_by(|a, b| a.0 == b.0) {
        for chunk in same_tenant.chunks(RUNS_PER_READ) {
            let found = input_request::Entity::find()
                .filter(input_request::Column::TenantId.eq(chunk[0].0.0))
                .filter(input_request::Column::AttemptId.is_in(chunk.iter().map(|(_, attempt)| *attempt)))
                .order_by_asc(input_request::Column::AttemptId)
                .all(db.read())
                .await
                .doing("read the questions that tasks wait for")?;
            for row in found {
                let run = RunId(row.run_id);
                match crate::store::input_request::read(row) {
                    Ok(row) => inputs.push(row),
                    Err(why) => {
                        if let Some(at) = runs.iter().position(|(row, _)| row.run == run) {
                            let (row, _) = runs.remove(at);
                            broken.push(Broken::run(row.tenant, run, Some(row.dag_id), why.to_string()));
                        }
                    }
                }
            }
        }
    }
    inputs.retain(|input| !broken.iter().any(|broken| broken.subject.run() == Some(input.run)));
    Ok(inputs)
}

pub(super) async fn last_backfill(db: &Db, scope: ShardScope) -> Result<BTreeMap<TenantId, i64>, Error> {
    let found: Vec<(Uuid, i64)> = backfill::Entity::find()
        .select_only()
        .column(backfill::Column::TenantId)
        .expr(Expr::col(backfill::Column::Id).max())
        .filter(backfill::Column::TenantId.in_subquery(tenants(scope)))
        .group_by(backfill::Column::TenantId)
        .into_tuple()
        .all(db.read())
        .await
        .doing("read the newest backfills")?;
    Ok(found.into_iter().map(|(tenant, id)| (TenantId(tenant), id)).collect())
}

/// Work to continue. What isn't even a document is nobody's.
pub(super) async fn continuations(db: &Db, scope: ShardScope) -> Result<Vec<ContinuationRow>, Error> {
    let doing = "read the work to continue";
    let sql = db.pick(
        "SELECT id, format, work FROM continuation WHERE shard_id = ?1 ORDER BY id",
        "SELECT id, format, work FROM continuation WHERE shard_id = $1 ORDER BY id",
    );
    let found = db.read().query_all_raw(statement(db, sql, [scope.shard().0.into()])).await.doing(doing)?;
    let mut continuations = Vec::with_capacity(found.len());
    for row in &found {
        let id: i64 = row.try_get("", "id").doing(doing)?;
        let work: String = row.try_get("", "work").doing(doing)?;
        let work = rows::json("continuation", &work);
        if let Err(why) = &work {
            passed_over(Uuid::nil(), "work to continue", &id.to_string(), why);
        }
        // Its number stays taken.
        let format = row.try_get::<i32>("", "format").doing(doing)? as u32;
        continuations.push(ContinuationRow { id, format, work: work.ok() });
    }
    Ok(continuations)
}
