//! Taking a shard over, keeping it and giving it back. Whether a lease is over is judged by the database's clock alone.

use dags::{
    ids::ShardId,
    time::{Span, Timestamp},
};
use engine::rows::Fence;
use sqlx::{Connection as _, PgConnection};

use crate::{
    db::{Db, Postgres, owner_options},
    error::{Doing as _, Error},
    journal::{DbJournal, check_clock},
};

/// How far this machine's clock may be from the database's.
pub(crate) const SKEW_MAX: Span = Span::seconds(1);
/// How often a takeover that is held up by its paused predecessor ends that one's backend and tries again.
const TRIES: u32 = 3;
/// PostgreSQL's code for a lock that wasn't to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Takes over a shard: if nobody owns it, if its owner's lease is over, or if its owner has our name.
///
/// The epoch grows, so whatever the predecessor still sends is refused. `clock` is this machine's clock; if it differs
/// from the database's by more than a second, that is an error.
pub async fn acquire(
    db: &Db,
    shard: ShardId,
    owner: &str,
    ttl: Span,
    clock: &(dyn Fn() -> Timestamp + Sync),
) -> Result<DbJournal, Error> {
    compare_clocks(db, clock).await?;
    // Standing by must cost next to nothing: no connection of its own, and no lock.
    if let Some(owned) = owned_by_another(db, shard, owner).await? {
        return Err(owned);
    }
    let (epoch, connection) = match db {
        Db::Sqlite(sqlite) => (take_sqlite(&sqlite.writer, shard, owner, ttl).await?, None),
        Db::Postgres(postgres) => {
            let (epoch, connection) = take_postgres(postgres, shard, owner, ttl).await?;
            (epoch, Some(connection))
        }
    };
    match epoch {
        Some(epoch) => Ok(DbJournal { db: db.clone(), fence: Fence { shard, epoch }, connection }),
        // Somebody was faster.
        None => Err(owned_by_another(db, shard, owner).await?.unwrap_or(Error::Fenced { shard })),
    }
}

async fn take_sqlite(
    pool: &sqlx::SqlitePool,
    shard: ShardId,
    owner: &str,
    ttl: Span,
) -> Result<Option<i64>, Error> {
    let text = "UPDATE shard SET owner = ?2, epoch = epoch + 1, backend_pid = NULL,
          expires_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER) + ?3
        WHERE id = ?1 AND (owner IS NULL OR owner = ?2 OR expires_at <= CAST(unixepoch('subsec') * 1000000 AS INTEGER))
        RETURNING epoch";
    let query = sqlx::query_scalar(text).bind(shard.0).bind(owner).bind(ttl.0);
    // All rows: sqlx ends a statement after the one that is wanted, and an error that comes with the end, such as a full
    // disk, is lost then.
    Ok(query.fetch_all(pool).await.doing("take over the shard")?.pop())
}

async fn take_postgres(
    postgres: &Postgres,
    shard: ShardId,
    owner: &str,
    ttl: Span,
) -> Result<(Option<i64>, PgConnection), Error> {
    let doing = "take over the shard";
    let text = "UPDATE shard SET owner = $2, epoch = epoch + 1, backend_pid = pg_backend_pid(),
          expires_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $3
        WHERE id = $1 AND (owner IS NULL OR owner = $2
          OR expires_at <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        RETURNING epoch";
    let mut connection = committing(postgres).await?;
    let mut tries = 1;
    loop {
        let query = sqlx::query_scalar(text).bind(shard.0).bind(owner).bind(ttl.0);
        match query.fetch_optional(&mut connection).await {
            Ok(epoch) => return Ok((epoch, connection)),
            Err(why) if tries < TRIES && is_locked(&why) => {
                end_predecessor(&mut connection, shard, owner).await?;
            }
            Err(why) => return Err(why).doing(doing),
        }
        tries += 1;
    }
}

fn is_locked(why: &sqlx::Error) -> bool {
    why.as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == LOCK_NOT_AVAILABLE)
}

/// Ends the backend that the predecessor commits with, if its lease is over or it has our name: paused in the middle of
/// a transaction it would hold the shard's row. The name of the application guards against a pid used again.
async fn end_predecessor(connection: &mut PgConnection, shard: ShardId, owner: &str) -> Result<(), Error> {
    let text =
        "SELECT pg_terminate_backend(a.pid) FROM shard s JOIN pg_stat_activity a ON a.pid = s.backend_pid
        WHERE s.id = $1 AND a.application_name = 'updraft owner' AND a.datname = current_database()
          AND a.pid <> pg_backend_pid()
          AND (s.owner = $2 OR s.expires_at <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)";
    let ended = sqlx::query(text).bind(shard.0).bind(owner).fetch_all(connection).await;
    let ended = ended.doing("end the backend of the shard's last owner")?;
    tracing::warn!(shard.id = %shard, backends = ended.len(), "ended the paused backend of the shard's last owner");
    Ok(())
}

/// A connection to commit with. The planner switches keep the set-based statements on the primary keys: with arrays as
/// input and a table that was empty when it was last analysed, PostgreSQL would otherwise read whole tables.
async fn committing(postgres: &Postgres) -> Result<PgConnection, Error> {
    let options = owner_options((*postgres.options).clone()).options([
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("enable_bitmapscan", "off"),
    ]);
    PgConnection::connect_with(&options).await.doing("connect for the commits")
}

/// A new connection to commit with, put on record for a successor.
pub(super) async fn on_record(postgres: &Postgres, fence: Fence) -> Result<PgConnection, Error> {
    let mut connection = committing(postgres).await?;
    let text = "UPDATE shard SET backend_pid = pg_backend_pid() WHERE id = $1 AND epoch = $2";
    let query = sqlx::query(text).bind(fence.shard.0).bind(fence.epoch);
    let done = query.execute(&mut connection).await.doing("put the new connection on record")?;
    if done.rows_affected() == 0 { Err(Error::Fenced { shard: fence.shard }) } else { Ok(connection) }
}

/// Why the shard can't be taken now.
async fn owned_by_another(db: &Db, shard: ShardId, owner: &str) -> Result<Option<Error>, Error> {
    let Some(row) = super::read::shard(db, shard, super::read::Lock::No).await? else {
        return Ok(Some(Error::NoShard { shard }));
    };
    let remaining = Timestamp(row.expires_at).since(db.now().await?);
    Ok(match row.owner {
        Some(other) if other != owner && remaining > Span::ZERO => {
            Some(Error::Owned { shard, owner: other, remaining })
        }
        _ => None,
    })
}

async fn compare_clocks(db: &Db, clock: &(dyn Fn() -> Timestamp + Sync)) -> Result<(), Error> {
    let before = clock();
    let database = db.now().await?;
    check_clock(before, database, clock())
}

/// What keeps a shard ours.
#[derive(Debug, Clone)]
pub struct Lease {
    db: Db,
    fence: Fence,
}

impl Lease {
    pub(super) const fn new(db: Db, fence: Fence) -> Self {
        Self { db, fence }
    }

    /// The shard and our epoch.
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// Makes the lease last `ttl` from now. Trust it for less than that, counted from before the call.
    ///
    /// [`Error::Fenced`] says that another owner took over, even one that is gone by now; [`Error::Clock`] that this
    /// machine's clock has drifted and the lease was not made longer.
    pub async fn renew(&self, ttl: Span, clock: &(dyn Fn() -> Timestamp + Sync)) -> Result<(), Error> {
        let doing = "renew the lease";
        if let Db::Postgres(postgres) = &self.db {
            // An idle owner does little else, so it is one statement while the clocks agree.
            let text =
                "UPDATE shard SET expires_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $3
                WHERE id = $1 AND epoch = $2
                  AND abs((extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $4) <= $5";
            let query = sqlx::query(text).bind(self.fence.shard.0).bind(self.fence.epoch);
            let query = query.bind(ttl.0).bind(clock().0).bind(SKEW_MAX.0);
            if query.execute(&postgres.pool).await.doing(doing)?.rows_affected() > 0 {
                return Ok(());
            }
        }
        // Why not: another owner, a clock that is off, or a statement that took so long that it can't be told.
        compare_clocks(&self.db, clock).await?;
        let renewed = match &self.db {
            Db::Sqlite(sqlite) => {
                let text = "UPDATE shard SET expires_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER) + ?3
                    WHERE id = ?1 AND epoch = ?2";
                let query = sqlx::query(text).bind(self.fence.shard.0).bind(self.fence.epoch).bind(ttl.0);
                query.execute(&sqlite.writer).await.doing(doing)?.rows_affected()
            }
            Db::Postgres(postgres) => {
                let text = "UPDATE shard SET expires_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $3
                    WHERE id = $1 AND epoch = $2";
                let query = sqlx::query(text).bind(self.fence.shard.0).bind(self.fence.epoch).bind(ttl.0);
                query.execute(&postgres.pool).await.doing(doing)?.rows_affected()
            }
        };
        if renewed == 0 { Err(Error::Fenced { shard: self.fence.shard }) } else { Ok(()) }
    }

    /// Gives the shard back, so that a successor needn't wait. False if it wasn't ours any more.
    pub async fn release(&self) -> Result<bool, Error> {
        let doing = "give back the shard";
        let released = match &self.db {
            Db::Sqlite(sqlite) => {
                let text =
                    "UPDATE shard SET owner = NULL, backend_pid = NULL, expires_at = 0, epoch = epoch + 1
                    WHERE id = ?1 AND epoch = ?2";
                let query = sqlx::query(text).bind(self.fence.shard.0).bind(self.fence.epoch);
                query.execute(&sqlite.writer).await.doing(doing)?.rows_affected()
            }
            Db::Postgres(postgres) => {
                let text =
                    "UPDATE shard SET owner = NULL, backend_pid = NULL, expires_at = 0, epoch = epoch + 1
                    WHERE id = $1 AND epoch = $2";
                let query = sqlx::query(text).bind(self.fence.shard.0).bind(self.fence.epoch);
                query.execute(&postgres.pool).await.doing(doing)?.rows_affected()
            }
        };
        Ok(released > 0)
    }

    /// Whether the shard is still ours, by what the database says now: ask right before something that can't be undone.
    pub async fn is_held(&self) -> Result<bool, Error> {
        let row = super::read::shard(&self.db, self.fence.shard, super::read::Lock::No).await?;
        let now = self.db.now().await?;
        Ok(row.is_some_and(|row| row.epoch == self.fence.epoch && Timestamp(row.expires_at) > now))
    }
}
