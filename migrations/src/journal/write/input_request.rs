//! Questions to people: new, or answered.

use engine::rows::{INPUT_FORMAT, InputRow};

use crate::{
    columns::{Both, Columns, Tx, int},
    journal::write::{Refused, exactly},
    rows::to_json,
};

pub(super) const UPSERT: Both = Both {
    doing: "write questions to people",
    postgres: "
        INSERT INTO input_request (
            tenant_id, attempt_id, run_id, task_id, map_index, try_number, format, input, created_at, respond_by,
            response
        ) SELECT * FROM unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::int4[], $6::int4[], $7::int4[], $8::text[],
            $9::int8[], $10::int8[], $11::text[]
        )
        ON CONFLICT (tenant_id, attempt_id) DO UPDATE SET
            response = excluded.response",
    sqlite: "
        INSERT INTO input_request (
            tenant_id, attempt_id, run_id, task_id, map_index, try_number, format, input, created_at, respond_by,
            response
        ) SELECT
            unhex(value ->> 0), unhex(value ->> 1), unhex(value ->> 2), value ->> 3, value ->> 4, value ->> 5,
            value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10
        FROM jsonb_each(?1) WHERE true
        ON CONFLICT (tenant_id, attempt_id) DO UPDATE SET
            response = excluded.response",
};

pub(super) async fn upsert(tx: &mut Tx<'_>, rows: &[InputRow]) -> Result<(), Refused> {
    let columns = Columns::of(rows)
        .uuid(|r| r.tenant.0)
        .uuid(|r| r.attempt.0)
        .uuid(|r| r.run.0)
        .text(|r| r.task.as_str())
        .int(|r| r.map_index)
        .int(|r| int(r.try_number))
        .int(|_| INPUT_FORMAT)
        .made(|r| to_json(&*r.input))
        .long(|r| r.created_at.0)
        .long_or_null(|r| r.respond_by.map(|at| at.0))
        .made_or_null(|r| r.response.as_ref().map(to_json));
    exactly(tx, &UPSERT, columns, rows.len()).await
}
