//! Alerts and their delivery. The engine's batches insert them; what is changed here is how far their delivery is.

use dags::{
    ids::{AlertId, RunId, TenantId},
    time::{Span, Timestamp},
};
use engine::rows::{AlertKind, AlertRow};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Statement,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    columns::without_nul,
    db::Db,
    entity::alert,
    error::{Doing as _, Error},
    rows,
    scope::{ShardScope, TenantScope},
    store::{Page, Window, readable},
};

/// How far the delivery of an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is to be delivered, perhaps again.
    Pending,
    /// It was delivered.
    Sent,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    /// The name in the database, the API and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Pending, Self::Sent, Self::Failed].into_iter().find(|state| state.as_str() == name)
    }
}

/// An alert with its delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What is to be said.
    pub row: AlertRow,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was tried, this time included.
    pub tries: u32,
    /// When it is tried next, if it is pending.
    pub next_at: Timestamp,
    /// What went wrong last.
    pub error: Option<String>,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
}

/// Takes pending alerts of the shard that are due, oldest first, for so long: until then nobody else takes them, and
/// whoever took them says how it went.
pub async fn take_due(db: &Db, scope: ShardScope, lease: Span, limit: u32) -> Result<Vec<Alert>, Error> {
    let doing = "take alerts that are due";
    let now = db.now().await?;
    let sql = db.pick(
        "UPDATE alert SET tries = tries + 1, next_at = ?2 WHERE (tenant_id, id) IN (
            SELECT tenant_id, id FROM alert
            WHERE state = 'pending' AND next_at <= ?1 AND tenant_id IN (SELECT id FROM tenant WHERE shard_id = ?4)
            ORDER BY next_at, id LIMIT ?3
        ) RETURNING *",
        "UPDATE alert SET tries = tries + 1, next_at = $2 WHERE (tenant_id, id) IN (
            SELECT tenant_id, id FROM alert
            WHERE state = 'pending' AND next_at <= $1 AND tenant_id IN (SELECT id FROM tenant WHERE shard_id = $4)
            ORDER BY next_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
        ) RETURNING *",
    );
    let values = [now.0.into(), now.after(lease).0.into(), i64::from(limit).into(), scope.shard().0.into()];
    let statement = Statement::from_sql_and_values(db.write().get_database_backend(), sql, values);
    let found = alert::Entity::find().from_raw_sql(statement).all(db.write()).await.doing(doing)?;
    let mut taken = Vec::with_capacity(found.len());
    for row in found {
        let (tenant, id) = (row.tenant_id, row.id);
        match read(row) {
            Ok(alert) => taken.push(alert),
            // Nobody can say it; it mustn't keep the others back, nor come again for ever.
            Err(why) => give_up_unreadable(db, tenant, id, &why).await?,
        }
    }
    Ok(taken)
}

async fn give_up_unreadable(db: &Db, tenant: Uuid, id: Uuid, why: &Error) -> Result<(), Error> {
    tracing::error!(tenant.id = %tenant, alert.id = %id, error = %why, "an alert can't be read and is given up");
    let now = db.now().await?;
    let sql = db.pick(
        "UPDATE alert SET state = 'failed', error = ?3, ended_at = ?4 WHERE tenant_id = ?1 AND id = ?2",
        "UPDATE alert SET state = 'failed', error = $3, ended_at = $4 WHERE tenant_id = $1 AND id = $2",
    );
    let values = [tenant.into(), id.into(), without_nul(&why.to_string()).into_owned().into(), now.0.into()];
    let statement = Statement::from_sql_and_values(db.write().get_database_backend(), sql, values);
    db.write().execute_raw(statement).await.doing("give up an alert that can't be read").map(drop)
}

/// What is noted of an alert that has to wait because its tenant has used up what it may send.
pub const HELD: &str = "held back: the tenant may send no more alerts this minute";

impl Alert {
    /// Whether it was held back.
    pub fn is_held(&self) -> bool {
        self.state == DeliveryState::Pending && self.error.as_deref() == Some(HELD)
    }
}

/// The alerts of one route that are held back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeldBack {
    /// How many of each kind.
    pub kinds: Vec<(AlertKind, u64)>,
    /// When the first of them happened.
    pub first: Timestamp,
    /// When the last of them happened.
    pub last: Timestamp,
}

impl HeldBack {
    /// How many.
    pub fn total(&self) -> u64 {
        self.kinds.iter().map(|(_, count)| count).sum()
    }
}

/// Counts the alerts of a route that are held back.
pub async fn held_back(db: &Db, scope: TenantScope, route: &str) -> Result<HeldBack, Error> {
    let doing = "count the alerts that are held back";
    let sql = db.pick(
        "SELECT what, COUNT(*) AS n, MIN(at) AS first, MAX(at) AS last FROM alert
        WHERE state = 'pending' AND tenant_id = ?1 AND route = ?2 AND error = ?3 GROUP BY what ORDER BY what",
        "SELECT what, COUNT(*) AS n, MIN(at) AS first, MAX(at) AS last FROM alert
        WHERE state = 'pending' AND tenant_id = $1 AND route = $2 AND error = $3 GROUP BY what ORDER BY what",
    );
    let values = [scope.tenant().0.into(), route.into(), HELD.into()];
    let statement = Statement::from_sql_and_values(db.write().get_database_backend(), sql, values);
    let found = db.write().query_all_raw(statement).await.doing(doing)?;
    let mut held = HeldBack { kinds: Vec::new(), first: Timestamp::MAX, last: Timestamp::MIN };
    for row in &found {
        let what: String = row.try_get("", "what").doing(doing)?;
        let kind =
            AlertKind::parse(&what).ok_or_else(|| Error::corrupt("alert", format!("what {what:?}")))?;
        let count: i64 = row.try_get("", "n").doing(doing)?;
        held.kinds.push((kind, count as u64));
        held.first = held.first.min(Timestamp(row.try_get("", "first").doing(doing)?));
        held.last = held.last.max(Timestamp(row.try_get("", "last").doing(doing)?));
    }
    Ok(held)
}

/// Notes the same about all alerts of a route that are held back: what became of the notice that stands for them.
pub async fn note_held_back(
    db: &Db,
    scope: TenantScope,
    route: &str,
    notice: &Delivery,
) -> Result<u64, Error> {
    let doing = "note what became of alerts that were held back";
    let now = db.now().await?;
    let (state, error, next_at) = match notice {
        Delivery::Sent => (DeliveryState::Failed, LEFT_OUT.to_owned(), now),
        Delivery::GivenUp { error } => (DeliveryState::Failed, error.clone(), now),
        // They stay held back.
        Delivery::Again { after, .. } => (DeliveryState::Pending, HELD.to_owned(), now.after(*after)),
    };
    let ended_at = (state != DeliveryState::Pending).then_some(now.0);
    let sql = db.pick(
        "UPDATE alert SET state = ?4, error = ?5, next_at = ?6, ended_at = ?7
        WHERE state = 'pending' AND tenant_id = ?1 AND route = ?2 AND error = ?3",
        "UPDATE alert SET state = $4, error = $5, next_at = $6, ended_at = $7
        WHERE state = 'pending' AND tenant_id = $1 AND route = $2 AND error = $3",
    );
    let values = [
        scope.tenant().0.into(),
        route.into(),
        HELD.into(),
        state.as_str().into(),
        without_nul(&error).into_owned().into(),
        next_at.0.into(),
        ended_at.into(),
    ];
    let statement = Statement::from_sql_and_values(db.write().get_database_backend(), sql, values);
    Ok(db.write().execute_raw(statement).await.doing(doing)?.rows_affected())
}

/// What is noted of an alert that nobody heard of by itself.
const LEFT_OUT: &str = "left out: too many alerts were due within a minute, and one notice told how many";

/// When the next pending alert of the shard is due.
pub async fn next_due(db: &Db, scope: ShardScope) -> Result<Option<Timestamp>, Error> {
    let doing = "find the next alert that is due";
    let sql = db.pick(
        "SELECT MIN(next_at) AS at FROM alert
        WHERE state = 'pending' AND tenant_id IN (SELECT id FROM tenant WHERE shard_id = ?1)",
        "SELECT MIN(next_at) AS at FROM alert
        WHERE state = 'pending' AND tenant_id IN (SELECT id FROM tenant WHERE shard_id = $1)",
    );
    let backend = db.write().get_database_backend();
    let statement = Statement::from_sql_and_values(backend, sql, [scope.shard().0.into()]);
    let row = db.write().query_one_raw(statement).await.doing(doing)?;
    let at: Option<i64> = row.map(|row| row.try_get("", "at").doing(doing)).transpose()?.flatten();
    Ok(at.map(Timestamp))
}

/// How a try to deliver went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// It was delivered.
    Sent,
    /// It is tried again after this long.
    Again {
        /// What went wrong.
        error: String,
        /// The wait.
        after: Span,
    },
    /// It is given up.
    GivenUp {
        /// What went wrong.
        error: String,
    },
}

/// Notes how a try went. False if somebody else has taken the alert since: then nothing was noted.
pub async fn note(db: &Db, alert: &Alert, delivery: &Delivery) -> Result<bool, Error> {
    let doing = "note how an alert was delivered";
    let now = db.now().await?;
    let (state, error, next_at) = match delivery {
        Delivery::Sent => (DeliveryState::Sent, None, alert.next_at),
        Delivery::Again { error, after } => (DeliveryState::Pending, Some(error), now.after(*after)),
        Delivery::GivenUp { error } => (DeliveryState::Failed, Some(error), alert.next_at),
    };
    let ended_at = (state != DeliveryState::Pending).then_some(now.0);
    let sql = db.pick(
        "UPDATE alert SET state = ?4, error = ?5, next_at = ?6, ended_at = ?7
        WHERE tenant_id = ?1 AND id = ?2 AND tries = ?3 AND state = 'pending'",
        "UPDATE alert SET state = $4, error = $5, next_at = $6, ended_at = $7
        WHERE tenant_id = $1 AND id = $2 AND tries = $3 AND state = 'pending'",
    );
    let values = [
        alert.row.tenant.0.into(),
        alert.row.id.0.into(),
        (alert.tries as i32).into(),
        state.as_str().into(),
        error.map(|error| without_nul(error).into_owned()).into(),
        next_at.0.into(),
        ended_at.into(),
    ];
    let statement = Statement::from_sql_and_values(db.write().get_database_backend(), sql, values);
    let done = db.write().execute_raw(statement).await.doing(doing)?;
    Ok(done.rows_affected() > 0)
}

/// The tenant's alerts, newest first; of one delivery state if asked for.
pub async fn list(
    db: &Db,
    scope: TenantScope,
    state: Option<DeliveryState>,
    window: Window,
) -> Result<Page<Alert>, Error> {
    let doing = "list alerts";
    let mut query = alert::Entity::find().filter(alert::Column::TenantId.eq(scope.tenant().0));
    if let Some(state) = state {
        query = query.filter(alert::Column::State.eq(state.as_str()));
    }
    let total = query.clone().count(db.read()).await.doing(doing)?;
    let found = query
        .order_by_desc(alert::Column::At)
        .order_by_asc(alert::Column::Id)
        .limit(window.limit)
        .offset(window.offset)
        .all(db.read())
        .await
        .doing(doing)?;
    Ok(Page { rows: readable(found, |row| format!("alert {}", row.id), read), total })
}

fn read(row: alert::Model) -> Result<Alert, Error> {
    let table = "alert";
    let what = AlertKind::parse(&row.what);
    let state = DeliveryState::parse(&row.state);
    let task = match (&row.task_id, row.map_index, row.try_number) {
        (Some(task), Some(index), Some(number)) => Some((rows::name(table, task)?, index, number as u32)),
        _ => None,
    };
    Ok(Alert {
        row: AlertRow {
            tenant: TenantId(row.tenant_id),
            id: AlertId(row.id),
            route: row.route.into(),
            what: what.ok_or_else(|| Error::corrupt(table, format!("what {:?}", row.what)))?,
            dag_id: rows::name(table, &row.dag_id)?,
            run: RunId(row.run_id),
            run_name: rows::name(table, &row.run_name)?,
            task,
            reason: row.reason.map(Into::into),
            at: Timestamp(row.at),
            chain_depth: row.chain_depth as u32,
        },
        state: state.ok_or_else(|| Error::corrupt(table, format!("state {:?}", row.state)))?,
        tries: row.tries as u32,
        next_at: Timestamp(row.next_at),
        error: row.error,
        ended_at: row.ended_at.map(Timestamp),
    })
}
