//! Backfills as lists show them.

use dags::ids::DagId;
use engine::rows::BackfillRow;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use crate::{
    db::Db,
    entity::backfill,
    error::{Doing as _, Error},
    policy::Visible,
    rows,
    scope::TenantScope,
    store::{Page, Window, readable},
};

/// Backfills of DAGs that may be seen, newest first.
pub async fn list(
    db: &Db,
    scope: TenantScope,
    visible: &Visible,
    dag: Option<&DagId>,
    window: Window,
) -> Result<Page<BackfillRow>, Error> {
    let doing = "list backfills";
    let mut query = backfill::Entity::find().filter(backfill::Column::TenantId.eq(scope.tenant().0));
    query = query.filter(visible.condition(db, scope.tenant().0, backfill::Column::DagId));
    if let Some(dag) = dag {
        query = query.filter(backfill::Column::DagId.eq(dag.as_str()));
    }
    let total = query.clone().count(db.read()).await.doing(doing)?;
    let query = query.order_by_desc(backfill::Column::Id).limit(window.limit).offset(window.offset);
    let found = query.all(db.read()).await.doing(doing)?;
    let rows = readable(found, |row| format!("backfill {}", row.id), |row| rows::backfill(&row));
    Ok(Page { rows, total })
}

/// One backfill.
pub async fn get(db: &Db, scope: TenantScope, id: i64) -> Result<Option<BackfillRow>, Error> {
    let found =
        backfill::Entity::find_by_id((scope.tenant().0, id)).one(db.read()).await.doing("read a backfill")?;
    found.as_ref().map(rows::backfill).transpose()
}
