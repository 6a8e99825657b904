//! How long a tenant keeps its finished runs, and finding what is being deleted.

use super::Texts;

pub(super) const STEP: Texts = Texts {
    name: "m0007_retention",
    postgres: "
        ALTER TABLE tenant ADD COLUMN retention_days integer CHECK (retention_days >= 0);
        CREATE INDEX run_quarantined ON run (tenant_id, run_id) WHERE quarantine IS NOT NULL;
        CREATE INDEX alert_of_run ON alert (tenant_id, run_id);
        CREATE INDEX result_digest ON result (digest) WHERE digest IS NOT NULL;",
    sqlite: "
        ALTER TABLE tenant ADD COLUMN retention_days INTEGER CHECK (retention_days >= 0);
        CREATE INDEX run_quarantined ON run (tenant_id, run_id) WHERE quarantine IS NOT NULL;
        CREATE INDEX alert_of_run ON alert (tenant_id, run_id);
        CREATE INDEX result_digest ON result (digest) WHERE digest IS NOT NULL;",
    down: "
        DROP INDEX result_digest;
        DROP INDEX alert_of_run;
        DROP INDEX run_quarantined;
        ALTER TABLE tenant DROP COLUMN retention_days;",
};
