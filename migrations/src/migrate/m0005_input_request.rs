//! Questions to people that tasks wait for, with their answers.

use super::Texts;

pub(super) const STEP: Texts = Texts {
    name: "m0005_input_request",
    postgres: r#"
        CREATE TABLE input_request (
          tenant_id uuid NOT NULL,
          attempt_id uuid NOT NULL,
          run_id uuid NOT NULL,
          task_id text COLLATE "C" NOT NULL,
          map_index integer NOT NULL,
          try_number integer NOT NULL,
          format integer NOT NULL,
          input text COLLATE "C" NOT NULL,
          created_at bigint NOT NULL,
          respond_by bigint,
          response text COLLATE "C",
          PRIMARY KEY (tenant_id, attempt_id)
        );
        CREATE INDEX input_request_of_run ON input_request (tenant_id, run_id);
        CREATE INDEX input_request_by_age ON input_request (tenant_id, created_at);"#,
    sqlite: "
        CREATE TABLE input_request (
          tenant_id BLOB NOT NULL,
          attempt_id BLOB NOT NULL,
          run_id BLOB NOT NULL,
          task_id TEXT NOT NULL,
          map_index INTEGER NOT NULL,
          try_number INTEGER NOT NULL,
          format INTEGER NOT NULL,
          input TEXT NOT NULL,
          created_at INTEGER NOT NULL,
          respond_by INTEGER,
          response TEXT,
          PRIMARY KEY (tenant_id, attempt_id)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX input_request_of_run ON input_request (tenant_id, run_id);
        CREATE INDEX input_request_by_age ON input_request (tenant_id, created_at);",
    down: "DROP TABLE input_request;",
};
