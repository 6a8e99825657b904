//! Events of assets as lists show them.

use std::collections::BTreeSet;

use dags::{ids::DagId, time::Timestamp};
use engine::rows::{AssetEventRow, PendingAssetRow};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use crate::{
    db::Db,
    entity::{asset_event, pending_asset},
    error::{Doing as _, Error},
    policy::Visible,
    rows,
    scope::TenantScope,
    store::{Page, Window, readable},
};

/// Positions of a batch that an event's number has room for.
const EVENTS_PER_BATCH: i64 = 100_000;

/// Which events of assets. What is empty or none doesn't restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of these assets.
    pub assets: BTreeSet<String>,
    /// After the first time, up to the second: [`engine::rows::RunRow::asset_window`].
    pub within: Option<(Timestamp, Timestamp)>,
}

/// Events of assets that may be seen, newest first, each with a number that is unique in the tenant's shard.
pub async fn events(
    db: &Db,
    scope: TenantScope,
    visible: &Visible,
    which: &EventFilter,
    window: Window,
) -> Result<Page<(i64, AssetEventRow)>, Error> {
    let doing = "list asset events";
    let mut query = asset_event::Entity::find().filter(asset_event::Column::TenantId.eq(scope.tenant().0));
    query = query.filter(visible.condition(db, scope.tenant().0, asset_event::Column::Asset));
    if !which.assets.is_empty() {
        query = query.filter(asset_event::Column::Asset.is_in(which.assets.iter().map(String::as_str)));
    }
    if let Some((after, until)) = which.within {
        query =
            query.filter(asset_event::Column::At.gt(after.0)).filter(asset_event::Column::At.lte(until.0));
    }
    let total = query.clone().count(db.read()).await.doing(doing)?;
    let found = query
        .order_by_desc(asset_event::Column::At)
        .order_by_desc(asset_event::Column::Batch)
        .order_by_desc(asset_event::Column::N)
        .limit(window.limit)
        .offset(window.offset)
        .all(db.read())
        .await
        .doing(doing)?;
    let numbered = |row: asset_event::Model| {
        Ok((row.batch * EVENTS_PER_BATCH + i64::from(row.n), rows::asset_event(&row)?))
    };
    let key = |row: &asset_event::Model| format!("event {}-{} of asset {}", row.batch, row.n, row.asset);
    Ok(Page { rows: readable(found, key, numbered), total })
}

/// What a consumer has pending, by asset.
pub async fn pending(db: &Db, scope: TenantScope, dag: &DagId) -> Result<Vec<PendingAssetRow>, Error> {
    let found = pending_asset::Entity::find()
        .filter(pending_asset::Column::TenantId.eq(scope.tenant().0))
        .filter(pending_asset::Column::DagId.eq(dag.as_str()))
        .order_by_asc(pending_asset::Column::Asset)
        .all(db.read())
        .await
        .doing("list pending asset events")?;
    let key = |row: &pending_asset::Model| format!("pending event of {} for {}", row.asset, row.dag_id);
    Ok(readable(found, key, |row| rows::pending_asset(&row)))
}
