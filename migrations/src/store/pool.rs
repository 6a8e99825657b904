//! Pools as lists show them.

use dags::ids::PoolName;
use engine::rows::PoolRow;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};

use crate::{
    db::Db,
    entity::pool,
    error::{Doing as _, Error},
    rows,
    scope::TenantScope,
};

/// All pools by name.
pub async fn list(db: &Db, scope: TenantScope) -> Result<Vec<PoolRow>, Error> {
    let found = pool::Entity::find()
        .filter(pool::Column::TenantId.eq(scope.tenant().0))
        .order_by_asc(pool::Column::Name)
        .all(db.read())
        .await
        .doing("list pools")?;
    found.iter().map(rows::pool).collect()
}

/// One pool.
pub async fn get(db: &Db, scope: TenantScope, name: &PoolName) -> Result<Option<PoolRow>, Error> {
    let key = (scope.tenant().0, name.to_string());
    let found = pool::Entity::find_by_id(key).one(db.read()).await.doing("read a pool")?;
    found.as_ref().map(rows::pool).transpose()
}
