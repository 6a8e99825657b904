//! The first step: every table, and the default tenant on the default shard.

use super::Texts;

pub(super) const STEP: Texts = Texts {
    name: "m0001_first",
    postgres: include_str!("m0001_first.postgres.sql"),
    sqlite: include_str!("m0001_first.sqlite.sql"),
    // In the order in which they can be dropped.
    down: "
        DROP TABLE connection; DROP TABLE variable; DROP TABLE continuation; DROP TABLE backfill;
        DROP TABLE pending_asset; DROP TABLE asset_event; DROP TABLE pool; DROP TABLE audit; DROP TABLE inbox;
        DROP TABLE event; DROP TABLE result; DROP TABLE attempt_claim; DROP TABLE member; DROP TABLE attempt; DROP TABLE task_instance;
        DROP TABLE run; DROP TABLE dag; DROP TABLE dag_version; DROP TABLE bundle; DROP TABLE tenant_key;
        DROP TABLE tenant; DROP TABLE shard;",
};
