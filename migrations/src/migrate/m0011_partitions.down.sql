CREATE TABLE event_whole (LIKE event);
INSERT INTO event_whole SELECT * FROM event;
DROP TABLE event;
ALTER TABLE event_whole RENAME TO event;
ALTER TABLE event ADD CONSTRAINT event_pkey PRIMARY KEY (shard_id, batch, n);
CREATE INDEX event_run ON event (tenant_id, run_id, batch);

CREATE TABLE audit_whole (LIKE audit);
INSERT INTO audit_whole SELECT * FROM audit;
DROP TABLE audit;
ALTER TABLE audit_whole RENAME TO audit;
ALTER TABLE audit ADD CONSTRAINT audit_pkey PRIMARY KEY (id);
ALTER TABLE audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;
SELECT setval(pg_get_serial_sequence('audit', 'id'), coalesce((SELECT max(id) FROM audit), 0) + 1, false);
CREATE INDEX audit_tenant ON audit (tenant_id, id);

CREATE TABLE asset_event_whole (LIKE asset_event INCLUDING CONSTRAINTS);
INSERT INTO asset_event_whole SELECT * FROM asset_event;
DROP TABLE asset_event;
ALTER TABLE asset_event_whole RENAME TO asset_event;
ALTER TABLE asset_event ADD CONSTRAINT asset_event_pkey PRIMARY KEY (shard_id, batch, n);
CREATE INDEX asset_event_newest ON asset_event (tenant_id, asset, at DESC);

DROP FUNCTION updraft_attach(text);
DROP PROCEDURE updraft_bound(text);
DROP FUNCTION updraft_drop_partition(text, bigint);
DROP FUNCTION updraft_partitions_ahead(text, integer);
DROP FUNCTION updraft_upper(oid);
DROP FUNCTION updraft_month(integer);

DROP INDEX run_version;
DROP INDEX run_bundle;
ALTER TABLE dag_version DROP COLUMN number;
ALTER TABLE dag_version DROP COLUMN stored_at;
ALTER TABLE bundle DROP COLUMN stored_at;
