//! Quotas, as far as anybody but the engine needs to know of them.

use sea_orm::{ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};

use crate::{
    db::Db,
    entity::quota,
    error::{Doing as _, Error},
    rows::quota_key,
    scope::TenantScope,
};

/// Whether a tenant has a quota of its own.
pub async fn is_set(db: &Db, scope: TenantScope) -> Result<bool, Error> {
    let (kind, name) = quota_key(&engine::rows::QuotaNode::Tenant(scope.tenant()));
    let found = quota::Entity::find()
        .filter(quota::Column::Kind.eq(kind))
        .filter(quota::Column::Name.eq(name))
        .count(db.read());
    Ok(found.await.doing("look for a tenant's quota")? > 0)
}
