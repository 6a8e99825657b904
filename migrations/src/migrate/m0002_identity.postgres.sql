-- Who may do what. Accounts belong to the installation, service accounts to a tenant; groups, roles and grants belong to
-- a tenant. A grant's tenant is all zeros for a right over the installation, and its role may be one of the built-in
-- ones, whose ids are fixed and which have no row. Tokens are kept as SHA-256.

ALTER TABLE tenant ADD COLUMN state text COLLATE "C" NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'deleted'));
ALTER TABLE tenant ADD COLUMN policy_epoch bigint NOT NULL DEFAULT 0;

CREATE TABLE account (
  id uuid PRIMARY KEY,
  kind text COLLATE "C" NOT NULL CHECK (kind IN ('user', 'service')),
  tenant_id uuid,
  name text COLLATE "C" NOT NULL,
  password text COLLATE "C",
  must_change boolean NOT NULL,
  password_expires_at bigint,
  disabled boolean NOT NULL,
  created_at bigint NOT NULL,
  created_by text COLLATE "C" NOT NULL,
  CHECK ((kind = 'service') = (tenant_id IS NOT NULL)),
  CHECK (kind = 'user' OR password IS NULL)
);
CREATE UNIQUE INDEX account_user ON account (name) WHERE tenant_id IS NULL;
CREATE UNIQUE INDEX account_service ON account (tenant_id, name) WHERE tenant_id IS NOT NULL;

CREATE TABLE token (
  hash bytea PRIMARY KEY,
  id uuid NOT NULL UNIQUE,
  account_id uuid NOT NULL REFERENCES account (id) ON DELETE CASCADE,
  kind text COLLATE "C" NOT NULL CHECK (kind IN ('session', 'api', 'service')),
  tenant_id uuid,
  name text COLLATE "C" NOT NULL,
  prefix text COLLATE "C" NOT NULL,
  scopes text COLLATE "C",
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  idle_micros bigint,
  used_at bigint NOT NULL,
  used_from text COLLATE "C"
);
CREATE INDEX token_account ON token (account_id, created_at);

CREATE TABLE account_group (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES tenant (id),
  name text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  UNIQUE (tenant_id, name)
);

CREATE TABLE group_member (
  group_id uuid NOT NULL REFERENCES account_group (id) ON DELETE CASCADE,
  account_id uuid NOT NULL REFERENCES account (id) ON DELETE CASCADE,
  PRIMARY KEY (group_id, account_id)
);
CREATE INDEX group_member_account ON group_member (account_id);

CREATE TABLE role (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES tenant (id),
  name text COLLATE "C" NOT NULL,
  description text COLLATE "C",
  rules text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  UNIQUE (tenant_id, name)
);

CREATE TABLE role_grant (
  tenant_id uuid NOT NULL,
  subject_id uuid NOT NULL,
  subject_kind text COLLATE "C" NOT NULL CHECK (subject_kind IN ('account', 'group')),
  role_id uuid NOT NULL,
  created_at bigint NOT NULL,
  created_by text COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant_id, subject_id, role_id)
);
CREATE INDEX role_grant_subject ON role_grant (subject_id);
