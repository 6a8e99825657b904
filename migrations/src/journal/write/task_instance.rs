//! Task instances: new and changed; and their tries that are over.

use engine::{
    rows::{AttemptRow, Changed, TaskRow},
    state::TaskState,
};

use crate::{
    columns::{Both, Columns, Tx, int},
    journal::write::{Refused, exactly},
    rows::to_json,
};

pub(super) const INSERT: Both = Both {
    doing: "insert task instances",
    postgres: "
        INSERT INTO task_instance (
            tenant_id, run_id, task_id, map_index, state, try_number, max_tries, dispatch_n, preempted, requeued,
            scheduled_at, queued_at, started_at, ended_at, wake_at, executor, members, host, pool,
            pool_slots, weight, reason, exit_code, mapped_length, skips, marked_by, worker_id
        ) SELECT * FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::int4[], $5::text[], $6::int4[], $7::int4[], $8::int4[],
            $9::int4[], $10::int4[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int8[],
            $16::text[], $17::int4[], $18::text[], $19::text[], $20::int4[], $21::int4[], $22::text[],
            $23::int4[], $24::int4[], $25::text[], $26::text[], $27::uuid[]
        )",
    sqlite: "
        INSERT INTO task_instance (
            tenant_id, run_id, task_id, map_index, state, try_number, max_tries, dispatch_n, preempted, requeued,
            scheduled_at, queued_at, started_at, ended_at, wake_at, executor, members, host, pool,
            pool_slots, weight, reason, exit_code, mapped_length, skips, marked_by, worker_id
        ) SELECT
            unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5,
            value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12,
            value ->> 13, value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18, value ->> 19,
            value ->> 20, value ->> 21, value ->> 22, value ->> 23, value ->> 24, value ->> 25,
            unhex(value ->> 26)
        FROM jsonb_each(?1)",
};

pub(super) const UPDATE: Both = Both {
    doing: "update task instances",
    postgres: "
        UPDATE task_instance AS t SET
            state = n.state, try_number = n.try_number, max_tries = n.max_tries, dispatch_n = n.dispatch_n,
            preempted = n.preempted, requeued = n.requeued, scheduled_at = n.scheduled_at, queued_at = n.queued_at,
            started_at = n.started_at, ended_at = n.ended_at, wake_at = n.wake_at, executor = n.executor,
            members = n.members, host = n.host, pool = n.pool, pool_slots = n.pool_slots, weight = n.weight, reason = n.reason,
            exit_code = n.exit_code, mapped_length = n.mapped_length, skips = n.skips,
            marked_by = n.marked_by, worker_id = n.worker_id
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::int4[], $5::text[], $6::int4[], $7::int4[], $8::int4[],
            $9::int4[], $10::int4[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int8[],
            $16::text[], $17::int4[], $18::text[], $19::text[], $20::int4[], $21::int4[], $22::text[],
            $23::int4[], $24::int4[], $25::text[], $26::text[], $27::uuid[], $28::text[]
        ) AS n (
            tenant_id, run_id, task_id, map_index, state, try_number, max_tries, dispatch_n, preempted, requeued,
            scheduled_at, queued_at, started_at, ended_at, wake_at, executor, members, host, pool,
            pool_slots, weight, reason, exit_code, mapped_length, skips, marked_by, worker_id, before
        )
        WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id AND t.task_id = n.task_id AND t.map_index = n.map_index
          AND t.state = n.before",
    sqlite: "
        UPDATE task_instance AS t SET
            state = n.state, try_number = n.try_number, max_tries = n.max_tries, dispatch_n = n.dispatch_n,
            preempted = n.preempted, requeued = n.requeued, scheduled_at = n.scheduled_at, queued_at = n.queued_at,
            started_at = n.started_at, ended_at = n.ended_at, wake_at = n.wake_at, executor = n.executor,
            members = n.members, host = n.host, pool = n.pool, pool_slots = n.pool_slots, weight = n.weight, reason = n.reason,
            exit_code = n.exit_code, mapped_length = n.mapped_length, skips = n.skips,
            marked_by = n.marked_by, worker_id = n.worker_id
        FROM (SELECT
            unhex(value ->> 0) AS tenant_id, unhex(value ->> 1) AS run_id, value ->> 2 AS task_id,
            value ->> 3 AS map_index, value ->> 4 AS state, value ->> 5 AS try_number, value ->> 6 AS max_tries,
            value ->> 7 AS dispatch_n, value ->> 8 AS preempted, value ->> 9 AS requeued, value ->> 10 AS scheduled_at,
            value ->> 11 AS queued_at, value ->> 12 AS started_at, value ->> 13 AS ended_at, value ->> 14 AS wake_at,
            value ->> 15 AS executor, value ->> 16 AS members, value ->> 17 AS host, value ->> 18 AS pool,
            value ->> 19 AS pool_slots, value ->> 20 AS weight, value ->> 21 AS reason, value ->> 22 AS exit_code,
            value ->> 23 AS mapped_length, value ->> 24 AS skips, value ->> 25 AS marked_by,
            unhex(value ->> 26) AS worker_id, value ->> 27 AS before
        FROM jsonb_each(?1)) AS n
        WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id AND t.task_id = n.task_id AND t.map_index = n.map_index
          AND t.state = n.before",
};

pub(super) const INSERT_ATTEMPTS: Both = Both {
    doing: "insert attempts",
    postgres: "
        INSERT INTO attempt (
            tenant_id, run_id, task_id, map_index, state, try_number, max_tries, dispatch_n, preempted, requeued,
            scheduled_at, queued_at, started_at, ended_at, wake_at, executor, members, host, pool,
            pool_slots, weight, reason, exit_code, mapped_length, skips, marked_by, worker_id
        ) SELECT * FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::int4[], $5::text[], $6::int4[], $7::int4[], $8::int4[],
            $9::int4[], $10::int4[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int8[],
            $16::text[], $17::int4[], $18::text[], $19::text[], $20::int4[], $21::int4[], $22::text[],
            $23::int4[], $24::int4[], $25::text[], $26::text[], $27::uuid[]
        )",
    sqlite: "
        INSERT INTO attempt (
            tenant_id, run_id, task_id, map_index, state, try_number, max_tries, dispatch_n, preempted, requeued,
            scheduled_at, queued_at, started_at, ended_at, wake_at, executor, members, host, pool,
            pool_slots, weight, reason, exit_code, mapped_length, skips, marked_by, worker_id
        ) SELECT
            unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5,
            value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12,
            value ->> 13, value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18, value ->> 19,
            value ->> 20, value ->> 21, value ->> 22, value ->> 23, value ->> 24, value ->> 25,
            unhex(value ->> 26)
        FROM jsonb_each(?1)",
};

fn columns<'a, R>(rows: &'a [R], of: impl Fn(&'a R) -> &'a TaskRow) -> Columns<'a, R> {
    Columns::of(rows)
        .uuid(|r| of(r).tenant.0)
        .uuid(|r| of(r).run.0)
        .text(|r| of(r).task.as_str())
        .int(|r| of(r).map_index)
        .text(|r| of(r).state.as_str())
        .int(|r| int(of(r).try_number))
        .int(|r| int(of(r).max_tries))
        .int(|r| int(of(r).dispatch_n))
        .int(|r| int(of(r).preempted))
        .int(|r| int(of(r).requeued))
        .long_or_null(|r| of(r).scheduled_at.map(|t| t.0))
        .long_or_null(|r| of(r).queued_at.map(|t| t.0))
        .long_or_null(|r| of(r).started_at.map(|t| t.0))
        .long_or_null(|r| of(r).ended_at.map(|t| t.0))
        .long_or_null(|r| of(r).wake_at.map(|t| t.0))
        .text_or_null(|r| of(r).executor.as_ref().map(dags::ids::ExecutorName::as_str))
        .int(|r| int(of(r).members))
        .free_or_null(|r| of(r).host.as_deref())
        .text(|r| of(r).pool.as_str())
        .int(|r| int(of(r).pool_slots))
        .int(|r| of(r).weight)
        .free_or_null(|r| of(r).reason.as_deref())
        .int_or_null(|r| of(r).exit_code)
        .int_or_null(|r| of(r).mapped_length.map(int))
        .made_or_null(|r| of(r).skips.as_deref().map(|f| to_json(&f)))
        .free_or_null(|r| of(r).marked_by.as_deref())
        .uuid_or_null(|r| of(r).worker.map(|worker| worker.0))
}

pub(super) async fn insert(tx: &mut Tx<'_>, rows: &[TaskRow]) -> Result<(), Refused> {
    exactly(tx, &INSERT, columns(rows, |row| row), rows.len()).await
}

pub(super) async fn update(tx: &mut Tx<'_>, rows: &[Changed<TaskState, TaskRow>]) -> Result<(), Refused> {
    let columns = columns(rows, |changed| &changed.row).text(|changed| changed.before.as_str());
    exactly(tx, &UPDATE, columns, rows.len()).await
}

pub(super) async fn insert_attempts(tx: &mut Tx<'_>, rows: &[AttemptRow]) -> Result<(), Refused> {
    exactly(tx, &INSERT_ATTEMPTS, columns(rows, |attempt| &attempt.row), rows.len()).await
}
