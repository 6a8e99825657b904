//! Workers: how a machine becomes one, and which there are.
//!
//! An enrolment token is good once and for an hour. It becomes a credential, with which the machine registers a worker at
//! each start. Tokens are stored as SHA-256; what a worker may be is said by whoever made its enrolment.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{ExecutorName, TenantId, WorkerId},
    time::{Span, Timestamp},
};
use engine::fleet::WorkerSpec;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _, Select,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    columns::without_nul,
    db::Db,
    entity::{worker, worker_credential, worker_enrolment},
    error::{Doing as _, Error},
    rows::{json, name, to_json},
    store::readable,
};

/// Workers that are looked up by one statement.
const LOOKED_UP_MAX: usize = 500;

/// What workers of an enrolment may be at most. None stands for no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The tenants whose attempts they may run.
    pub tenants: Option<BTreeSet<TenantId>>,
    /// The queues that they may serve.
    pub queues: Option<BTreeSet<String>>,
    /// Members at once.
    pub slots: Option<u32>,
}

impl Limits {
    /// What a worker says of itself, cut to what it may be.
    #[must_use]
    pub fn cut(&self, mut spec: WorkerSpec) -> WorkerSpec {
        spec.tenants = match (spec.tenants, &self.tenants) {
            (Some(own), Some(most)) => Some(own.intersection(most).copied().collect()),
            (own, most) => own.or_else(|| most.clone()),
        };
        if let Some(most) = &self.queues {
            if spec.queues.is_empty() {
                spec.queues.insert(engine::fleet::DEFAULT_QUEUE.to_owned());
            }
            spec.queues.retain(|queue| most.contains(queue));
            if spec.queues.is_empty() {
                // An empty set would mean the default queue.
                spec.slots = 0;
            }
        }
        spec.slots = spec.slots.min(self.slots.unwrap_or(u32::MAX));
        spec
    }
}

/// A token's stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// Its SHA-256.
    pub hash: [u8; 32],
    /// Its first characters, for people.
    pub prefix: String,
}

/// Stores an enrolment token. Returns when it expires.
pub async fn enrol(
    db: &Db,
    actor: &str,
    token: &Hashed,
    limits: &Limits,
    life: Span,
) -> Result<Timestamp, Error> {
    let now = db.now().await?;
    let expires_at = now.after(life);
    worker_enrolment::Entity::insert(worker_enrolment::ActiveModel {
        id: Set(Uuid::now_v7()),
        token_hash: Set(token.hash.to_vec()),
        prefix: Set(token.prefix.clone()),
        limits: Set(to_json(limits)),
        created_at: Set(now.0),
        created_by: Set(without_nul(actor).into_owned()),
        expires_at: Set(expires_at.0),
        used_at: Set(None),
    })
    .exec_without_returning(db.write())
    .await
    .doing("store an enrolment token")?;
    Ok(expires_at)
}

/// Turns an enrolment token into a credential, once. False if the token is unknown, used or expired.
pub async fn redeem(db: &Db, token: &[u8; 32], credential: &Hashed, called: &str) -> Result<bool, Error> {
    let doing = "use an enrolment token";
    let now = db.now().await?;
    let transaction = db.begin().await.doing(doing)?;
    // The update's lock decides between two that come at once.
    let used = worker_enrolment::Entity::update_many()
        .set(worker_enrolment::ActiveModel { used_at: Set(Some(now.0)), ..Default::default() })
        .filter(worker_enrolment::Column::TokenHash.eq(token.to_vec()))
        .filter(worker_enrolment::Column::UsedAt.is_null())
        .filter(worker_enrolment::Column::ExpiresAt.gt(now.0))
        .exec(&transaction)
        .await
        .doing(doing)?;
    if used.rows_affected != 1 {
        transaction.rollback().await.doing(doing)?;
        return Ok(false);
    }
    let found = worker_enrolment::Entity::find()
        .filter(worker_enrolment::Column::TokenHash.eq(token.to_vec()))
        .one(&transaction)
        .await
        .doing(doing)?;
    let found = found.ok_or_else(|| Error::corrupt("worker_enrolment", "a row vanished"))?;
    worker_credential::Entity::insert(worker_credential::ActiveModel {
        id: Set(Uuid::now_v7()),
        token_hash: Set(credential.hash.to_vec()),
        prefix: Set(credential.prefix.clone()),
        name: Set(without_nul(called).into_owned()),
        limits: Set(found.limits),
        created_at: Set(now.0),
        revoked_at: Set(None),
    })
    .exec_without_returning(&transaction)
    .await
    .doing(doing)?;
    transaction.commit().await.doing(doing)?;
    Ok(true)
}

/// A machine that may be a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its identity.
    pub id: Uuid,
    /// What the machine called itself.
    pub name: String,
    /// What its workers may be.
    pub limits: Limits,
}

/// The credential of that hash, unless it was revoked.
pub async fn credential(db: &Db, token: &[u8; 32]) -> Result<Option<Credential>, Error> {
    let found = worker_credential::Entity::find()
        .filter(worker_credential::Column::TokenHash.eq(token.to_vec()))
        .filter(worker_credential::Column::RevokedAt.is_null())
        .one(db.read())
        .await
        .doing("read a worker's credential")?;
    found
        .map(|row| {
            Ok(Credential { id: row.id, name: row.name, limits: json("worker_credential", &row.limits)? })
        })
        .transpose()
}

/// Takes credentials back by the name that the machines gave themselves. Says how many there were.
pub async fn revoke(db: &Db, called: &str) -> Result<u64, Error> {
    let doing = "revoke workers' credentials";
    let now = db.now().await?;
    let revoked = worker_credential::Entity::update_many()
        .set(worker_credential::ActiveModel { revoked_at: Set(Some(now.0)), ..Default::default() })
        .filter(worker_credential::Column::Name.eq(called))
        .filter(worker_credential::Column::RevokedAt.is_null())
        .exec(db.write())
        .await
        .doing(doing)?;
    Ok(revoked.rows_affected)
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// What it offers, cut to what it may.
    pub spec: WorkerSpec,
    /// The credential that it registered with.
    pub credential: Uuid,
    /// The machine's name.
    pub name: String,
    /// The executor that it belongs to.
    pub executor: ExecutorName,
    /// Words about it.
    pub labels: BTreeMap<String, String>,
    /// The release that it runs.
    pub release: String,
    /// When it registered.
    pub registered_at: Timestamp,
    /// When it said goodbye.
    pub ended_at: Option<Timestamp>,
    /// Since when it isn't heard any more.
    pub lost_at: Option<Timestamp>,
}

/// Stores a worker that has just started. `registered_at` is taken from the database's clock.
pub async fn register(db: &Db, new: &Worker) -> Result<(), Error> {
    worker::Entity::insert(worker::ActiveModel {
        id: Set(new.spec.worker.0),
        credential_id: Set(new.credential),
        name: Set(without_nul(&new.name).into_owned()),
        executor: Set(new.executor.to_string()),
        spec: Set(to_json(&new.spec)),
        labels: Set(to_json(&new.labels)),
        release: Set(without_nul(&new.release).into_owned()),
        registered_at: Set(db.now().await?.0),
        ended_at: Set(None),
        lost_at: Set(None),
    })
    .exec_without_returning(db.write())
    .await
    .doing("register a worker")?;
    Ok(())
}

/// A worker that hasn't ended and whose credential is good.
pub async fn present(db: &Db, worker: WorkerId) -> Result<Option<Worker>, Error> {
    let found = there(&[worker]).one(db.read()).await.doing("read a worker")?;
    found.map(read).transpose()
}

/// Those of some workers that have ended, or whose credential was taken back.
pub async fn absent(db: &Db, workers: &BTreeSet<WorkerId>) -> Result<BTreeSet<WorkerId>, Error> {
    let ids: Vec<WorkerId> = workers.iter().copied().collect();
    let mut absent = workers.clone();
    for some in ids.chunks(LOOKED_UP_MAX) {
        let query = there(some).select_only().column(worker::Column::Id).into_tuple::<Uuid>();
        for id in query.all(db.read()).await.doing("look for workers")? {
            absent.remove(&WorkerId(id));
        }
    }
    Ok(absent)
}

/// Those of some workers that are there.
fn there(workers: &[WorkerId]) -> Select<worker::Entity> {
    let good = worker_credential::Entity::find()
        .select_only()
        .column(worker_credential::Column::Id)
        .filter(worker_credential::Column::RevokedAt.is_null())
        .into_query();
    worker::Entity::find()
        .filter(worker::Column::Id.is_in(workers.iter().map(|worker| worker.0)))
        .filter(worker::Column::EndedAt.is_null())
        .filter(worker::Column::CredentialId.in_subquery(good))
}

/// Workers, newest first: those that are there, and with `all` also those that have ended or are lost.
pub async fn list(db: &Db, all: bool, limit: u64) -> Result<Vec<Worker>, Error> {
    let mut query =
        worker::Entity::find().order_by_desc(worker::Column::RegisteredAt).order_by_desc(worker::Column::Id);
    if !all {
        query = query.filter(worker::Column::EndedAt.is_null()).filter(worker::Column::LostAt.is_null());
    }
    let rows = query.limit(limit).all(db.read()).await.doing("list workers")?;
    rows.into_iter().map(read).collect()
}

/// Workers that haven't said goodbye, newest first: those that are there and those that are lost. One whose row can't be read is
/// left out, and that is logged.
pub async fn unended(db: &Db, limit: u64) -> Result<Vec<Worker>, Error> {
    let query = worker::Entity::find()
        .filter(worker::Column::EndedAt.is_null())
        .order_by_desc(worker::Column::RegisteredAt)
        .order_by_desc(worker::Column::Id);
    let rows = query.limit(limit).all(db.read()).await.doing("list workers that haven't ended")?;
    Ok(readable(rows, |row| format!("worker {}", row.id), read))
}

/// A worker isn't heard any more.
pub async fn lost(db: &Db, worker: WorkerId) -> Result<(), Error> {
    let now = db.now().await?;
    set_lost(db, worker, Some(now.0), "store a worker's loss").await
}

/// The workers of an executor that registered before an instant and aren't among those that are heard are lost: they ended while
/// nobody listened. Says how many there were.
pub async fn lose_unheard(
    db: &Db,
    executor: &ExecutorName,
    heard: &BTreeSet<WorkerId>,
    registered_before: Timestamp,
) -> Result<u64, Error> {
    let doing = "look for workers that nobody hears";
    let present = worker::Entity::find()
        .select_only()
        .column(worker::Column::Id)
        .filter(worker::Column::Executor.eq(executor.as_str()))
        .filter(worker::Column::EndedAt.is_null())
        .filter(worker::Column::LostAt.is_null())
        .filter(worker::Column::RegisteredAt.lt(registered_before.0))
        .into_tuple::<Uuid>()
        .all(db.read())
        .await
        .doing(doing)?;
    let unheard: Vec<Uuid> = present.into_iter().filter(|id| !heard.contains(&WorkerId(*id))).collect();
    let now = db.now().await?;
    let mut lost = 0;
    for some in unheard.chunks(LOOKED_UP_MAX) {
        let set = worker::Entity::update_many()
            .set(worker::ActiveModel { lost_at: Set(Some(now.0)), ..Default::default() })
            .filter(worker::Column::Id.is_in(some.iter().copied()))
            .filter(worker::Column::LostAt.is_null())
            .exec(db.write())
            .await
            .doing(doing)?;
        lost += set.rows_affected;
    }
    Ok(lost)
}

/// A worker that was lost is heard again.
pub async fn returned(db: &Db, worker: WorkerId) -> Result<(), Error> {
    set_lost(db, worker, None, "store a worker's return").await
}

async fn set_lost(db: &Db, worker: WorkerId, at: Option<i64>, doing: &'static str) -> Result<(), Error> {
    worker::Entity::update_many()
        .set(worker::ActiveModel { lost_at: Set(at), ..Default::default() })
        .filter(worker::Column::Id.eq(worker.0))
        .exec(db.write())
        .await
        .doing(doing)?;
    Ok(())
}

/// A worker said goodbye: it can't come back under this id.
pub async fn end(db: &Db, worker: WorkerId) -> Result<(), Error> {
    let now = db.now().await?;
    worker::Entity::update_many()
        .set(worker::ActiveModel { ended_at: Set(Some(now.0)), ..Default::default() })
        .filter(worker::Column::Id.eq(worker.0))
        .filter(worker::Column::EndedAt.is_null())
        .exec(db.write())
        .await
        .doing("end a worker")?;
    Ok(())
}

fn read(row: worker::Model) -> Result<Worker, Error> {
    Ok(Worker {
        spec: json("worker", &row.spec)?,
        credential: row.credential_id,
        name: row.name,
        executor: name("worker", &row.executor)?,
        labels: json("worker", &row.labels)?,
        release: row.release,
        registered_at: Timestamp(row.registered_at),
        ended_at: row.ended_at.map(Timestamp),
        lost_at: row.lost_at.map(Timestamp),
    })
}
