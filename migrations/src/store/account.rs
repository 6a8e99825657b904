//! Accounts: people, who belong to the installation, and service accounts, which belong to a tenant.

use dags::{ids::TenantId, time::Timestamp};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, OnConflict},
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    db::Db,
    entity::{account, group_member, role_grant, token},
    error::{Doing as _, Error},
    scope::TenantScope,
    store::audit,
};

/// Who is meant, whatever they are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub Uuid);

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its identity, which never changes.
    pub id: AccountId,
    /// Its tenant, for a service account.
    pub tenant: Option<TenantId>,
    /// Its name: unique among people, or among the tenant's service accounts.
    pub name: String,
    /// Whether its password is good for nothing but setting another one.
    pub must_change: bool,
    /// Whether it is switched off.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
}

/// A hashed password, in the PHC format, with what is true of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    /// The hash.
    pub hash: String,
    /// Whether another one must be set before anything else.
    pub must_change: bool,
    /// When it ceases to be good.
    pub expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Password").field("must_change", &self.must_change).finish_non_exhaustive()
    }
}

pub(crate) fn read(row: account::Model) -> Account {
    Account {
        id: AccountId(row.id),
        tenant: row.tenant_id.map(TenantId),
        name: row.name,
        must_change: row.must_change,
        disabled: row.disabled,
        created_at: Timestamp(row.created_at),
        created_by: row.created_by,
    }
}

/// Makes a person's account. None if the name is taken.
pub async fn insert_user(
    db: &Db,
    actor: &str,
    name: &str,
    password: &Password,
) -> Result<Option<Account>, Error> {
    insert(db, actor, name, None, Some(password)).await
}

/// Makes the account of a person who needs no password, since something else lets them in. None if the name is taken.
pub async fn insert_known_user(db: &Db, actor: &str, name: &str) -> Result<Option<Account>, Error> {
    insert(db, actor, name, None, None).await
}

/// Makes a service account of a tenant. None if the tenant has one of that name.
pub async fn insert_service(
    db: &Db,
    scope: TenantScope,
    actor: &str,
    name: &str,
) -> Result<Option<Account>, Error> {
    insert(db, actor, name, Some(scope), None).await
}

async fn insert(
    db: &Db,
    actor: &str,
    name: &str,
    scope: Option<TenantScope>,
    password: Option<&Password>,
) -> Result<Option<Account>, Error> {
    let doing = "make an account";
    let tenant = scope.map(TenantScope::tenant);
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    let row = account::Model {
        id: Uuid::now_v7(),
        kind: if tenant.is_some() { "service" } else { "user" }.to_owned(),
        tenant_id: tenant.map(|tenant| tenant.0),
        name: name.to_owned(),
        password: password.map(|password| password.hash.clone()),
        must_change: password.is_some_and(|password| password.must_change),
        password_expires_at: password.and_then(|password| password.expires_at).map(|at| at.0),
        disabled: false,
        created_at: now,
        created_by: actor.to_owned(),
    };
    let made = account::Entity::insert(account::ActiveModel::from(row.clone()))
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(&transaction)
        .await
        .doing(doing)?;
    if made > 0 {
        let payload = json!({"account": row.id, "name": name});
        audit::note(&transaction, scope.unwrap_or(audit::PLATFORM), now, actor, "make_account", &payload)
            .await?;
        transaction.commit().await.doing(doing)?;
        return Ok(Some(read(row)));
    }
    Ok(None)
}

/// The person of that name, with the password if there is one.
pub async fn user(db: &Db, name: &str) -> Result<Option<(Account, Option<Password>)>, Error> {
    let found = account::Entity::find()
        .filter(account::Column::TenantId.is_null())
        .filter(account::Column::Name.eq(name))
        .one(db.read())
        .await
        .doing("find an account")?;
    Ok(found.map(|row| {
        let password = row.password.clone().map(|hash| Password {
            hash,
            must_change: row.must_change,
            expires_at: row.password_expires_at.map(Timestamp),
        });
        (read(row), password)
    }))
}

/// The tenant's service account of that name.
pub async fn service(db: &Db, scope: TenantScope, name: &str) -> Result<Option<Account>, Error> {
    let found = account::Entity::find()
        .filter(account::Column::TenantId.eq(scope.tenant().0))
        .filter(account::Column::Name.eq(name))
        .one(db.read());
    Ok(found.await.doing("find a service account")?.map(read))
}

/// People by name, from the one after a given name on.
pub async fn users(db: &Db, after: Option<&str>, limit: u64) -> Result<Vec<Account>, Error> {
    let mut query = account::Entity::find().filter(account::Column::TenantId.is_null());
    if let Some(after) = after {
        query = query.filter(account::Column::Name.gt(after));
    }
    let found = query.order_by_asc(account::Column::Name).limit(limit).all(db.read()).await;
    Ok(found.doing("list accounts")?.into_iter().map(read).collect())
}

/// Service accounts of a tenant by name.
pub async fn services(db: &Db, scope: TenantScope) -> Result<Vec<Account>, Error> {
    let query = account::Entity::find().filter(account::Column::TenantId.eq(scope.tenant().0));
    let found = query.order_by_asc(account::Column::Name).all(db.read()).await;
    Ok(found.doing("list service accounts")?.into_iter().map(read).collect())
}

/// Whether there is any person's account.
pub async fn any_user(db: &Db) -> Result<bool, Error> {
    let found = account::Entity::find().filter(account::Column::TenantId.is_null()).one(db.read()).await;
    Ok(found.doing("look for accounts")?.is_some())
}

/// Sets a person's password and ends every session and token of theirs.
pub async fn set_password(db: &Db, actor: &str, id: AccountId, password: &Password) -> Result<(), Error> {
    let doing = "set a password";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    account::Entity::update_many()
        .col_expr(account::Column::Password, Expr::value(password.hash.clone()))
        .col_expr(account::Column::MustChange, Expr::value(password.must_change))
        .col_expr(account::Column::PasswordExpiresAt, Expr::value(password.expires_at.map(|at| at.0)))
        .filter(account::Column::Id.eq(id.0))
        .exec(&transaction)
        .await
        .doing(doing)?;
    end_tokens(&transaction, id).await?;
    let payload = json!({"account": id.0});
    audit::note(&transaction, audit::PLATFORM, now, actor, "set_password", &payload).await?;
    transaction.commit().await.doing(doing)
}

/// Replaces the hash of a password that stays the same, because the way of hashing has changed.
pub async fn rehash(db: &Db, id: AccountId, old: &str, new: &str) -> Result<(), Error> {
    account::Entity::update_many()
        .col_expr(account::Column::Password, Expr::value(new))
        .filter(account::Column::Id.eq(id.0))
        .filter(account::Column::Password.eq(old))
        .exec(db.write())
        .await
        .doing("renew a password's hash")
        .map(drop)
}

/// Switches an account off or on. Off ends every session and token.
pub async fn set_disabled(db: &Db, actor: &str, id: AccountId, disabled: bool) -> Result<(), Error> {
    let doing = "switch an account";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    account::Entity::update_many()
        .col_expr(account::Column::Disabled, Expr::value(disabled))
        .filter(account::Column::Id.eq(id.0))
        .exec(&transaction)
        .await
        .doing(doing)?;
    if disabled {
        end_tokens(&transaction, id).await?;
    }
    let payload = json!({"account": id.0, "disabled": disabled});
    audit::note(&transaction, audit::PLATFORM, now, actor, "switch_account", &payload).await?;
    transaction.commit().await.doing(doing)
}

/// Deletes an account with its tokens, memberships and grants.
pub async fn delete(db: &Db, scope: Option<TenantScope>, actor: &str, id: AccountId) -> Result<(), Error> {
    let doing = "delete an account";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    end_tokens(&transaction, id).await?;
    group_member::Entity::delete_many()
        .filter(group_member::Column::AccountId.eq(id.0))
        .exec(&transaction)
        .await
        .doing(doing)?;
    role_grant::Entity::delete_many()
        .filter(role_grant::Column::SubjectId.eq(id.0))
        .exec(&transaction)
        .await
        .doing(doing)?;
    account::Entity::delete_by_id(id.0).exec(&transaction).await.doing(doing)?;
    let payload = json!({"account": id.0});
    audit::note(&transaction, scope.unwrap_or(audit::PLATFORM), now, actor, "delete_account", &payload)
        .await?;
    transaction.commit().await.doing(doing)
}

async fn end_tokens(transaction: &impl ConnectionTrait, id: AccountId) -> Result<(), Error> {
    token::Entity::delete_many()
        .filter(token::Column::AccountId.eq(id.0))
        .exec(transaction)
        .await
        .doing("end the tokens of an account")
        .map(drop)
}
