//! Tenants.

use dags::{
    ids::{ShardId, TenantId},
    time::Timestamp,
};
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};

use crate::{
    db::Db,
    entity::tenant,
    error::{Doing as _, Error},
};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its identity, which never changes.
    pub id: TenantId,
    /// Its name, unique in the installation.
    pub name: String,
    /// The shard that its rows belong to.
    pub shard: ShardId,
    /// When it was made.
    pub created_at: Timestamp,
}

fn read(row: tenant::Model) -> Tenant {
    Tenant {
        id: TenantId(row.id),
        name: row.name,
        shard: ShardId(row.shard_id),
        created_at: Timestamp(row.created_at),
    }
}

/// Makes a tenant. Needs the platform's right to do so, which no tenant has.
pub async fn insert(db: &Db, id: TenantId, name: &str, shard: ShardId) -> Result<Tenant, Error> {
    let row =
        tenant::Model { id: id.0, name: name.to_owned(), shard_id: shard.0, created_at: db.now().await?.0 };
    tenant::Entity::insert(tenant::ActiveModel {
        id: Set(row.id),
        name: Set(row.name.clone()),
        shard_id: Set(row.shard_id),
        created_at: Set(row.created_at),
    })
    .exec_without_returning(db.write())
    .await
    .doing("make a tenant")?;
    Ok(read(row))
}

/// The tenant of that name.
pub async fn by_name(db: &Db, name: &str) -> Result<Option<Tenant>, Error> {
    let found = tenant::Entity::find().filter(tenant::Column::Name.eq(name)).one(db.read()).await;
    Ok(found.doing("find a tenant")?.map(read))
}

/// Every tenant by name, for the platform's own use.
pub async fn list(db: &Db) -> Result<Vec<Tenant>, Error> {
    let found = tenant::Entity::find().order_by_asc(tenant::Column::Name).all(db.read()).await;
    Ok(found.doing("list tenants")?.into_iter().map(read).collect())
}
