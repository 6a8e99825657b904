//! Tenants.

use dags::{
    ids::{ShardId, TenantId},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, ExprTrait as _, OnConflict},
};
use serde_json::json;

use crate::{
    db::Db,
    entity::tenant,
    error::{Doing as _, Error},
    store::audit,
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
    /// Whether it is in use.
    pub state: TenantState,
    /// Goes up with each change of who may do what.
    pub policy_epoch: i64,
}

/// Whether a tenant is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantState {
    /// It is.
    Active,
    /// Nobody may do anything in it for now.
    Suspended,
    /// It is gone for everybody.
    Deleted,
}

impl TenantState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }
}

fn read(row: tenant::Model) -> Result<Tenant, Error> {
    let states = [TenantState::Active, TenantState::Suspended, TenantState::Deleted];
    let state = states.into_iter().find(|state| state.as_str() == row.state);
    Ok(Tenant {
        id: TenantId(row.id),
        name: row.name,
        shard: ShardId(row.shard_id),
        created_at: Timestamp(row.created_at),
        state: state.ok_or_else(|| Error::corrupt("tenant", "an unknown state"))?,
        policy_epoch: row.policy_epoch,
    })
}

/// Makes a tenant. None if the name is taken. Needs the platform's right to do so, which no tenant has.
pub async fn insert(
    db: &Db,
    actor: &str,
    id: TenantId,
    name: &str,
    shard: ShardId,
) -> Result<Option<Tenant>, Error> {
    let doing = "make a tenant";
    let now = db.now().await?.0;
    let row = tenant::Model {
        id: id.0,
        name: name.to_owned(),
        shard_id: shard.0,
        created_at: now,
        state: TenantState::Active.as_str().to_owned(),
        policy_epoch: 0,
    };
    let transaction = db.begin().await.doing(doing)?;
    let made = tenant::Entity::insert(tenant::ActiveModel::from(row.clone()))
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(&transaction)
        .await
        .doing(doing)?;
    if made == 0 {
        return Ok(None);
    }
    let payload = json!({"tenant": id.0, "name": name});
    audit::note(&transaction, audit::PLATFORM, now, actor, "make_tenant", &payload).await?;
    transaction.commit().await.doing(doing)?;
    read(row).map(Some)
}

/// The tenant of that name, unless it was deleted.
pub async fn by_name(db: &Db, name: &str) -> Result<Option<Tenant>, Error> {
    let found = tenant::Entity::find()
        .filter(tenant::Column::Name.eq(name))
        .filter(tenant::Column::State.ne(TenantState::Deleted.as_str()))
        .one(db.read());
    found.await.doing("find a tenant")?.map(read).transpose()
}

/// The tenant of that id, deleted or not.
pub async fn by_id(db: &Db, id: TenantId) -> Result<Option<Tenant>, Error> {
    let found = tenant::Entity::find_by_id(id.0).one(db.read()).await;
    found.doing("find a tenant")?.map(read).transpose()
}

/// Every tenant that wasn't deleted by name, for the platform's own use.
pub async fn list(db: &Db) -> Result<Vec<Tenant>, Error> {
    let found = tenant::Entity::find()
        .filter(tenant::Column::State.ne(TenantState::Deleted.as_str()))
        .order_by_asc(tenant::Column::Name)
        .all(db.read());
    found.await.doing("list tenants")?.into_iter().map(read).collect()
}

/// Whether there is more than one tenant that wasn't deleted, for the platform's own use.
pub async fn are_several(db: &Db) -> Result<bool, Error> {
    let found = tenant::Entity::find()
        .filter(tenant::Column::State.ne(TenantState::Deleted.as_str()))
        .limit(2)
        .all(db.read());
    Ok(found.await.doing("count tenants")?.len() > 1)
}

/// Suspends a tenant or lets it go on.
pub async fn set_suspended(db: &Db, actor: &str, id: TenantId, suspended: bool) -> Result<(), Error> {
    let state = if suspended { TenantState::Suspended } else { TenantState::Active };
    set(db, actor, id, state, None).await
}

/// Deletes a tenant: nobody finds it any more, and its name is free for another one. Its rows stay until retention
/// removes them.
pub async fn delete(db: &Db, actor: &str, id: TenantId) -> Result<(), Error> {
    // No name can have a blank.
    set(db, actor, id, TenantState::Deleted, Some(format!("deleted {}", id.0))).await
}

async fn set(
    db: &Db,
    actor: &str,
    id: TenantId,
    state: TenantState,
    name: Option<String>,
) -> Result<(), Error> {
    let doing = "change a tenant";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    let mut change = tenant::Entity::update_many()
        .col_expr(tenant::Column::State, Expr::value(state.as_str()))
        .col_expr(tenant::Column::PolicyEpoch, Expr::col(tenant::Column::PolicyEpoch).add(1))
        .filter(tenant::Column::Id.eq(id.0));
    if let Some(name) = name {
        change = change.col_expr(tenant::Column::Name, Expr::value(name));
    }
    change.exec(&transaction).await.doing(doing)?;
    let payload = json!({"tenant": id.0, "state": state.as_str()});
    audit::note(&transaction, audit::PLATFORM, now, actor, "change_tenant", &payload).await?;
    transaction.commit().await.doing(doing)
}
