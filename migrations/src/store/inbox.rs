//! The one door to the engine: put a request in, wait for what became of it, take it back if nobody came.

use dags::{
    ids::ShardId,
    time::{Span, Timestamp},
};
use engine::{
    command::{self, Command, Refusal},
    format::Format,
};
use sea_orm::{ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, Statement};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    columns::without_nul,
    db::Db,
    entity::inbox,
    error::{Doing as _, Error},
    rows,
    scope::TenantScope,
};

/// What became of a request, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredOutcome {
    format: Format<1>,
    outcome: OutcomeBody,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeBody {
    Ok(Value),
    Refused(Refusal),
}

impl From<&Result<Value, Refusal>> for StoredOutcome {
    fn from(outcome: &Result<Value, Refusal>) -> Self {
        let outcome = match outcome {
            Ok(value) => OutcomeBody::Ok(value.clone()),
            Err(refusal) => OutcomeBody::Refused(refusal.clone()),
        };
        Self { format: Format, outcome }
    }
}

impl From<StoredOutcome> for Result<Value, Refusal> {
    fn from(stored: StoredOutcome) -> Self {
        match stored.outcome {
            OutcomeBody::Ok(value) => Ok(value),
            OutcomeBody::Refused(refusal) => Err(refusal),
        }
    }
}

/// A request that waits or has been taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Its number, to wait for.
    pub id: i64,
    /// The shard whose owner takes it, to wake.
    pub shard: ShardId,
    /// Whether it is new; false for one that was there under the same idempotency key.
    pub new: bool,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// It waits.
    Waiting,
    /// It was taken in that batch.
    Taken {
        /// The batch that committed its effects.
        batch: u64,
        /// What the caller gets, or why not.
        outcome: Result<Value, Refusal>,
    },
    /// It isn't there: withdrawn, or never was.
    Gone,
}

/// Puts a request in. With an idempotency key, the same request again is the same ticket; another one is an error.
pub async fn insert(
    db: &Db,
    scope: TenantScope,
    actor: &str,
    command: &Command,
    idempotency_key: Option<&str>,
) -> Result<Ticket, Error> {
    let doing = "put a request into the inbox";
    let payload =
        serde_json::to_value(command).expect("invariant: a command has text keys and no failing Serialize");
    let kind = payload.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let payload = rows::to_json(&payload);
    // Shard and clock in the same statement: somebody waits for each journey to the database.
    let sql = db.pick(
        "INSERT INTO inbox (shard_id, tenant_id, kind, format, payload, actor, idempotency_key, created_at)
         SELECT t.shard_id, t.id, ?2, ?3, ?4, ?5, ?6, CAST(unixepoch('subsec') * 1000000 AS INTEGER)
         FROM tenant AS t WHERE t.id = ?1
         ON CONFLICT DO NOTHING RETURNING id, shard_id",
        "INSERT INTO inbox (shard_id, tenant_id, kind, format, payload, actor, idempotency_key, created_at)
         SELECT t.shard_id, t.id, $2, $3, $4, $5, $6, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
         FROM tenant AS t WHERE t.id = $1
         ON CONFLICT DO NOTHING RETURNING id, shard_id",
    );
    let values = [
        scope.tenant().0.into(),
        kind.into(),
        (command::FORMAT as i32).into(),
        payload.clone().into(),
        without_nul(actor).into_owned().into(),
        idempotency_key.map(|key| without_nul(key).into_owned()).into(),
    ];
    let statement = Statement::from_sql_and_values(db.write().get_database_backend(), sql, values);
    // All rows: whoever asks for one isn't told what goes wrong at the end of the statement, such as a full disk.
    if let Some(row) = db.write().query_all_raw(statement).await.doing(doing)?.pop() {
        let (id, shard) = (row.try_get("", "id").doing(doing)?, row.try_get("", "shard_id").doing(doing)?);
        return Ok(Ticket { id, shard: ShardId(shard), new: true });
    }
    let Some(key) = idempotency_key else {
        return Err(Error::corrupt("tenant", format!("there is no tenant {}", scope.tenant())));
    };
    let found = inbox::Entity::find()
        .filter(inbox::Column::TenantId.eq(scope.tenant().0))
        .filter(inbox::Column::IdempotencyKey.eq(without_nul(key).as_ref()))
        .one(db.write())
        .await
        .doing(doing)?;
    let found =
        found.ok_or_else(|| Error::corrupt("inbox", "a request was withdrawn while it was put in again"))?;
    if found.payload != payload {
        return Err(Error::KeyReused { key: key.to_owned() });
    }
    Ok(Ticket { id: found.id, shard: ShardId(found.shard_id), new: false })
}

/// Takes a request back. False if it was taken already: then its outcome is there, or comes with a commit under way.
pub async fn withdraw(db: &Db, scope: TenantScope, id: i64) -> Result<bool, Error> {
    let done = inbox::Entity::delete_many()
        .filter(inbox::Column::TenantId.eq(scope.tenant().0))
        .filter(inbox::Column::Id.eq(id))
        .filter(inbox::Column::TakenInBatch.is_null())
        .exec(db.write())
        .await
        .doing("withdraw a request")?;
    Ok(done.rows_affected > 0)
}

/// What became of a request.
pub async fn progress(db: &Db, scope: TenantScope, id: i64) -> Result<Progress, Error> {
    let found = inbox::Entity::find_by_id(id)
        .filter(inbox::Column::TenantId.eq(scope.tenant().0))
        .one(db.read())
        .await
        .doing("read what became of a request")?;
    let Some(row) = found else { return Ok(Progress::Gone) };
    match (row.taken_in_batch, row.outcome) {
        (Some(batch), Some(outcome)) => {
            let outcome: StoredOutcome = rows::json("inbox", &outcome)?;
            Ok(Progress::Taken { batch: batch as u64, outcome: outcome.into() })
        }
        _ => Ok(Progress::Waiting),
    }
}

/// Deletes requests that were taken before that instant; their audit rows stay. Says how many.
pub async fn forget_taken(db: &Db, before: Timestamp) -> Result<u64, Error> {
    let sql = db.pick(
        "DELETE FROM inbox WHERE taken_in_batch IS NOT NULL AND created_at < ?1",
        "DELETE FROM inbox WHERE taken_in_batch IS NOT NULL AND created_at < $1",
    );
    let statement = Statement::from_sql_and_values(db.write().get_database_backend(), sql, [before.0.into()]);
    let done = db.write().execute_raw(statement).await.doing("forget old requests")?;
    Ok(done.rows_affected())
}

/// Requests that nobody has taken, of all tenants: how many, and how long ago by the database's clock the oldest was made.
pub async fn waiting(db: &Db) -> Result<(u64, Span), Error> {
    let doing = "look for requests that wait";
    let sql = "SELECT COUNT(*) AS n, MIN(created_at) AS oldest FROM inbox WHERE taken_in_batch IS NULL";
    let statement = Statement::from_string(db.read().get_database_backend(), sql);
    let row = db.read().query_one_raw(statement).await.doing(doing)?;
    let row = row.ok_or_else(|| Error::corrupt("inbox", "it can't be counted"))?;
    let (n, oldest): (i64, Option<i64>) =
        (row.try_get("", "n").doing(doing)?, row.try_get("", "oldest").doing(doing)?);
    let lag = match oldest {
        Some(oldest) => db.now().await?.since(Timestamp(oldest)),
        None => Span::ZERO,
    };
    Ok((n as u64, Span(lag.0.max(0))))
}
