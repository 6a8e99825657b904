//! Variables. A secret one is sealed and write-only: lists never show its value, only attempts get it.

use std::collections::BTreeMap;

use dags::time::Timestamp;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    sea_query::OnConflict,
};
use serde_json::json;

use crate::{
    columns::without_nul,
    db::Db,
    entity::variable,
    error::{Doing as _, Error},
    scope::TenantScope,
    seal::{Place, Sealer},
    store::audit,
};

/// A variable as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value; none if it is secret.
    pub value: Option<String>,
    /// Whether it is secret.
    pub secret: bool,
    /// What it is for.
    pub description: Option<String>,
    /// When it was last set.
    pub updated_at: Timestamp,
    /// Who set it last.
    pub updated_by: String,
}

/// A variable that is to be set.
#[derive(Clone, PartialEq, Eq)]
pub struct NewVariable {
    /// Its name.
    pub name: String,
    /// Its value. It may be an empty text; NUL becomes U+FFFD if it isn't secret.
    pub value: String,
    /// Whether it is secret.
    pub secret: bool,
    /// What it is for.
    pub description: Option<String>,
}

impl std::fmt::Debug for NewVariable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewVariable").field("name", &self.name).finish_non_exhaustive()
    }
}

fn place(name: &str, secret_version: i32) -> Place<'_> {
    Place { kind: "variable", name, field: "value", secret_version: secret_version as u32 }
}

/// Sets a variable, new or not.
pub async fn set(
    db: &Db,
    scope: TenantScope,
    sealer: &Sealer,
    actor: &str,
    new: &NewVariable,
) -> Result<(), Error> {
    let doing = "set a variable";
    let tenant = scope.tenant().0;
    let name = without_nul(&new.name).into_owned();
    let now = db.now().await?.0;
    // Before the transaction: SQLite has one writing connection, and sealing may have to store the tenant's first key.
    let before = variable::Entity::find_by_id((tenant, name.clone())).one(db.write()).await.doing(doing)?;
    let secret_version = before.map_or(0, |row| row.secret_version) + i32::from(new.secret);
    let (value, sealed) = if new.secret {
        let sealed = sealer.seal(db, scope, place(&name, secret_version), new.value.as_bytes()).await?;
        (None, Some(sealed))
    } else {
        (Some(without_nul(&new.value).into_owned()), None)
    };
    let transaction = db.begin().await.doing(doing)?;
    variable::Entity::insert(variable::ActiveModel {
        tenant_id: Set(tenant),
        name: Set(name.clone()),
        value: Set(value),
        sealed: Set(sealed),
        secret_version: Set(secret_version),
        description: Set(new.description.as_deref().map(|text| without_nul(text).into_owned())),
        updated_at: Set(now),
        updated_by: Set(without_nul(actor).into_owned()),
    })
    .on_conflict(
        OnConflict::columns([variable::Column::TenantId, variable::Column::Name])
            .update_columns([
                variable::Column::Value,
                variable::Column::Sealed,
                variable::Column::SecretVersion,
                variable::Column::Description,
                variable::Column::UpdatedAt,
                variable::Column::UpdatedBy,
            ])
            .to_owned(),
    )
    .exec_without_returning(&transaction)
    .await
    .doing(doing)?;
    let payload = json!({"name": name, "secret": new.secret});
    audit::note(&transaction, scope, now, actor, "set_variable", &payload).await?;
    transaction.commit().await.doing(doing)
}

/// Deletes a variable. False if there is none.
pub async fn delete(db: &Db, scope: TenantScope, actor: &str, name: &str) -> Result<bool, Error> {
    let doing = "delete a variable";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    let done = variable::Entity::delete_by_id((scope.tenant().0, name.to_owned()))
        .exec(&transaction)
        .await
        .doing(doing)?;
    if done.rows_affected > 0 {
        audit::note(&transaction, scope, now, actor, "delete_variable", &json!({"name": name})).await?;
    }
    transaction.commit().await.doing(doing)?;
    Ok(done.rows_affected > 0)
}

/// All variables by name.
pub async fn list(db: &Db, scope: TenantScope) -> Result<Vec<Variable>, Error> {
    let found = variable::Entity::find()
        .filter(variable::Column::TenantId.eq(scope.tenant().0))
        .order_by_asc(variable::Column::Name)
        .all(db.read())
        .await
        .doing("list variables")?;
    Ok(found.into_iter().map(read).collect())
}

/// One variable.
pub async fn get(db: &Db, scope: TenantScope, name: &str) -> Result<Option<Variable>, Error> {
    let found = variable::Entity::find_by_id((scope.tenant().0, name.to_owned())).one(db.read()).await;
    Ok(found.doing("read a variable")?.map(read))
}

fn read(row: variable::Model) -> Variable {
    Variable {
        secret: row.sealed.is_some(),
        name: row.name,
        value: row.value,
        description: row.description,
        updated_at: Timestamp(row.updated_at),
        updated_by: row.updated_by,
    }
}

/// A variable's value as an attempt gets it.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// The value.
    pub value: String,
    /// Whether it is secret, so that it must be masked wherever it is shown.
    pub secret: bool,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("secret", &self.secret).finish_non_exhaustive()
    }
}

/// The values of those variables, secret ones opened: for the context of an attempt that names them, and for nothing
/// else. One that isn't there is missing in the answer.
pub async fn values(
    db: &Db,
    scope: TenantScope,
    sealer: &Sealer,
    names: &[String],
) -> Result<BTreeMap<String, Opened>, Error> {
    let found = variable::Entity::find()
        .filter(variable::Column::TenantId.eq(scope.tenant().0))
        .filter(variable::Column::Name.is_in(names))
        .all(db.read())
        .await
        .doing("read the variables of an attempt")?;
    let mut values = BTreeMap::new();
    for row in found {
        let opened = match (row.value, row.sealed) {
            (Some(value), None) => Opened { value, secret: false },
            (None, Some(sealed)) => {
                let plain = sealer.open(db, scope, place(&row.name, row.secret_version), &sealed).await?;
                Opened { value: String::from_utf8_lossy(&plain).into_owned(), secret: true }
            }
            _ => return Err(Error::corrupt("variable", format!("{:?} has no value", row.name))),
        };
        values.insert(row.name, opened);
    }
    Ok(values)
}
