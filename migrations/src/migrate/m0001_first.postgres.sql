-- Instants are microseconds since 1970 (bigint), documents are JSON as text (jsonb refuses NUL escapes and
-- reorders keys), states are text with a CHECK. Hot tables have no foreign keys, and no index on a column that
-- changes with each transition, so that updates stay on their page (HOT); fillfactor leaves them the room. With 50 a
-- whole page of task instances can move on in one batch: 94 of 100 updates stay, with 80 it is 57, and the table ends
-- up just as large.
-- Text compares by bytes (COLLATE "C"), as in SQLite and in our own code, whatever the database's locale.

CREATE TABLE shard (
  id uuid PRIMARY KEY,
  owner text COLLATE "C",
  backend_pid integer,
  epoch bigint NOT NULL DEFAULT 0,
  batch bigint NOT NULL DEFAULT 0,
  now bigint NOT NULL DEFAULT 0,
  expires_at bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE tenant (
  id uuid PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE,
  shard_id uuid NOT NULL REFERENCES shard (id),
  created_at bigint NOT NULL
);
CREATE INDEX tenant_shard ON tenant (shard_id);

CREATE TABLE tenant_key (
  tenant_id uuid NOT NULL,
  version integer NOT NULL,
  wrapped bytea NOT NULL,
  created_at bigint NOT NULL,
  PRIMARY KEY (tenant_id, version)
);

CREATE TABLE bundle (
  tenant_id uuid NOT NULL,
  digest text COLLATE "C" NOT NULL,
  bytes bigint NOT NULL,
  files integer NOT NULL,
  created_at bigint NOT NULL,
  created_by text COLLATE "C",
  activated_at bigint,
  PRIMARY KEY (tenant_id, digest)
);

CREATE TABLE dag_version (
  tenant_id uuid NOT NULL,
  dag_id text COLLATE "C" NOT NULL,
  version text COLLATE "C" NOT NULL,
  format integer NOT NULL,
  model text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  bundle text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant_id, dag_id, version)
);

CREATE TABLE dag (
  tenant_id uuid NOT NULL,
  dag_id text COLLATE "C" NOT NULL,
  version text COLLATE "C" NOT NULL,
  bundle text COLLATE "C" NOT NULL,
  paused boolean NOT NULL,
  stale boolean NOT NULL,
  cursor_run_after bigint,
  cursor_logical_date bigint,
  cursor_start bigint,
  cursor_end bigint,
  next_run_after bigint,
  next_logical_date bigint,
  next_start bigint,
  next_end bigint,
  reserved text COLLATE "C",
  listening_since bigint,
  failed_in_row integer NOT NULL,
  quarantine text COLLATE "C",
  PRIMARY KEY (tenant_id, dag_id),
  CHECK ((cursor_start IS NULL) = (cursor_end IS NULL)),
  CHECK ((next_start IS NULL) = (next_end IS NULL))
) WITH (fillfactor = 80);

CREATE TABLE run (
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  dag_id text COLLATE "C" NOT NULL,
  run_name text COLLATE "C" NOT NULL,
  run_type text COLLATE "C" NOT NULL CHECK (run_type IN ('scheduled', 'manual', 'backfill', 'asset_triggered')),
  version text COLLATE "C" NOT NULL,
  bundle text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL CHECK (state IN ('queued', 'running', 'success', 'failed')),
  finished boolean NOT NULL,
  logical_date bigint,
  interval_start bigint,
  interval_end bigint,
  run_after bigint NOT NULL,
  created_at bigint NOT NULL,
  queued_at bigint NOT NULL,
  started_at bigint,
  ended_at bigint,
  conf text COLLATE "C" NOT NULL,
  reason text COLLATE "C",
  note text COLLATE "C",
  clear_number integer NOT NULL,
  created_tasks integer NOT NULL,
  backfill_id bigint,
  backfill_place integer,
  triggered_by text COLLATE "C",
  quarantine text COLLATE "C",
  PRIMARY KEY (run_id, tenant_id),
  CHECK (finished = (state IN ('success', 'failed'))),
  CHECK ((interval_start IS NULL) = (interval_end IS NULL)),
  CHECK ((backfill_id IS NULL) = (backfill_place IS NULL))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX run_name ON run (tenant_id, dag_id, run_name);
CREATE UNIQUE INDEX run_logical_date ON run (tenant_id, dag_id, logical_date) WHERE logical_date IS NOT NULL;
CREATE INDEX run_dag_newest ON run (tenant_id, dag_id, run_after DESC, run_id DESC);
CREATE INDEX run_newest ON run (tenant_id, run_after DESC, run_id DESC);
CREATE INDEX run_unfinished ON run (tenant_id, dag_id) WHERE NOT finished;

CREATE TABLE task_instance (
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  map_index integer NOT NULL,
  state text COLLATE "C" NOT NULL CHECK (state IN ('none', 'scheduled', 'queued', 'running', 'restarting', 'up_for_retry',
    'up_for_reschedule', 'deferred', 'awaiting_input', 'success', 'failed', 'skipped', 'upstream_failed', 'removed')),
  try_number integer NOT NULL,
  max_tries integer NOT NULL,
  dispatch_n integer NOT NULL,
  preempted integer NOT NULL,
  requeued integer NOT NULL,
  scheduled_at bigint,
  queued_at bigint,
  started_at bigint,
  ended_at bigint,
  wake_at bigint,
  executor text COLLATE "C",
  members integer NOT NULL,
  host text COLLATE "C",
  pool text COLLATE "C" NOT NULL,
  pool_slots integer NOT NULL,
  weight integer NOT NULL,
  reason text COLLATE "C",
  exit_code integer,
  mapped_length integer,
  skips text COLLATE "C",
  marked_by text COLLATE "C",
  PRIMARY KEY (tenant_id, run_id, task_id, map_index)
) WITH (fillfactor = 50);

CREATE TABLE attempt (
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  map_index integer NOT NULL,
  try_number integer NOT NULL,
  state text COLLATE "C" NOT NULL CHECK (state IN ('none', 'scheduled', 'queued', 'running', 'restarting', 'up_for_retry',
    'up_for_reschedule', 'deferred', 'awaiting_input', 'success', 'failed', 'skipped', 'upstream_failed', 'removed')),
  max_tries integer NOT NULL,
  dispatch_n integer NOT NULL,
  preempted integer NOT NULL,
  requeued integer NOT NULL,
  scheduled_at bigint,
  queued_at bigint,
  started_at bigint,
  ended_at bigint,
  wake_at bigint,
  executor text COLLATE "C",
  members integer NOT NULL,
  host text COLLATE "C",
  pool text COLLATE "C" NOT NULL,
  pool_slots integer NOT NULL,
  weight integer NOT NULL,
  reason text COLLATE "C",
  exit_code integer,
  mapped_length integer,
  skips text COLLATE "C",
  marked_by text COLLATE "C",
  PRIMARY KEY (tenant_id, run_id, task_id, map_index, try_number)
);

-- Members of gangs that have started or ended; a dispatch with a single member has no row here.
CREATE TABLE member (
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  map_index integer NOT NULL,
  try_number integer NOT NULL,
  dispatch_n integer NOT NULL,
  member integer NOT NULL,
  host text COLLATE "C",
  started_at bigint,
  ended_at bigint,
  exit_code integer,
  format integer NOT NULL,
  ending text COLLATE "C",
  PRIMARY KEY (tenant_id, run_id, task_id, map_index, try_number, dispatch_n, member),
  CHECK ((ended_at IS NULL) = (ending IS NULL))
);

CREATE TABLE attempt_claim (
  attempt_id uuid NOT NULL,
  n integer NOT NULL,
  member integer NOT NULL,
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  claimant text COLLATE "C" NOT NULL,
  claimed_at bigint NOT NULL,
  PRIMARY KEY (attempt_id, n, member)
);
CREATE INDEX attempt_claim_run ON attempt_claim (tenant_id, run_id);

CREATE TABLE result (
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  map_index integer NOT NULL,
  attempt_id uuid NOT NULL,
  value text COLLATE "C",
  digest text COLLATE "C",
  bytes bigint NOT NULL,
  PRIMARY KEY (tenant_id, run_id, task_id, map_index),
  CHECK ((value IS NULL) <> (digest IS NULL))
);

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
  PRIMARY KEY (shard_id, batch, n)
);
CREATE INDEX event_run ON event (tenant_id, run_id, batch);

CREATE TABLE inbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  shard_id uuid NOT NULL,
  tenant_id uuid NOT NULL,
  kind text COLLATE "C" NOT NULL,
  format integer NOT NULL,
  payload text COLLATE "C" NOT NULL,
  actor text COLLATE "C" NOT NULL,
  idempotency_key text COLLATE "C",
  created_at bigint NOT NULL,
  taken_in_batch bigint,
  outcome text COLLATE "C",
  CHECK ((taken_in_batch IS NULL) = (outcome IS NULL))
);
CREATE UNIQUE INDEX inbox_idempotency ON inbox (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX inbox_waiting ON inbox (shard_id, id) WHERE taken_in_batch IS NULL;

CREATE TABLE audit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at bigint NOT NULL,
  tenant_id uuid NOT NULL,
  actor text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  payload text COLLATE "C" NOT NULL,
  outcome text COLLATE "C" NOT NULL,
  shard_id uuid,
  batch bigint
);
CREATE INDEX audit_tenant ON audit (tenant_id, id);

CREATE TABLE pool (
  tenant_id uuid NOT NULL,
  name text COLLATE "C" NOT NULL,
  slots integer NOT NULL CHECK (slots >= -1),
  include_deferred boolean NOT NULL,
  PRIMARY KEY (tenant_id, name)
);

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
  PRIMARY KEY (shard_id, batch, n),
  CHECK ((source_run IS NULL) = (source_task IS NULL)),
  CHECK ((source_run IS NULL) = (source_map_index IS NULL))
);
CREATE INDEX asset_event_newest ON asset_event (tenant_id, asset, at DESC);

CREATE TABLE pending_asset (
  tenant_id uuid NOT NULL,
  dag_id text COLLATE "C" NOT NULL,
  asset text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (tenant_id, dag_id, asset)
);

CREATE TABLE backfill (
  tenant_id uuid NOT NULL,
  id bigint NOT NULL,
  dag_id text COLLATE "C" NOT NULL,
  format integer NOT NULL,
  spec text COLLATE "C" NOT NULL,
  paused boolean NOT NULL,
  created_at bigint NOT NULL,
  ended_at bigint,
  next_date bigint,
  made integer NOT NULL,
  PRIMARY KEY (tenant_id, id)
);

CREATE TABLE continuation (
  shard_id uuid NOT NULL,
  id bigint NOT NULL,
  format integer NOT NULL,
  work text COLLATE "C" NOT NULL,
  PRIMARY KEY (shard_id, id)
);

CREATE TABLE variable (
  tenant_id uuid NOT NULL,
  name text COLLATE "C" NOT NULL,
  value text COLLATE "C",
  sealed bytea,
  secret_version integer NOT NULL,
  description text COLLATE "C",
  updated_at bigint NOT NULL,
  updated_by text COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant_id, name),
  CHECK ((value IS NULL) <> (sealed IS NULL))
);

CREATE TABLE connection (
  tenant_id uuid NOT NULL,
  name text COLLATE "C" NOT NULL,
  conn_type text COLLATE "C" NOT NULL,
  host text COLLATE "C",
  port integer,
  schema text COLLATE "C",
  login text COLLATE "C",
  sealed bytea,
  secret_version integer NOT NULL,
  description text COLLATE "C",
  updated_at bigint NOT NULL,
  updated_by text COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant_id, name)
);

INSERT INTO shard (id) VALUES ('00000000-0000-8000-8000-000000000002');
INSERT INTO tenant (id, name, shard_id, created_at) VALUES ('00000000-0000-8000-8000-000000000001', 'default',
  '00000000-0000-8000-8000-000000000002', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
