-- The same tables as in the PostgreSQL text.

ALTER TABLE tenant ADD COLUMN state TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'deleted'));
ALTER TABLE tenant ADD COLUMN policy_epoch INTEGER NOT NULL DEFAULT 0;

CREATE TABLE account (
  id BLOB PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('user', 'service')),
  tenant_id BLOB,
  name TEXT NOT NULL,
  password TEXT,
  must_change INTEGER NOT NULL CHECK (must_change IN (0, 1)),
  password_expires_at INTEGER,
  disabled INTEGER NOT NULL CHECK (disabled IN (0, 1)),
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  CHECK ((kind = 'service') = (tenant_id IS NOT NULL)),
  CHECK (kind = 'user' OR password IS NULL)
) STRICT;
CREATE UNIQUE INDEX account_user ON account (name) WHERE tenant_id IS NULL;
CREATE UNIQUE INDEX account_service ON account (tenant_id, name) WHERE tenant_id IS NOT NULL;

CREATE TABLE token (
  hash BLOB PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  account_id BLOB NOT NULL REFERENCES account (id) ON DELETE CASCADE,
  kind TEXT NOT NULL CHECK (kind IN ('session', 'api', 'service')),
  tenant_id BLOB,
  name TEXT NOT NULL,
  prefix TEXT NOT NULL,
  scopes TEXT,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  idle_micros INTEGER,
  used_at INTEGER NOT NULL,
  used_from TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX token_account ON token (account_id, created_at);

CREATE TABLE account_group (
  id BLOB PRIMARY KEY,
  tenant_id BLOB NOT NULL REFERENCES tenant (id),
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (tenant_id, name)
) STRICT;

CREATE TABLE group_member (
  group_id BLOB NOT NULL REFERENCES account_group (id) ON DELETE CASCADE,
  account_id BLOB NOT NULL REFERENCES account (id) ON DELETE CASCADE,
  PRIMARY KEY (group_id, account_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_member_account ON group_member (account_id);

CREATE TABLE role (
  id BLOB PRIMARY KEY,
  tenant_id BLOB NOT NULL REFERENCES tenant (id),
  name TEXT NOT NULL,
  description TEXT,
  rules TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (tenant_id, name)
) STRICT;

CREATE TABLE role_grant (
  tenant_id BLOB NOT NULL,
  subject_id BLOB NOT NULL,
  subject_kind TEXT NOT NULL CHECK (subject_kind IN ('account', 'group')),
  role_id BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  PRIMARY KEY (tenant_id, subject_id, role_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX role_grant_subject ON role_grant (subject_id);
