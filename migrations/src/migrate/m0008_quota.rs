//! Quotas of tenants and cohorts.

use super::Texts;

pub(super) const STEP: Texts = Texts {
    name: "m0008_quota",
    postgres: r#"
        CREATE TABLE quota (
          shard_id uuid NOT NULL,
          kind text COLLATE "C" NOT NULL CHECK (kind IN ('cohort', 'tenant')),
          name text COLLATE "C" NOT NULL,
          parent text COLLATE "C",
          weight text COLLATE "C" NOT NULL,
          format integer NOT NULL,
          quotas text COLLATE "C" NOT NULL,
          PRIMARY KEY (shard_id, kind, name)
        );"#,
    sqlite: "
        CREATE TABLE quota (
          shard_id BLOB NOT NULL,
          kind TEXT NOT NULL CHECK (kind IN ('cohort', 'tenant')),
          name TEXT NOT NULL,
          parent TEXT,
          weight TEXT NOT NULL,
          format INTEGER NOT NULL,
          quotas TEXT NOT NULL,
          PRIMARY KEY (shard_id, kind, name)
        ) STRICT, WITHOUT ROWID;",
    down: "DROP TABLE quota;",
};
