//! Alerts: what routes are to hear of, and how far their delivery is.

use super::Texts;

pub(super) const STEP: Texts = Texts {
    name: "m0004_alert",
    postgres: r#"
        CREATE TABLE alert (
          tenant_id uuid NOT NULL,
          id uuid NOT NULL,
          route text COLLATE "C" NOT NULL,
          what text COLLATE "C" NOT NULL CHECK (what IN ('failure', 'success', 'retry', 'deadline', 'input')),
          dag_id text COLLATE "C" NOT NULL,
          run_id uuid NOT NULL,
          run_name text COLLATE "C" NOT NULL,
          task_id text COLLATE "C",
          map_index integer,
          try_number integer,
          reason text COLLATE "C",
          at bigint NOT NULL,
          chain_depth integer NOT NULL,
          state text COLLATE "C" NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed')),
          tries integer NOT NULL DEFAULT 0,
          next_at bigint NOT NULL,
          error text COLLATE "C",
          ended_at bigint,
          PRIMARY KEY (tenant_id, id),
          CHECK ((task_id IS NULL) = (map_index IS NULL)),
          CHECK ((task_id IS NULL) = (try_number IS NULL)),
          CHECK ((state = 'pending') = (ended_at IS NULL))
        );
        CREATE INDEX alert_due ON alert (next_at) WHERE state = 'pending';
        CREATE INDEX alert_by_age ON alert (tenant_id, at);"#,
    sqlite: "
        CREATE TABLE alert (
          tenant_id BLOB NOT NULL,
          id BLOB NOT NULL,
          route TEXT NOT NULL,
          what TEXT NOT NULL CHECK (what IN ('failure', 'success', 'retry', 'deadline', 'input')),
          dag_id TEXT NOT NULL,
          run_id BLOB NOT NULL,
          run_name TEXT NOT NULL,
          task_id TEXT,
          map_index INTEGER,
          try_number INTEGER,
          reason TEXT,
          at INTEGER NOT NULL,
          chain_depth INTEGER NOT NULL,
          state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed')),
          tries INTEGER NOT NULL DEFAULT 0,
          next_at INTEGER NOT NULL,
          error TEXT,
          ended_at INTEGER,
          PRIMARY KEY (tenant_id, id),
          CHECK ((task_id IS NULL) = (map_index IS NULL)),
          CHECK ((task_id IS NULL) = (try_number IS NULL)),
          CHECK ((state = 'pending') = (ended_at IS NULL))
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX alert_due ON alert (next_at) WHERE state = 'pending';
        CREATE INDEX alert_by_age ON alert (tenant_id, at);",
    down: "DROP TABLE alert;",
};
