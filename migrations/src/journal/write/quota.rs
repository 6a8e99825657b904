//! Quotas: set, changed, taken back.

use engine::rows::{Fence, QuotaNode, QuotaRow};

use crate::{
    columns::{Both, Columns, Tx},
    journal::write::{Refused, any_number, exactly},
    rows::{quota_key, quotas_of},
};

pub(super) const UPSERT: Both = Both {
    doing: "write quotas",
    postgres: "
        INSERT INTO quota (
            shard_id, kind, name, parent, weight, format, quotas
        ) SELECT * FROM unnest(
            $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int4[], $7::text[]
        )
        ON CONFLICT (shard_id, kind, name) DO UPDATE SET
            parent = excluded.parent, weight = excluded.weight, format = excluded.format, quotas = excluded.quotas",
    sqlite: "
        INSERT INTO quota (
            shard_id, kind, name, parent, weight, format, quotas
        ) SELECT
            unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
        FROM jsonb_each(?1) WHERE true
        ON CONFLICT (shard_id, kind, name) DO UPDATE SET
            parent = excluded.parent, weight = excluded.weight, format = excluded.format, quotas = excluded.quotas",
};

pub(super) const DELETE: Both = Both {
    doing: "delete quotas",
    postgres: "
        DELETE FROM quota AS t USING unnest($1::uuid[], $2::text[], $3::text[]) AS n (shard_id, kind, name)
        WHERE t.shard_id = n.shard_id AND t.kind = n.kind AND t.name = n.name",
    sqlite: "
        DELETE FROM quota WHERE (shard_id, kind, name) IN (
            SELECT unhex(value ->> 0), value ->> 1, value ->> 2 FROM jsonb_each(?1)
        )",
};

pub(super) async fn write(
    tx: &mut Tx<'_>,
    fence: Fence,
    rows: &[(QuotaNode, Option<QuotaRow>)],
) -> Result<(), Refused> {
    let gone: Vec<&QuotaNode> = rows.iter().filter(|r| r.1.is_none()).map(|r| &r.0).collect();
    let set: Vec<&QuotaRow> = rows.iter().filter_map(|r| r.1.as_ref()).collect();
    let columns = Columns::of(&gone)
        .uuid(|_| fence.shard.0)
        .text(|node| quota_key(node).0)
        .made(|node| quota_key(node).1);
    any_number(tx, &DELETE, columns).await?;
    let columns = Columns::of(&set)
        .uuid(|_| fence.shard.0)
        .text(|r| quota_key(&r.node).0)
        .made(|r| quota_key(&r.node).1)
        .text_or_null(|r| r.parent.as_deref())
        .made(|r| r.weight.to_string())
        .int(|r| quotas_of(r).0)
        .made(|r| quotas_of(r).1);
    exactly(tx, &UPSERT, columns, set.len()).await
}
