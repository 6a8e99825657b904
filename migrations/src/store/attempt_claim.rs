//! Who runs a member of a dispatch: the first to say so, and nobody else. And whether a dispatch is still current.
//!
//! The shard's owner claims what a lost worker was sent before it sends the same try elsewhere: a worker that comes later is
//! refused, and of one that came before it is known that it may have begun.

use std::collections::BTreeMap;

use dags::{
    ids::{AttemptId, DispatchId, ExecutorName, RunId, TaskId, TenantId, WorkerId},
    time::Timestamp,
};
use engine::dispatch::Withdrawn;
use sqlx::{postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

use crate::{
    columns::{Both, Columns, Tx, int},
    db::Db,
    error::{Doing as _, Error},
    rows::name,
};

/// All members of a gang go to one worker, which claims the dispatch by this one.
pub const SPEAKER: u32 = 0;

/// The claimant of what was withdrawn. No worker's id looks like it.
const OWNER: &str = "owner";

/// A member of a dispatch that somebody wants to run. The names are those of the place that the dispatch belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// Which of its members, from 0.
    pub member: u32,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its run.
    pub run: RunId,
    /// Its task.
    pub task: TaskId,
    /// Its map index.
    pub map_index: i32,
    /// Its try.
    pub try_number: u32,
}

impl Wanted {
    /// Whether the dispatch can belong to that place at all.
    fn belongs(&self) -> bool {
        AttemptId::derive(self.run, &self.task, self.map_index, self.try_number) == self.dispatch.attempt
    }
}

/// The answer to "may I run?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Yes: the claimant is the first, or asks again.
    Yours(Place),
    /// No: somebody else was first.
    Taken {
        /// Who.
        by: String,
    },
    /// No: it isn't current.
    Gone,
}

/// Where a current dispatch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its executor.
    pub executor: Option<ExecutorName>,
    /// Its worker.
    pub worker: Option<WorkerId>,
    /// When it was admitted.
    pub queued_at: Option<Timestamp>,
    /// When its try first started.
    pub started_at: Option<Timestamp>,
}

/// On PostgreSQL it is [`READ`] as well: this is on the way of every attempt, and each statement is a journey of its own. What
/// somebody else claims meanwhile is missing in the answer and must be read again.
const CLAIM: Both = Both {
    doing: "claim dispatches",
    postgres: "
        WITH w AS (SELECT * FROM unnest(
            $1::uuid[], $2::int4[], $3::int4[], $4::uuid[], $5::uuid[], $6::text[], $7::int4[], $8::int4[], $9::text[]
        ) AS w (attempt_id, n, member, tenant_id, run_id, task_id, map_index, try_number, claimant)),
        i AS (INSERT INTO attempt_claim (
            attempt_id, n, member, tenant_id, run_id, task_id, map_index, claimant, claimed_at
        ) SELECT
            w.attempt_id, w.n, w.member, t.tenant_id, t.run_id, t.task_id, t.map_index, w.claimant,
            (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
        FROM w JOIN task_instance AS t
          ON t.tenant_id = w.tenant_id AND t.run_id = w.run_id AND t.task_id = w.task_id AND t.map_index = w.map_index
        WHERE t.dispatch_n = w.n AND t.try_number = w.try_number AND t.state IN ('queued', 'running')
          AND w.member < t.members
        ON CONFLICT DO NOTHING
        RETURNING attempt_id, n, member, claimant)
        SELECT w.attempt_id, w.n, w.member, t.executor, t.worker_id, t.queued_at, t.started_at,
            coalesce(i.claimant, c.claimant)
        FROM w JOIN task_instance AS t
          ON t.tenant_id = w.tenant_id AND t.run_id = w.run_id AND t.task_id = w.task_id AND t.map_index = w.map_index
        LEFT JOIN i ON i.attempt_id = w.attempt_id AND i.n = w.n AND i.member = w.member
        LEFT JOIN attempt_claim AS c ON c.attempt_id = w.attempt_id AND c.n = w.n AND c.member = w.member
        WHERE t.dispatch_n = w.n AND t.try_number = w.try_number AND t.state IN ('queued', 'running')
          AND coalesce(i.claimant, c.claimant) IS NOT NULL",
    sqlite: "
        INSERT INTO attempt_claim (
            attempt_id, n, member, tenant_id, run_id, task_id, map_index, claimant, claimed_at
        ) SELECT
            w.attempt_id, w.n, w.member, t.tenant_id, t.run_id, t.task_id, t.map_index, w.claimant,
            CAST(unixepoch('subsec') * 1000000 AS INTEGER)
        FROM (SELECT
            unhex(value ->> 0) AS attempt_id, value ->> 1 AS n, value ->> 2 AS member,
            unhex(value ->> 3) AS tenant_id, unhex(value ->> 4) AS run_id, value ->> 5 AS task_id,
            value ->> 6 AS map_index, value ->> 7 AS try_number, value ->> 8 AS claimant
        FROM jsonb_each(?1)) AS w
        JOIN task_instance AS t
          ON t.tenant_id = w.tenant_id AND t.run_id = w.run_id AND t.task_id = w.task_id AND t.map_index = w.map_index
        WHERE t.dispatch_n = w.n AND t.try_number = w.try_number AND t.state IN ('queued', 'running')
          AND w.member < t.members
        ON CONFLICT DO NOTHING",
};

const READ: Both = Both {
    doing: "read who runs dispatches",
    postgres: "
        SELECT w.attempt_id, w.n, w.member, t.executor, t.worker_id, t.queued_at, t.started_at, c.claimant
        FROM unnest(
            $1::uuid[], $2::int4[], $3::int4[], $4::uuid[], $5::uuid[], $6::text[], $7::int4[], $8::int4[], $9::text[]
        ) AS w (attempt_id, n, member, tenant_id, run_id, task_id, map_index, try_number, claimant)
        JOIN task_instance AS t
          ON t.tenant_id = w.tenant_id AND t.run_id = w.run_id AND t.task_id = w.task_id AND t.map_index = w.map_index
        JOIN attempt_claim AS c ON c.attempt_id = w.attempt_id AND c.n = w.n AND c.member = w.member
        WHERE t.dispatch_n = w.n AND t.try_number = w.try_number AND t.state IN ('queued', 'running')",
    sqlite: "
        SELECT w.attempt_id, w.n, w.member, t.executor, t.worker_id, t.queued_at, t.started_at, c.claimant
        FROM (SELECT
            unhex(value ->> 0) AS attempt_id, value ->> 1 AS n, value ->> 2 AS member,
            unhex(value ->> 3) AS tenant_id, unhex(value ->> 4) AS run_id, value ->> 5 AS task_id,
            value ->> 6 AS map_index, value ->> 7 AS try_number
        FROM jsonb_each(?1)) AS w
        JOIN task_instance AS t
          ON t.tenant_id = w.tenant_id AND t.run_id = w.run_id AND t.task_id = w.task_id AND t.map_index = w.map_index
        JOIN attempt_claim AS c ON c.attempt_id = w.attempt_id AND c.n = w.n AND c.member = w.member
        WHERE t.dispatch_n = w.n AND t.try_number = w.try_number AND t.state IN ('queued', 'running')",
};

fn columns<'a>(wanted: &'a [Wanted], claimant: &'a str) -> Columns<'a, Wanted> {
    Columns::of(wanted)
        .uuid(|w| w.dispatch.attempt.0)
        .int(|w| int(w.dispatch.n))
        .int(|w| int(w.member))
        .uuid(|w| w.tenant.0)
        .uuid(|w| w.run.0)
        .text(|w| w.task.as_str())
        .int(|w| w.map_index)
        .int(|w| int(w.try_number))
        .free(move |_| claimant)
}

type Found = (Uuid, i32, i32, Option<String>, Option<Uuid>, Option<i64>, Option<i64>, String);

/// Claims members of dispatches; the answers are in the order of what is wanted. Only current ones can be claimed, and the first
/// claimant keeps one for good.
pub async fn claim(db: &Db, claimant: &str, wanted: &[Wanted]) -> Result<Vec<Claim>, Error> {
    let possible: Vec<Wanted> = wanted.iter().filter(|wanted| wanted.belongs()).cloned().collect();
    let rows: Vec<Found> = match db {
        Db::Sqlite(sqlite) => {
            let mut connection = sqlite.writer.acquire().await.doing(CLAIM.doing)?;
            columns(&possible, claimant)
                .execute(&mut Tx::Sqlite(&mut connection), &CLAIM)
                .await
                .doing(CLAIM.doing)?;
            let json = columns(&possible, claimant).to_json();
            let rows: Result<Vec<SqliteRow>, _> =
                sqlx::query(READ.sqlite).bind(json).fetch_all(&mut *connection).await;
            rows.and_then(|rows| rows.iter().map(found).collect::<Result<_, _>>()).doing(READ.doing)?
        }
        Db::Postgres(postgres) => {
            let mut connection = postgres.pool.acquire().await.doing(CLAIM.doing)?;
            let query = columns(&possible, claimant).bind(CLAIM.postgres);
            let mut rows: Vec<PgRow> = query.fetch_all(&mut *connection).await.doing(CLAIM.doing)?;
            if rows.len() < possible.len() {
                let query = columns(&possible, claimant).bind(READ.postgres);
                rows = query.fetch_all(&mut *connection).await.doing(READ.doing)?;
            }
            rows.iter().map(found).collect::<Result<_, _>>().doing(READ.doing)?
        }
    };
    let mut places = BTreeMap::new();
    for (attempt, n, member, executor, worker, queued_at, started_at, by) in rows {
        let place = Place {
            executor: executor.as_deref().map(|executor| name("task_instance", executor)).transpose()?,
            worker: worker.map(WorkerId),
            queued_at: queued_at.map(Timestamp),
            started_at: started_at.map(Timestamp),
        };
        let dispatch = DispatchId { attempt: AttemptId(attempt), n: n as u32 };
        places.insert((dispatch, member as u32), (place, by));
    }
    let answer = |wanted: &Wanted| match places.get(&(wanted.dispatch, wanted.member)) {
        Some((place, by)) if by == claimant => Claim::Yours(place.clone()),
        Some((_, by)) => Claim::Taken { by: by.clone() },
        None => Claim::Gone,
    };
    Ok(wanted.iter().map(answer).collect())
}

/// Claims members of dispatches in nobody's name, so that no worker can any more. What isn't current counts as claimed.
pub async fn withdraw(db: &Db, wanted: &[Wanted]) -> Result<Vec<Withdrawn>, Error> {
    let claims = claim(db, OWNER, wanted).await?;
    let outcome = |claim| match claim {
        Claim::Yours(_) => Withdrawn::Unclaimed,
        Claim::Taken { .. } | Claim::Gone => Withdrawn::Claimed,
    };
    Ok(claims.into_iter().map(outcome).collect())
}

fn found<'r, R: sqlx::Row>(row: &'r R) -> Result<Found, sqlx::Error>
where
    usize: sqlx::ColumnIndex<R>,
    Uuid: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    String: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    i32: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    Ok((
        row.try_get(0)?,
        row.try_get(1)?,
        row.try_get(2)?,
        row.try_get(3)?,
        row.try_get(4)?,
        row.try_get(5)?,
        row.try_get(6)?,
        row.try_get(7)?,
    ))
}

/// A dispatch with a member that was claimed, and that is still current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its run.
    pub run: RunId,
    /// Its task.
    pub task: TaskId,
    /// Its map index.
    pub map_index: i32,
    /// How many members it has.
    pub members: u32,
    /// Who claimed it.
    pub claimant: String,
}

/// The place of a dispatch whose member was claimed, as long as the dispatch is current. The caller has proof that the dispatch is the asker's.
pub async fn current(db: &Db, dispatch: DispatchId, member: u32) -> Result<Option<Claimed>, Error> {
    type Row = (Uuid, Uuid, String, i32, String, i32, i32);
    let doing = "read whether a dispatch is current";
    let text = db.pick(
        "SELECT c.tenant_id, c.run_id, c.task_id, c.map_index, c.claimant, t.try_number, t.members
         FROM attempt_claim AS c JOIN task_instance AS t
           ON t.tenant_id = c.tenant_id AND t.run_id = c.run_id AND t.task_id = c.task_id AND t.map_index = c.map_index
         WHERE c.attempt_id = ?1 AND c.n = ?2 AND c.member = ?3 AND t.dispatch_n = c.n AND t.state IN ('queued', 'running', 'restarting')",
        "SELECT c.tenant_id, c.run_id, c.task_id, c.map_index, c.claimant, t.try_number, t.members
         FROM attempt_claim AS c JOIN task_instance AS t
           ON t.tenant_id = c.tenant_id AND t.run_id = c.run_id AND t.task_id = c.task_id AND t.map_index = c.map_index
         WHERE c.attempt_id = $1 AND c.n = $2 AND c.member = $3 AND t.dispatch_n = c.n AND t.state IN ('queued', 'running', 'restarting')",
    );
    let (attempt, n, member) = (dispatch.attempt.0, int(dispatch.n), int(member));
    let row: Option<Row> = match db {
        Db::Sqlite(sqlite) => {
            let query = sqlx::query_as(text).bind(attempt).bind(n).bind(member);
            query.fetch_optional(&sqlite.writer).await.doing(doing)?
        }
        Db::Postgres(postgres) => {
            let query = sqlx::query_as(text).bind(attempt).bind(n).bind(member);
            query.fetch_optional(&postgres.pool).await.doing(doing)?
        }
    };
    let Some((tenant, run, task, map_index, claimant, try_number, members)) = row else { return Ok(None) };
    let (run, task): (_, TaskId) = (RunId(run), name("attempt_claim", &task)?);
    let is_current = AttemptId::derive(run, &task, map_index, try_number as u32) == dispatch.attempt;
    let members = u32::try_from(members).unwrap_or(1);
    Ok(is_current.then_some(Claimed { tenant: TenantId(tenant), run, task, map_index, members, claimant }))
}
