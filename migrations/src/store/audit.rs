//! Who changed what. Written by whoever makes the change, in its transaction; only read here.

use dags::time::Timestamp;
use engine::command::Refusal;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use serde_json::{Value, json};

use crate::{
    columns::without_nul,
    db::Db,
    entity::audit,
    error::{Doing as _, Error},
    rows,
    scope::TenantScope,
    store::{Page, Window, inbox::StoredOutcome, readable},
};

/// The log of the installation itself. No tenant has this id.
pub const PLATFORM: TenantScope = TenantScope::new(dags::ids::TenantId(uuid::Uuid::nil()));

/// An entry.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What kind of request.
    pub kind: String,
    /// The request.
    pub payload: Value,
    /// What came of it.
    pub outcome: Result<Value, Refusal>,
    /// The batch that has its effects; none for what the service does without the engine.
    pub batch: Option<u64>,
}

/// Entries, newest first.
pub async fn list(db: &Db, scope: TenantScope, window: Window) -> Result<Page<AuditEntry>, Error> {
    let doing = "list the audit log";
    let query = audit::Entity::find().filter(audit::Column::TenantId.eq(scope.tenant().0));
    let total = query.clone().count(db.read()).await.doing(doing)?;
    let query = query.order_by_desc(audit::Column::Id).limit(window.limit).offset(window.offset);
    let found = query.all(db.read()).await.doing(doing)?;
    Ok(Page { rows: readable(found, |row| format!("audit {}", row.id), read), total })
}

/// The last entries of one kind, newest first.
pub async fn latest(db: &Db, scope: TenantScope, kind: &str, limit: u64) -> Result<Vec<AuditEntry>, Error> {
    let found = audit::Entity::find()
        .filter(audit::Column::TenantId.eq(scope.tenant().0))
        .filter(audit::Column::Kind.eq(kind))
        .order_by_desc(audit::Column::Id)
        .limit(limit)
        .all(db.read())
        .await
        .doing("look into the audit log")?;
    Ok(readable(found, |row| format!("audit {}", row.id), read))
}

/// One entry.
pub async fn get(db: &Db, scope: TenantScope, id: i64) -> Result<Option<AuditEntry>, Error> {
    let found =
        audit::Entity::find_by_id(id).filter(audit::Column::TenantId.eq(scope.tenant().0)).one(db.read());
    found.await.doing("read an entry of the audit log")?.map(read).transpose()
}

/// Notes what somebody tried and may not do.
pub async fn denied(db: &Db, scope: TenantScope, actor: &str, what: &str) -> Result<(), Error> {
    let refusal = Refusal { code: "auth.denied".into(), message: "not allowed".into() };
    let entry = Entry { at: db.now().await?.0, actor, kind: "denied", payload: &json!({ "what": what }) };
    insert(db.write(), scope, &entry, &Err(refusal)).await
}

/// Notes a sign-in that failed, whatever it failed by.
pub async fn sign_in_failed(db: &Db, name: &str, from: Option<&str>) -> Result<(), Error> {
    let refusal = Refusal { code: "auth.sign_in".into(), message: "refused".into() };
    let entry =
        Entry { at: db.now().await?.0, actor: name, kind: "sign_in", payload: &json!({ "from": from }) };
    insert(db.write(), PLATFORM, &entry, &Err(refusal)).await
}

fn read(row: audit::Model) -> Result<AuditEntry, Error> {
    let outcome: StoredOutcome = rows::json("audit", &row.outcome)?;
    Ok(AuditEntry {
        id: row.id,
        at: Timestamp(row.at),
        actor: row.actor,
        kind: row.kind,
        // A request that couldn't be read was refused for it; here it is shown as the text that it is.
        payload: serde_json::from_str(&row.payload).unwrap_or(Value::String(row.payload)),
        outcome: outcome.into(),
        batch: row.batch.map(|batch| batch as u64),
    })
}

/// Notes a change that the service makes without the engine, in the transaction of the change. `payload` has no secret.
pub(crate) async fn note(
    transaction: &impl ConnectionTrait,
    scope: TenantScope,
    at: i64,
    actor: &str,
    kind: &str,
    payload: &Value,
) -> Result<(), Error> {
    insert(transaction, scope, &Entry { at, actor, kind, payload }, &Ok(Value::Null)).await
}

struct Entry<'a> {
    at: i64,
    actor: &'a str,
    kind: &'a str,
    payload: &'a Value,
}

async fn insert(
    connection: &impl ConnectionTrait,
    scope: TenantScope,
    entry: &Entry<'_>,
    outcome: &Result<Value, Refusal>,
) -> Result<(), Error> {
    audit::Entity::insert(audit::ActiveModel {
        id: NotSet,
        at: Set(entry.at),
        tenant_id: Set(scope.tenant().0),
        actor: Set(without_nul(entry.actor).into_owned()),
        kind: Set(entry.kind.to_owned()),
        payload: Set(rows::to_json(entry.payload)),
        outcome: Set(rows::to_json(&StoredOutcome::from(outcome))),
        shard_id: Set(None),
        batch: Set(None),
    })
    .exec_without_returning(connection)
    .await
    .doing("write the audit log")
    .map(drop)
}
