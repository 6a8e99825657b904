//! Events of assets, and which consumers haven't used them yet.

use engine::rows::{AssetEventRow, Fence, PendingAssetRow};

use crate::{
    columns::{Both, Columns, Tx},
    journal::write::{Refused, exactly, numbered},
    rows::to_json,
};

pub(super) const INSERT: Both = Both {
    doing: "append asset events",
    postgres: "
        INSERT INTO asset_event (
            shard_id, batch, n, tenant_id, asset, at, source_run, source_task, source_map_index, extra
        ) SELECT * FROM unnest(
            $1::uuid[], $2::int8[], $3::int4[], $4::uuid[], $5::text[], $6::int8[], $7::uuid[], $8::text[],
            $9::int4[], $10::text[]
        )",
    sqlite: "
        INSERT INTO asset_event (
            shard_id, batch, n, tenant_id, asset, at, source_run, source_task, source_map_index, extra
        ) SELECT
            unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5,
            unhex(value ->> 6), value ->> 7, value ->> 8, value ->> 9
        FROM jsonb_each(?1)",
};

pub(super) const UPSERT_PENDING: Both = Both {
    doing: "write pending asset events",
    postgres: "
        INSERT INTO pending_asset (
            tenant_id, dag_id, asset, at
        ) SELECT * FROM unnest(
            $1::uuid[], $2::text[], $3::text[], $4::int8[]
        )
        ON CONFLICT (tenant_id, dag_id, asset) DO UPDATE SET
            at = excluded.at",
    sqlite: "
        INSERT INTO pending_asset (
            tenant_id, dag_id, asset, at
        ) SELECT
            unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3
        FROM jsonb_each(?1) WHERE true
        ON CONFLICT (tenant_id, dag_id, asset) DO UPDATE SET
            at = excluded.at",
};

pub(super) async fn insert(
    tx: &mut Tx<'_>,
    fence: Fence,
    batch: u64,
    rows: &[AssetEventRow],
) -> Result<(), Refused> {
    let rows = numbered(rows);
    let columns = Columns::of(&rows)
        .uuid(|_| fence.shard.0)
        .long(|_| batch as i64)
        .int(|r| r.0)
        .uuid(|r| r.1.tenant.0)
        .free(|r| &r.1.asset)
        .long(|r| r.1.at.0)
        .uuid_or_null(|r| r.1.source.as_ref().map(|s| s.0.0))
        .text_or_null(|r| r.1.source.as_ref().map(|s| s.1.as_str()))
        .int_or_null(|r| r.1.source.as_ref().map(|s| s.2))
        .made(|r| to_json(&*r.1.extra));
    exactly(tx, &INSERT, columns, rows.len()).await
}

pub(super) async fn upsert_pending(tx: &mut Tx<'_>, rows: &[PendingAssetRow]) -> Result<(), Refused> {
    let columns = Columns::of(rows)
        .uuid(|r| r.tenant.0)
        .text(|r| r.dag_id.as_str())
        .free(|r| &r.asset)
        .long(|r| r.at.0);
    exactly(tx, &UPSERT_PENDING, columns, rows.len()).await
}
