//! Roles, groups and grants: who may do what in a tenant. Each change counts the tenant's policy up in its own
//! transaction; whoever keeps decisions compares that number.

use std::collections::BTreeSet;

use dags::{ids::TenantId, time::Timestamp};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _,
    sea_query::{Expr, ExprTrait as _, OnConflict},
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    columns::without_nul,
    db::Db,
    entity::{account, account_group, group_member, role, role_grant, tenant},
    error::{Doing as _, Error},
    policy::Rule,
    rows,
    scope::TenantScope,
    store::{account::AccountId, audit},
};

/// A role: built in, with a fixed id, or a tenant's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleId(pub Uuid);

/// A group of accounts in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub Uuid);

/// Who can be given a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An account.
    Account(AccountId),
    /// Everybody in a group.
    Group(GroupId),
}

/// A role that a tenant made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its identity.
    pub id: RoleId,
    /// Its name, unique in the tenant.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it gives and takes.
    pub rules: Vec<Rule>,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its identity.
    pub id: GroupId,
    /// Its name, unique in the tenant.
    pub name: String,
    /// Its members, by name.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The account.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// Whether it is a service account of the tenant.
    pub is_service: bool,
}

/// A grant, with the names of both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who has it.
    pub subject: Subject,
    /// What they are called.
    pub name: String,
    /// What they have.
    pub role: RoleId,
}

/// Rights over the installation are granted here.
pub const PLATFORM: TenantScope = audit::PLATFORM;

/// The roles that an account has in a tenant, itself or by its groups, and those that it has over the installation.
pub async fn of_account(
    db: &Db,
    scope: TenantScope,
    account: AccountId,
) -> Result<(BTreeSet<RoleId>, BTreeSet<RoleId>), Error> {
    let groups = group_member::Entity::find()
        .select_only()
        .column(group_member::Column::GroupId)
        .filter(group_member::Column::AccountId.eq(account.0))
        .into_query();
    let subject = Expr::col(role_grant::Column::SubjectId)
        .eq(account.0)
        .or(Expr::col(role_grant::Column::SubjectId).in_subquery(groups));
    let found = role_grant::Entity::find()
        .filter(role_grant::Column::TenantId.is_in([scope.tenant().0, PLATFORM.tenant().0]))
        .filter(subject)
        .all(db.read())
        .await
        .doing("read who may do what")?;
    let (here, over): (Vec<_>, Vec<_>) = found.into_iter().partition(|row| row.tenant_id == scope.tenant().0);
    let roles = |rows: Vec<role_grant::Model>| rows.into_iter().map(|row| RoleId(row.role_id)).collect();
    if scope == PLATFORM { Ok((BTreeSet::new(), roles(here))) } else { Ok((roles(here), roles(over))) }
}

/// The names of tenants in which an account has any role.
pub async fn tenants_of(db: &Db, account: AccountId) -> Result<Vec<String>, Error> {
    let doing = "read somebody's tenants";
    let groups = group_member::Entity::find()
        .select_only()
        .column(group_member::Column::GroupId)
        .filter(group_member::Column::AccountId.eq(account.0))
        .into_query();
    let subject = Expr::col(role_grant::Column::SubjectId)
        .eq(account.0)
        .or(Expr::col(role_grant::Column::SubjectId).in_subquery(groups));
    let granted = role_grant::Entity::find()
        .select_only()
        .column(role_grant::Column::TenantId)
        .filter(subject)
        .into_query();
    let found = tenant::Entity::find()
        .filter(tenant::Column::Id.in_subquery(granted))
        .filter(tenant::Column::State.ne("deleted"))
        .order_by_asc(tenant::Column::Name)
        .all(db.read())
        .await
        .doing(doing)?;
    Ok(found.into_iter().map(|row| row.name).collect())
}

fn read(row: role::Model) -> Result<Role, Error> {
    Ok(Role {
        id: RoleId(row.id),
        name: row.name,
        description: row.description,
        rules: rows::json("role", &row.rules)?,
        updated_at: Timestamp(row.updated_at),
    })
}

/// The roles that a tenant made, by name.
pub async fn list(db: &Db, scope: TenantScope) -> Result<Vec<Role>, Error> {
    let found = role::Entity::find()
        .filter(role::Column::TenantId.eq(scope.tenant().0))
        .order_by_asc(role::Column::Name)
        .all(db.read())
        .await
        .doing("list roles")?;
    found.into_iter().map(read).collect()
}

/// Some of the roles that a tenant made. Ids of others are left out.
pub async fn some(db: &Db, scope: TenantScope, ids: &BTreeSet<RoleId>) -> Result<Vec<Role>, Error> {
    let found = role::Entity::find()
        .filter(role::Column::TenantId.eq(scope.tenant().0))
        .filter(role::Column::Id.is_in(ids.iter().map(|id| id.0)))
        .order_by_asc(role::Column::Id)
        .all(db.read())
        .await
        .doing("read roles")?;
    found.into_iter().map(read).collect()
}

/// Makes a role or changes the one of that name.
pub async fn set(
    db: &Db,
    scope: TenantScope,
    actor: &str,
    name: &str,
    description: Option<&str>,
    rules: &[Rule],
) -> Result<(), Error> {
    let doing = "set a role";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    role::Entity::insert(role::ActiveModel {
        id: Set(Uuid::now_v7()),
        tenant_id: Set(scope.tenant().0),
        name: Set(name.to_owned()),
        description: Set(description.map(|text| without_nul(text).into_owned())),
        rules: Set(rows::to_json(&rules)),
        created_at: Set(now),
        updated_at: Set(now),
    })
    .on_conflict(
        OnConflict::columns([role::Column::TenantId, role::Column::Name])
            .update_columns([role::Column::Description, role::Column::Rules, role::Column::UpdatedAt])
            .to_owned(),
    )
    .exec_without_returning(&transaction)
    .await
    .doing(doing)?;
    count_up(&transaction, scope).await?;
    audit::note(&transaction, scope, now, actor, "set_role", &json!({"role": name, "rules": rules})).await?;
    transaction.commit().await.doing(doing)
}

/// Deletes a role and every grant of it. False if the tenant has none of that name.
pub async fn delete(db: &Db, scope: TenantScope, actor: &str, name: &str) -> Result<bool, Error> {
    let doing = "delete a role";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    let found = role::Entity::find()
        .filter(role::Column::TenantId.eq(scope.tenant().0))
        .filter(role::Column::Name.eq(name))
        .one(&transaction)
        .await
        .doing(doing)?;
    let Some(found) = found else { return Ok(false) };
    role_grant::Entity::delete_many()
        .filter(role_grant::Column::TenantId.eq(scope.tenant().0))
        .filter(role_grant::Column::RoleId.eq(found.id))
        .exec(&transaction)
        .await
        .doing(doing)?;
    role::Entity::delete_by_id(found.id).exec(&transaction).await.doing(doing)?;
    count_up(&transaction, scope).await?;
    audit::note(&transaction, scope, now, actor, "delete_role", &json!({"role": name})).await?;
    transaction.commit().await.doing(doing)?;
    Ok(true)
}

/// Gives a role to somebody. Giving it twice is giving it once.
pub async fn grant(
    db: &Db,
    scope: TenantScope,
    actor: &str,
    subject: Subject,
    role: RoleId,
) -> Result<(), Error> {
    let doing = "grant a role";
    let now = db.now().await?.0;
    let (kind, id) = parts(subject);
    let transaction = db.begin().await.doing(doing)?;
    role_grant::Entity::insert(role_grant::ActiveModel {
        tenant_id: Set(scope.tenant().0),
        subject_id: Set(id),
        subject_kind: Set(kind.to_owned()),
        role_id: Set(role.0),
        created_at: Set(now),
        created_by: Set(actor.to_owned()),
    })
    .on_conflict(OnConflict::new().do_nothing().to_owned())
    .exec_without_returning(&transaction)
    .await
    .doing(doing)?;
    count_up(&transaction, scope).await?;
    let payload = json!({"subject": id, "kind": kind, "role": role.0});
    audit::note(&transaction, scope, now, actor, "grant_role", &payload).await?;
    transaction.commit().await.doing(doing)
}

/// Takes a role away. False if they haven't got it.
pub async fn revoke(
    db: &Db,
    scope: TenantScope,
    actor: &str,
    subject: Subject,
    role: RoleId,
) -> Result<bool, Error> {
    let doing = "take a role away";
    let now = db.now().await?.0;
    let (kind, id) = parts(subject);
    let transaction = db.begin().await.doing(doing)?;
    let done = role_grant::Entity::delete_by_id((scope.tenant().0, id, role.0))
        .exec(&transaction)
        .await
        .doing(doing)?;
    if done.rows_affected == 0 {
        return Ok(false);
    }
    count_up(&transaction, scope).await?;
    let payload = json!({"subject": id, "kind": kind, "role": role.0});
    audit::note(&transaction, scope, now, actor, "revoke_role", &payload).await?;
    transaction.commit().await.doing(doing)?;
    Ok(true)
}

const fn parts(subject: Subject) -> (&'static str, Uuid) {
    match subject {
        Subject::Account(id) => ("account", id.0),
        Subject::Group(id) => ("group", id.0),
    }
}

/// All grants of a tenant, or of the installation.
pub async fn grants(db: &Db, scope: TenantScope) -> Result<Vec<Grant>, Error> {
    let doing = "list grants";
    let rows = role_grant::Entity::find()
        .filter(role_grant::Column::TenantId.eq(scope.tenant().0))
        .order_by_asc(role_grant::Column::SubjectId)
        .order_by_asc(role_grant::Column::RoleId)
        .all(db.read())
        .await
        .doing(doing)?;
    let ids = || rows.iter().map(|row| row.subject_id);
    let accounts =
        account::Entity::find().filter(account::Column::Id.is_in(ids())).all(db.read()).await.doing(doing)?;
    let groups = account_group::Entity::find()
        .filter(account_group::Column::TenantId.eq(scope.tenant().0))
        .filter(account_group::Column::Id.is_in(ids()))
        .all(db.read())
        .await
        .doing(doing)?;
    let name = |row: &role_grant::Model| {
        let account = accounts.iter().find(|account| account.id == row.subject_id).map(|found| &found.name);
        account.or_else(|| groups.iter().find(|group| group.id == row.subject_id).map(|found| &found.name))
    };
    Ok(rows
        .iter()
        .filter_map(|row| {
            let subject = if row.subject_kind == "group" {
                Subject::Group(GroupId(row.subject_id))
            } else {
                Subject::Account(AccountId(row.subject_id))
            };
            Some(Grant { subject, name: name(row)?.clone(), role: RoleId(row.role_id) })
        })
        .collect())
}

/// Groups by name, with their members.
pub async fn groups(db: &Db, scope: TenantScope) -> Result<Vec<Group>, Error> {
    let doing = "list groups";
    let found = account_group::Entity::find()
        .filter(account_group::Column::TenantId.eq(scope.tenant().0))
        .order_by_asc(account_group::Column::Name)
        .all(db.read())
        .await
        .doing(doing)?;
    let members = group_member::Entity::find()
        .filter(group_member::Column::GroupId.is_in(found.iter().map(|group| group.id)))
        .all(db.read())
        .await
        .doing(doing)?;
    let accounts = account::Entity::find()
        .filter(account::Column::Id.is_in(members.iter().map(|member| member.account_id)))
        .order_by_asc(account::Column::Name)
        .all(db.read())
        .await
        .doing(doing)?;
    let is_in = |group: Uuid, account: Uuid| {
        members.iter().any(|member| member.group_id == group && member.account_id == account)
    };
    Ok(found
        .into_iter()
        .map(|group| Group {
            id: GroupId(group.id),
            members: accounts
                .iter()
                .filter(|account| is_in(group.id, account.id))
                .map(|account| GroupMember {
                    id: AccountId(account.id),
                    name: account.name.clone(),
                    is_service: account.tenant_id.is_some(),
                })
                .collect(),
            name: group.name,
        })
        .collect())
}

/// Makes a group, or gives the one of that name other members.
pub async fn set_group(
    db: &Db,
    scope: TenantScope,
    actor: &str,
    name: &str,
    members: &BTreeSet<AccountId>,
) -> Result<(), Error> {
    let doing = "set a group";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    account_group::Entity::insert(account_group::ActiveModel {
        id: Set(Uuid::now_v7()),
        tenant_id: Set(scope.tenant().0),
        name: Set(name.to_owned()),
        created_at: Set(now),
    })
    .on_conflict(OnConflict::new().do_nothing().to_owned())
    .exec_without_returning(&transaction)
    .await
    .doing(doing)?;
    let group = find_group(&transaction, scope, name).await?;
    let group = group.ok_or_else(|| Error::corrupt("account_group", "a group that was just made is gone"))?;
    group_member::Entity::delete_many()
        .filter(group_member::Column::GroupId.eq(group.0))
        .exec(&transaction)
        .await
        .doing(doing)?;
    if !members.is_empty() {
        let rows = members
            .iter()
            .map(|member| group_member::ActiveModel { group_id: Set(group.0), account_id: Set(member.0) });
        group_member::Entity::insert_many(rows).exec_without_returning(&transaction).await.doing(doing)?;
    }
    count_up(&transaction, scope).await?;
    let payload =
        json!({"group": name, "members": members.iter().map(|member| member.0).collect::<Vec<_>>()});
    audit::note(&transaction, scope, now, actor, "set_group", &payload).await?;
    transaction.commit().await.doing(doing)
}

/// Deletes a group and what was granted to it. False if the tenant has none of that name.
pub async fn delete_group(db: &Db, scope: TenantScope, actor: &str, name: &str) -> Result<bool, Error> {
    let doing = "delete a group";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    let Some(group) = find_group(&transaction, scope, name).await? else { return Ok(false) };
    role_grant::Entity::delete_many()
        .filter(role_grant::Column::SubjectId.eq(group.0))
        .exec(&transaction)
        .await
        .doing(doing)?;
    group_member::Entity::delete_many()
        .filter(group_member::Column::GroupId.eq(group.0))
        .exec(&transaction)
        .await
        .doing(doing)?;
    account_group::Entity::delete_by_id(group.0).exec(&transaction).await.doing(doing)?;
    count_up(&transaction, scope).await?;
    audit::note(&transaction, scope, now, actor, "delete_group", &json!({"group": name})).await?;
    transaction.commit().await.doing(doing)?;
    Ok(true)
}

/// The group of that name.
pub async fn group(db: &Db, scope: TenantScope, name: &str) -> Result<Option<GroupId>, Error> {
    find_group(db.read(), scope, name).await
}

async fn find_group(
    connection: &impl ConnectionTrait,
    scope: TenantScope,
    name: &str,
) -> Result<Option<GroupId>, Error> {
    let found = account_group::Entity::find()
        .filter(account_group::Column::TenantId.eq(scope.tenant().0))
        .filter(account_group::Column::Name.eq(name))
        .one(connection);
    Ok(found.await.doing("find a group")?.map(|group| GroupId(group.id)))
}

/// Says that what was known of a tenant's policy is out of date.
async fn count_up(transaction: &impl ConnectionTrait, scope: TenantScope) -> Result<(), Error> {
    let TenantId(id) = scope.tenant();
    tenant::Entity::update_many()
        .col_expr(tenant::Column::PolicyEpoch, Expr::col(tenant::Column::PolicyEpoch).add(1))
        .filter(tenant::Column::Id.eq(id))
        .exec(transaction)
        .await
        .doing("count a tenant's policy up")
        .map(drop)
}
