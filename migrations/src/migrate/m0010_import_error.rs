//! What is wrong with files of DAGs.

use super::Texts;

pub(super) const STEP: Texts = Texts {
    name: "m0010_import_error",
    postgres: "
        CREATE TABLE import_error (
          tenant_id uuid NOT NULL REFERENCES tenant (id),
          file text NOT NULL,
          since bigint NOT NULL,
          dags text NOT NULL,
          report text NOT NULL,
          PRIMARY KEY (tenant_id, file)
        );",
    sqlite: "
        CREATE TABLE import_error (
          tenant_id BLOB NOT NULL REFERENCES tenant (id),
          file TEXT NOT NULL,
          since INTEGER NOT NULL,
          dags TEXT NOT NULL,
          report TEXT NOT NULL,
          PRIMARY KEY (tenant_id, file)
        ) STRICT, WITHOUT ROWID;",
    down: "DROP TABLE import_error;",
};
