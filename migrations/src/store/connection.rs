//! Connections. Password and everything in `extra` are sealed and write-only: lists never show them, only attempts get
//! them.

use dags::time::Timestamp;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    sea_query::OnConflict,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    columns::without_nul,
    db::Db,
    entity::connection,
    error::{Doing as _, Error},
    rows,
    scope::TenantScope,
    seal::{Place, Sealer},
    store::audit,
};

/// The public part of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `postgres`, `sqlite`, `http`, ...
    pub conn_type: String,
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The database or path.
    pub schema: Option<String>,
    /// The user.
    pub login: Option<String>,
}

/// The secret part of a connection.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// The password.
    pub password: Option<String>,
    /// Everything else.
    pub extra: Map<String, Value>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(***)")
    }
}

/// A connection as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its name.
    pub name: String,
    /// Where it leads.
    pub address: Address,
    /// Whether it has a password or extra fields.
    pub has_secrets: bool,
    /// What it is for.
    pub description: Option<String>,
    /// When it was last set.
    pub updated_at: Timestamp,
    /// Who set it last.
    pub updated_by: String,
}

/// A connection that is to be set.
#[derive(Debug, Clone, PartialEq)]
pub struct NewConnection {
    /// Its name.
    pub name: String,
    /// Where it leads.
    pub address: Address,
    /// Its secrets. None leaves those that are there, unless type, host or port change: then they are deleted, so that
    /// nobody can send them elsewhere.
    pub secrets: Option<Secrets>,
    /// What it is for.
    pub description: Option<String>,
}

fn place(name: &str, secret_version: i32) -> Place<'_> {
    Place { kind: "connection", name, field: "secrets", secret_version: secret_version as u32 }
}

fn clean(text: Option<&str>) -> Option<String> {
    text.map(|text| without_nul(text).into_owned())
}

/// Sets a connection, new or not.
pub async fn set(
    db: &Db,
    scope: TenantScope,
    sealer: &Sealer,
    actor: &str,
    new: &NewConnection,
) -> Result<(), Error> {
    let doing = "set a connection";
    let tenant = scope.tenant().0;
    let name = without_nul(&new.name).into_owned();
    let now = db.now().await?.0;
    let before = connection::Entity::find_by_id((tenant, name.clone())).one(db.write()).await.doing(doing)?;
    let (conn_type, host) =
        (without_nul(&new.address.conn_type).into_owned(), clean(new.address.host.as_deref()));
    let port = new.address.port.map(i32::from);
    let mut secret_version = before.as_ref().map_or(0, |row| row.secret_version);
    let sealed = match (&new.secrets, before) {
        (Some(secrets), _) => {
            secret_version += 1;
            let plain = zeroize::Zeroizing::new(rows::to_json(secrets));
            Some(sealer.seal(db, scope, place(&name, secret_version), plain.as_bytes()).await?)
        }
        (None, Some(row)) if row.conn_type == conn_type && row.host == host && row.port == port => row.sealed,
        (None, _) => None,
    };
    let payload = json!({
        "name": name, "conn_type": conn_type, "host": host, "port": port, "secrets_given": new.secrets.is_some(),
    });
    let transaction = db.begin().await.doing(doing)?;
    connection::Entity::insert(connection::ActiveModel {
        tenant_id: Set(tenant),
        name: Set(name),
        conn_type: Set(conn_type),
        host: Set(host),
        port: Set(port),
        schema: Set(clean(new.address.schema.as_deref())),
        login: Set(clean(new.address.login.as_deref())),
        sealed: Set(sealed),
        secret_version: Set(secret_version),
        description: Set(clean(new.description.as_deref())),
        updated_at: Set(now),
        updated_by: Set(without_nul(actor).into_owned()),
    })
    .on_conflict(
        OnConflict::columns([connection::Column::TenantId, connection::Column::Name])
            .update_columns([
                connection::Column::ConnType,
                connection::Column::Host,
                connection::Column::Port,
                connection::Column::Schema,
                connection::Column::Login,
                connection::Column::Sealed,
                connection::Column::SecretVersion,
                connection::Column::Description,
                connection::Column::UpdatedAt,
                connection::Column::UpdatedBy,
            ])
            .to_owned(),
    )
    .exec_without_returning(&transaction)
    .await
    .doing(doing)?;
    audit::note(&transaction, scope, now, actor, "set_connection", &payload).await?;
    transaction.commit().await.doing(doing)
}

/// Deletes a connection. False if there is none.
pub async fn delete(db: &Db, scope: TenantScope, actor: &str, name: &str) -> Result<bool, Error> {
    let doing = "delete a connection";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    let key = (scope.tenant().0, name.to_owned());
    let done = connection::Entity::delete_by_id(key).exec(&transaction).await.doing(doing)?;
    if done.rows_affected > 0 {
        audit::note(&transaction, scope, now, actor, "delete_connection", &json!({"name": name})).await?;
    }
    transaction.commit().await.doing(doing)?;
    Ok(done.rows_affected > 0)
}

/// All connections by name.
pub async fn list(db: &Db, scope: TenantScope) -> Result<Vec<Connection>, Error> {
    let found = connection::Entity::find()
        .filter(connection::Column::TenantId.eq(scope.tenant().0))
        .order_by_asc(connection::Column::Name)
        .all(db.read())
        .await
        .doing("list connections")?;
    found.iter().map(read).collect()
}

/// One connection.
pub async fn get(db: &Db, scope: TenantScope, name: &str) -> Result<Option<Connection>, Error> {
    let found = connection::Entity::find_by_id((scope.tenant().0, name.to_owned())).one(db.read()).await;
    found.doing("read a connection")?.as_ref().map(read).transpose()
}

fn read(row: &connection::Model) -> Result<Connection, Error> {
    Ok(Connection {
        name: row.name.clone(),
        address: address(row)?,
        has_secrets: row.sealed.is_some(),
        description: row.description.clone(),
        updated_at: Timestamp(row.updated_at),
        updated_by: row.updated_by.clone(),
    })
}

fn address(row: &connection::Model) -> Result<Address, Error> {
    let port = row.port.map(u16::try_from).transpose();
    Ok(Address {
        conn_type: row.conn_type.clone(),
        host: row.host.clone(),
        port: port.map_err(|_| Error::corrupt("connection", format!("port {:?}", row.port)))?,
        schema: row.schema.clone(),
        login: row.login.clone(),
    })
}

/// A connection with its secrets: for the context of an attempt that names it, and for nothing else.
pub async fn open(
    db: &Db,
    scope: TenantScope,
    sealer: &Sealer,
    name: &str,
) -> Result<Option<(Address, Secrets)>, Error> {
    let key = (scope.tenant().0, name.to_owned());
    let found = connection::Entity::find_by_id(key).one(db.read()).await.doing("open a connection")?;
    let Some(row) = found else { return Ok(None) };
    let secrets = match &row.sealed {
        Some(sealed) => {
            let plain = sealer.open(db, scope, place(&row.name, row.secret_version), sealed).await?;
            let read = serde_json::from_slice(&plain);
            // The reason would quote the secret.
            read.map_err(|_| {
                Error::corrupt("connection", format!("the secrets of {:?} are no document", row.name))
            })?
        }
        None => Secrets::default(),
    };
    Ok(Some((address(&row)?, secrets)))
}
