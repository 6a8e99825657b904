//! Pools: new, changed, deleted.

use dags::ids::{PoolName, TenantId};
use engine::rows::PoolRow;

use crate::{
    columns::{Both, Columns, Tx},
    journal::write::{Refused, any_number, exactly},
};

pub(super) const UPSERT: Both = Both {
    doing: "write pools",
    postgres: "
        INSERT INTO pool (
            tenant_id, name, slots, include_deferred
        ) SELECT * FROM unnest(
            $1::uuid[], $2::text[], $3::int4[], $4::bool[]
        )
        ON CONFLICT (tenant_id, name) DO UPDATE SET
            slots = excluded.slots, include_deferred = excluded.include_deferred",
    sqlite: "
        INSERT INTO pool (
            tenant_id, name, slots, include_deferred
        ) SELECT
            unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3
        FROM jsonb_each(?1) WHERE true
        ON CONFLICT (tenant_id, name) DO UPDATE SET
            slots = excluded.slots, include_deferred = excluded.include_deferred",
};

pub(super) const DELETE: Both = Both {
    doing: "delete pools",
    postgres: "
        DELETE FROM pool AS t USING unnest($1::uuid[], $2::text[]) AS n (tenant_id, name)
        WHERE t.tenant_id = n.tenant_id AND t.name = n.name",
    sqlite: "
        DELETE FROM pool WHERE (tenant_id, name) IN (SELECT unhex(value ->> 0), value ->> 1 FROM jsonb_each(?1))",
};

pub(super) async fn upsert(tx: &mut Tx<'_>, rows: &[PoolRow]) -> Result<(), Refused> {
    let columns = Columns::of(rows)
        .uuid(|r| r.tenant.0)
        .text(|r| r.name.as_str())
        .int(|r| r.slots)
        .bool(|r| r.include_deferred);
    exactly(tx, &UPSERT, columns, rows.len()).await
}

pub(super) async fn delete(tx: &mut Tx<'_>, rows: &[(TenantId, PoolName)]) -> Result<(), Refused> {
    any_number(tx, &DELETE, Columns::of(rows).uuid(|r| r.0.0).text(|r| r.1.as_str())).await
}
