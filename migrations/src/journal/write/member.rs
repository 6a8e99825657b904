//! Members of gangs: new and changed.

use engine::{dispatch::Contract, rows::MemberRow};

use crate::{
    columns::{Both, Columns, Tx, int},
    journal::write::{Refused, exactly},
    rows::to_json,
};

pub(super) const UPSERT: Both = Both {
    doing: "write members of gangs",
    postgres: "
        INSERT INTO member (
            tenant_id, run_id, task_id, map_index, try_number, dispatch_n, member, host, started_at, ended_at,
            exit_code, format, ending
        ) SELECT * FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::int4[], $5::int4[], $6::int4[], $7::int4[], $8::text[],
            $9::int8[], $10::int8[], $11::int4[], $12::int4[], $13::text[]
        )
        ON CONFLICT (tenant_id, run_id, task_id, map_index, try_number, dispatch_n, member) DO UPDATE SET
            host = excluded.host, started_at = excluded.started_at, ended_at = excluded.ended_at,
            exit_code = excluded.exit_code, format = excluded.format, ending = excluded.ending",
    sqlite: "
        INSERT INTO member (
            tenant_id, run_id, task_id, map_index, try_number, dispatch_n, member, host, started_at, ended_at,
            exit_code, format, ending
        ) SELECT
            unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
            value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
        FROM jsonb_each(?1) WHERE true
        ON CONFLICT (tenant_id, run_id, task_id, map_index, try_number, dispatch_n, member) DO UPDATE SET
            host = excluded.host, started_at = excluded.started_at, ended_at = excluded.ended_at,
            exit_code = excluded.exit_code, format = excluded.format, ending = excluded.ending",
};

pub(super) async fn upsert(tx: &mut Tx<'_>, rows: &[MemberRow]) -> Result<(), Refused> {
    let columns = Columns::of(rows)
        .uuid(|r| r.tenant.0)
        .uuid(|r| r.run.0)
        .text(|r| r.task.as_str())
        .int(|r| r.map_index)
        .int(|r| int(r.try_number))
        .int(|r| int(r.dispatch_n))
        .int(|r| int(r.member))
        .free_or_null(|r| r.host.as_deref())
        .long_or_null(|r| r.started_at.map(|t| t.0))
        .long_or_null(|r| r.ended_at.map(|t| t.0))
        .int_or_null(|r| r.end.as_ref().and_then(|end| end.exit_code))
        .int(|_| int(Contract::NUMBER))
        .made_or_null(|r| r.end.as_ref().map(to_json));
    exactly(tx, &UPSERT, columns, rows.len()).await
}
