SET LOCAL lock_timeout = '300ms';
ALTER TABLE event RENAME TO event_before;
ALTER TABLE event_before DROP CONSTRAINT event_pkey;
ALTER TABLE event_before ADD PRIMARY KEY USING INDEX event_before_pkey;
ALTER INDEX event_run RENAME TO event_before_run;
CREATE TABLE event (
  shard_id uuid NOT NULL,
  batch bigint NOT NULL,
  n integer NOT NULL,
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  dag_id text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  format integer NOT NULL,
  body text COLLATE "C" NOT NULL,
  PRIMARY KEY (shard_id, batch, n, at)
) PARTITION BY RANGE (at);
CREATE INDEX event_run ON event (tenant_id, run_id, batch);
SELECT updraft_attach('event');
