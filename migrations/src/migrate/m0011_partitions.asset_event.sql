SET LOCAL lock_timeout = '300ms';
ALTER TABLE asset_event RENAME TO asset_event_before;
ALTER TABLE asset_event_before DROP CONSTRAINT asset_event_pkey;
ALTER TABLE asset_event_before ADD PRIMARY KEY USING INDEX asset_event_before_pkey;
ALTER INDEX asset_event_newest RENAME TO asset_event_before_newest;
CREATE TABLE asset_event (
  shard_id uuid NOT NULL,
  batch bigint NOT NULL,
  n integer NOT NULL,
  tenant_id uuid NOT NULL,
  asset text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  source_run uuid,
  source_task text COLLATE "C",
  source_map_index integer,
  extra text COLLATE "C" NOT NULL,
  PRIMARY KEY (shard_id, batch, n, at),
  CONSTRAINT asset_event_check CHECK ((source_run IS NULL) = (source_task IS NULL)),
  CONSTRAINT asset_event_check1 CHECK ((source_run IS NULL) = (source_map_index IS NULL))
) PARTITION BY RANGE (at);
CREATE INDEX asset_event_newest ON asset_event (tenant_id, asset, at DESC);
SELECT updraft_attach('asset_event');
