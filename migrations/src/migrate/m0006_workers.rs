//! Workers: who may be one, which there are, and where each dispatch is.

use super::Texts;

pub(super) const STEP: Texts = Texts {
    name: "m0006_workers",
    postgres: r#"
        ALTER TABLE task_instance ADD COLUMN worker_id uuid;
        ALTER TABLE attempt ADD COLUMN worker_id uuid;

        -- Nothing wrote claims before there were workers.
        DELETE FROM attempt_claim;
        ALTER TABLE attempt_claim ADD COLUMN task_id text COLLATE "C" NOT NULL;
        ALTER TABLE attempt_claim ADD COLUMN map_index integer NOT NULL;

        CREATE TABLE worker_enrolment (
          id uuid NOT NULL PRIMARY KEY,
          token_hash bytea NOT NULL UNIQUE,
          prefix text COLLATE "C" NOT NULL,
          limits text COLLATE "C" NOT NULL,
          created_at bigint NOT NULL,
          created_by text COLLATE "C" NOT NULL,
          expires_at bigint NOT NULL,
          used_at bigint
        );

        CREATE TABLE worker_credential (
          id uuid NOT NULL PRIMARY KEY,
          token_hash bytea NOT NULL UNIQUE,
          prefix text COLLATE "C" NOT NULL,
          name text COLLATE "C" NOT NULL,
          limits text COLLATE "C" NOT NULL,
          created_at bigint NOT NULL,
          revoked_at bigint
        );

        CREATE TABLE worker (
          id uuid NOT NULL PRIMARY KEY,
          credential_id uuid NOT NULL REFERENCES worker_credential (id),
          name text COLLATE "C" NOT NULL,
          executor text COLLATE "C" NOT NULL,
          spec text COLLATE "C" NOT NULL,
          labels text COLLATE "C" NOT NULL,
          release text COLLATE "C" NOT NULL,
          registered_at bigint NOT NULL,
          ended_at bigint,
          lost_at bigint
        );
        CREATE INDEX worker_present ON worker (registered_at) WHERE ended_at IS NULL;"#,
    sqlite: "
        ALTER TABLE task_instance ADD COLUMN worker_id BLOB;
        ALTER TABLE attempt ADD COLUMN worker_id BLOB;

        -- Nothing wrote claims before there were workers.
        DELETE FROM attempt_claim;
        ALTER TABLE attempt_claim ADD COLUMN task_id TEXT NOT NULL;
        ALTER TABLE attempt_claim ADD COLUMN map_index INTEGER NOT NULL;

        CREATE TABLE worker_enrolment (
          id BLOB NOT NULL PRIMARY KEY,
          token_hash BLOB NOT NULL UNIQUE,
          prefix TEXT NOT NULL,
          limits TEXT NOT NULL,
          created_at INTEGER NOT NULL,
          created_by TEXT NOT NULL,
          expires_at INTEGER NOT NULL,
          used_at INTEGER
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE worker_credential (
          id BLOB NOT NULL PRIMARY KEY,
          token_hash BLOB NOT NULL UNIQUE,
          prefix TEXT NOT NULL,
          name TEXT NOT NULL,
          limits TEXT NOT NULL,
          created_at INTEGER NOT NULL,
          revoked_at INTEGER
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE worker (
          id BLOB NOT NULL PRIMARY KEY,
          credential_id BLOB NOT NULL REFERENCES worker_credential (id),
          name TEXT NOT NULL,
          executor TEXT NOT NULL,
          spec TEXT NOT NULL,
          labels TEXT NOT NULL,
          release TEXT NOT NULL,
          registered_at INTEGER NOT NULL,
          ended_at INTEGER,
          lost_at INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX worker_present ON worker (registered_at) WHERE ended_at IS NULL;",
    down: "
        DROP TABLE worker;
        DROP TABLE worker_credential;
        DROP TABLE worker_enrolment;
        ALTER TABLE attempt_claim DROP COLUMN map_index;
        ALTER TABLE attempt_claim DROP COLUMN task_id;
        ALTER TABLE attempt DROP COLUMN worker_id;
        ALTER TABLE task_instance DROP COLUMN worker_id;",
};
