//! Quotas, as far as anybody but the engine needs to know of them.

use engine::rows::{QuotaNode, QuotaRow};
use sea_orm::{ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};

use crate::{
    db::Db,
    entity::quota,
    error::{Doing as _, Error},
    rows::{self, quota_key},
    scope::TenantScope,
};

/// A tenant's own quota, if it has one.
pub async fn of_tenant(db: &Db, scope: TenantScope) -> Result<Option<QuotaRow>, Error> {
    let (kind, name) = quota_key(&QuotaNode::Tenant(scope.tenant()));
    let found = quota::Entity::find()
        .filter(quota::Column::Kind.eq(kind))
        .filter(quota::Column::Name.eq(name))
        .one(db.read())
        .await
        .doing("read a tenant's quota")?;
    found.as_ref().map(rows::quota).transpose()
}

/// Whether a tenant has a quota of its own.
pub async fn is_set(db: &Db, scope: TenantScope) -> Result<bool, Error> {
    let (kind, name) = quota_key(&QuotaNode::Tenant(scope.tenant()));
    let found = quota::Entity::find()
        .filter(quota::Column::Kind.eq(kind))
        .filter(quota::Column::Name.eq(name))
        .count(db.read());
    Ok(found.await.doing("look for a tenant's quota")? > 0)
}
