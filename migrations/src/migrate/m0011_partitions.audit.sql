SET LOCAL lock_timeout = '300ms';
ALTER TABLE audit RENAME TO audit_before;
ALTER TABLE audit_before DROP CONSTRAINT audit_pkey;
ALTER TABLE audit_before ADD PRIMARY KEY USING INDEX audit_before_pkey;
ALTER INDEX audit_tenant RENAME TO audit_before_tenant;
-- A partitioned table has no identity of its own before PostgreSQL 17.
ALTER TABLE audit_before ALTER COLUMN id DROP IDENTITY;
CREATE SEQUENCE audit_id_seq;
SELECT setval('audit_id_seq', coalesce((SELECT max(id) FROM audit_before), 0) + 1, false);
CREATE TABLE audit (
  id bigint NOT NULL DEFAULT nextval('audit_id_seq'),
  at bigint NOT NULL,
  tenant_id uuid NOT NULL,
  actor text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  payload text COLLATE "C" NOT NULL,
  outcome text COLLATE "C" NOT NULL,
  shard_id uuid,
  batch bigint,
  PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
ALTER SEQUENCE audit_id_seq OWNED BY audit.id;
CREATE INDEX audit_tenant ON audit (tenant_id, id);
SELECT updraft_attach('audit');
