-- The same tables as in the PostgreSQL text: UUIDs are 16 bytes, booleans are 0 and 1. STRICT keeps types honest;
-- the tables that are read by a run's or tenant's key are clustered by it (WITHOUT ROWID).

CREATE TABLE shard (
  id BLOB PRIMARY KEY,
  owner TEXT,
  backend_pid INTEGER,
  epoch INTEGER NOT NULL DEFAULT 0,
  batch INTEGER NOT NULL DEFAULT 0,
  now INTEGER NOT NULL DEFAULT 0,
  expires_at INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE tenant (
  id BLOB PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  shard_id BLOB NOT NULL REFERENCES shard (id),
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tenant_shard ON tenant (shard_id);

CREATE TABLE tenant_key (
  tenant_id BLOB NOT NULL,
  version INTEGER NOT NULL,
  wrapped BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE bundle (
  tenant_id BLOB NOT NULL,
  digest TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  files INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT,
  activated_at INTEGER,
  PRIMARY KEY (tenant_id, digest)
) STRICT;

CREATE TABLE dag_version (
  tenant_id BLOB NOT NULL,
  dag_id TEXT NOT NULL,
  version TEXT NOT NULL,
  format INTEGER NOT NULL,
  model TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  bundle TEXT NOT NULL,
  source TEXT NOT NULL,
  PRIMARY KEY (tenant_id, dag_id, version)
) STRICT;

CREATE TABLE dag (
  tenant_id BLOB NOT NULL,
  dag_id TEXT NOT NULL,
  version TEXT NOT NULL,
  bundle TEXT NOT NULL,
  paused INTEGER NOT NULL CHECK (paused IN (0, 1)),
  stale INTEGER NOT NULL CHECK (stale IN (0, 1)),
  cursor_run_after INTEGER,
  cursor_logical_date INTEGER,
  cursor_start INTEGER,
  cursor_end INTEGER,
  next_run_after INTEGER,
  next_logical_date INTEGER,
  next_start INTEGER,
  next_end INTEGER,
  reserved TEXT,
  listening_since INTEGER,
  failed_in_row INTEGER NOT NULL,
  quarantine TEXT,
  PRIMARY KEY (tenant_id, dag_id),
  CHECK ((cursor_start IS NULL) = (cursor_end IS NULL)),
  CHECK ((next_start IS NULL) = (next_end IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
  tenant_id BLOB NOT NULL,
  run_id BLOB NOT NULL,
  dag_id TEXT NOT NULL,
  run_name TEXT NOT NULL,
  run_type TEXT NOT NULL CHECK (run_type IN ('scheduled', 'manual', 'backfill', 'asset_triggered')),
  version TEXT NOT NULL,
  bundle TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'success', 'failed')),
  finished INTEGER NOT NULL CHECK (finished IN (0, 1)),
  logical_date INTEGER,
  interval_start INTEGER,
  interval_end INTEGER,
  run_after INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  queued_at INTEGER NOT NULL,
  started_at INTEGER,
  ended_at INTEGER,
  conf TEXT NOT NULL,
  reason TEXT,
  note TEXT,
  clear_number INTEGER NOT NULL,
  created_tasks INTEGER NOT NULL,
  backfill_id INTEGER,
  backfill_place INTEGER,
  triggered_by TEXT,
  quarantine TEXT,
  PRIMARY KEY (run_id, tenant_id),
  CHECK (finished = (state IN ('success', 'failed'))),
  CHECK ((interval_start IS NULL) = (interval_end IS NULL)),
  CHECK ((backfill_id IS NULL) = (backfill_place IS NULL))
) STRICT;
CREATE UNIQUE INDEX run_name ON run (tenant_id, dag_id, run_name);
CREATE UNIQUE INDEX run_logical_date ON run (tenant_id, dag_id, logical_date) WHERE logical_date IS NOT NULL;
CREATE INDEX run_dag_newest ON run (tenant_id, dag_id, run_after DESC, run_id DESC);
CREATE INDEX run_newest ON run (tenant_id, run_after DESC, run_id DESC);
CREATE INDEX run_unfinished ON run (tenant_id, dag_id) WHERE NOT finished;

CREATE TABLE task_instance (
  tenant_id BLOB NOT NULL,
  run_id BLOB NOT NULL,
  task_id TEXT NOT NULL,
  map_index INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('none', 'scheduled', 'queued', 'running', 'restarting', 'up_for_retry',
    'up_for_reschedule', 'deferred', 'awaiting_input', 'success', 'failed', 'skipped', 'upstream_failed', 'removed')),
  try_number INTEGER NOT NULL,
  max_tries INTEGER NOT NULL,
  dispatch_n INTEGER NOT NULL,
  preempted INTEGER NOT NULL,
  requeued INTEGER NOT NULL,
  scheduled_at INTEGER,
  queued_at INTEGER,
  started_at INTEGER,
  ended_at INTEGER,
  wake_at INTEGER,
  executor TEXT,
  members INTEGER NOT NULL,
  host TEXT,
  pool TEXT NOT NULL,
  pool_slots INTEGER NOT NULL,
  weight INTEGER NOT NULL,
  reason TEXT,
  exit_code INTEGER,
  mapped_length INTEGER,
  skips TEXT,
  marked_by TEXT,
  PRIMARY KEY (tenant_id, run_id, task_id, map_index)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt (
  tenant_id BLOB NOT NULL,
  run_id BLOB NOT NULL,
  task_id TEXT NOT NULL,
  map_index INTEGER NOT NULL,
  try_number INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('none', 'scheduled', 'queued', 'running', 'restarting', 'up_for_retry',
    'up_for_reschedule', 'deferred', 'awaiting_input', 'success', 'failed', 'skipped', 'upstream_failed', 'removed')),
  max_tries INTEGER NOT NULL,
  dispatch_n INTEGER NOT NULL,
  preempted INTEGER NOT NULL,
  requeued INTEGER NOT NULL,
  scheduled_at INTEGER,
  queued_at INTEGER,
  started_at INTEGER,
  ended_at INTEGER,
  wake_at INTEGER,
  executor TEXT,
  members INTEGER NOT NULL,
  host TEXT,
  pool TEXT NOT NULL,
  pool_slots INTEGER NOT NULL,
  weight INTEGER NOT NULL,
  reason TEXT,
  exit_code INTEGER,
  mapped_length INTEGER,
  skips TEXT,
  marked_by TEXT,
  PRIMARY KEY (tenant_id, run_id, task_id, map_index, try_number)
) STRICT, WITHOUT ROWID;

-- Members of gangs that have started or ended; a dispatch with a single member has no row here.
CREATE TABLE member (
  tenant_id BLOB NOT NULL,
  run_id BLOB NOT NULL,
  task_id TEXT NOT NULL,
  map_index INTEGER NOT NULL,
  try_number INTEGER NOT NULL,
  dispatch_n INTEGER NOT NULL,
  member INTEGER NOT NULL,
  host TEXT,
  started_at INTEGER,
  ended_at INTEGER,
  exit_code INTEGER,
  format INTEGER NOT NULL,
  ending TEXT,
  PRIMARY KEY (tenant_id, run_id, task_id, map_index, try_number, dispatch_n, member),
  CHECK ((ended_at IS NULL) = (ending IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt_claim (
  attempt_id BLOB NOT NULL,
  n INTEGER NOT NULL,
  member INTEGER NOT NULL,
  tenant_id BLOB NOT NULL,
  run_id BLOB NOT NULL,
  claimant TEXT NOT NULL,
  claimed_at INTEGER NOT NULL,
  PRIMARY KEY (attempt_id, n, member)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempt_claim_run ON attempt_claim (tenant_id, run_id);

CREATE TABLE result (
  tenant_id BLOB NOT NULL,
  run_id BLOB NOT NULL,
  task_id TEXT NOT NULL,
  map_index INTEGER NOT NULL,
  attempt_id BLOB NOT NULL,
  value TEXT,
  digest TEXT,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, run_id, task_id, map_index),
  CHECK ((value IS NULL) <> (digest IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
  shard_id BLOB NOT NULL,
  batch INTEGER NOT NULL,
  n INTEGER NOT NULL,
  tenant_id BLOB NOT NULL,
  run_id BLOB NOT NULL,
  dag_id TEXT NOT NULL,
  at INTEGER NOT NULL,
  format INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (shard_id, batch, n)
) STRICT;
CREATE INDEX event_run ON event (tenant_id, run_id, batch);

CREATE TABLE inbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  shard_id BLOB NOT NULL,
  tenant_id BLOB NOT NULL,
  kind TEXT NOT NULL,
  format INTEGER NOT NULL,
  payload TEXT NOT NULL,
  actor TEXT NOT NULL,
  idempotency_key TEXT,
  created_at INTEGER NOT NULL,
  taken_in_batch INTEGER,
  outcome TEXT,
  CHECK ((taken_in_batch IS NULL) = (outcome IS NULL))
) STRICT;
CREATE UNIQUE INDEX inbox_idempotency ON inbox (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX inbox_waiting ON inbox (shard_id, id) WHERE taken_in_batch IS NULL;

CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  tenant_id BLOB NOT NULL,
  actor TEXT NOT NULL,
  kind TEXT NOT NULL,
  payload TEXT NOT NULL,
  outcome TEXT NOT NULL,
  shard_id BLOB,
  batch INTEGER
) STRICT;
CREATE INDEX audit_tenant ON audit (tenant_id, id);

CREATE TABLE pool (
  tenant_id BLOB NOT NULL,
  name TEXT NOT NULL,
  slots INTEGER NOT NULL CHECK (slots >= -1),
  include_deferred INTEGER NOT NULL CHECK (include_deferred IN (0, 1)),
  PRIMARY KEY (tenant_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE asset_event (
  shard_id BLOB NOT NULL,
  batch INTEGER NOT NULL,
  n INTEGER NOT NULL,
  tenant_id BLOB NOT NULL,
  asset TEXT NOT NULL,
  at INTEGER NOT NULL,
  source_run BLOB,
  source_task TEXT,
  source_map_index INTEGER,
  extra TEXT NOT NULL,
  PRIMARY KEY (shard_id, batch, n),
  CHECK ((source_run IS NULL) = (source_task IS NULL)),
  CHECK ((source_run IS NULL) = (source_map_index IS NULL))
) STRICT;
CREATE INDEX asset_event_newest ON asset_event (tenant_id, asset, at DESC);

CREATE TABLE pending_asset (
  tenant_id BLOB NOT NULL,
  dag_id TEXT NOT NULL,
  asset TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, dag_id, asset)
) STRICT, WITHOUT ROWID;

CREATE TABLE backfill (
  tenant_id BLOB NOT NULL,
  id INTEGER NOT NULL,
  dag_id TEXT NOT NULL,
  format INTEGER NOT NULL,
  spec TEXT NOT NULL,
  paused INTEGER NOT NULL CHECK (paused IN (0, 1)),
  created_at INTEGER NOT NULL,
  ended_at INTEGER,
  next_date INTEGER,
  made INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE continuation (
  shard_id BLOB NOT NULL,
  id INTEGER NOT NULL,
  format INTEGER NOT NULL,
  work TEXT NOT NULL,
  PRIMARY KEY (shard_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE variable (
  tenant_id BLOB NOT NULL,
  name TEXT NOT NULL,
  value TEXT,
  sealed BLOB,
  secret_version INTEGER NOT NULL,
  description TEXT,
  updated_at INTEGER NOT NULL,
  updated_by TEXT NOT NULL,
  PRIMARY KEY (tenant_id, name),
  CHECK ((value IS NULL) <> (sealed IS NULL))
) STRICT;

CREATE TABLE connection (
  tenant_id BLOB NOT NULL,
  name TEXT NOT NULL,
  conn_type TEXT NOT NULL,
  host TEXT,
  port INTEGER,
  schema TEXT,
  login TEXT,
  sealed BLOB,
  secret_version INTEGER NOT NULL,
  description TEXT,
  updated_at INTEGER NOT NULL,
  updated_by TEXT NOT NULL,
  PRIMARY KEY (tenant_id, name)
) STRICT;

INSERT INTO shard (id) VALUES (x'00000000000080008000000000000002');
INSERT INTO tenant (id, name, shard_id, created_at) VALUES (x'00000000000080008000000000000001', 'default',
  x'00000000000080008000000000000002', CAST(unixepoch('subsec') * 1000000 AS INTEGER));
