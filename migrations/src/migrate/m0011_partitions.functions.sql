-- The beginning of a month, so many months from now, in microseconds since 1970.
CREATE OR REPLACE FUNCTION updraft_month(ahead integer) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT (extract(epoch FROM (date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + make_interval(months => ahead))
    AT TIME ZONE 'UTC') * 1000000)::bigint
$$;

-- Makes the partitions of a log for this month and so many after it, and says how many were missing. A month of which rows
-- lie in the default partition gets none, and one that can't be had within the transaction's wait is made another time.
-- Attaching doesn't hold up those who write to other partitions.
CREATE OR REPLACE FUNCTION updraft_partitions_ahead(log text, months integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  made integer := 0;
  month bigint;
  part text;
BEGIN
  FOR n IN 0..months LOOP
    month := updraft_month(n);
    part := log || '_' || to_char(to_timestamp(month / 1000000) AT TIME ZONE 'UTC', 'YYYYMM');
    CONTINUE WHEN to_regclass(quote_ident(part)) IS NOT NULL
      OR month < updraft_upper(to_regclass(quote_ident(log || '_before')));
    BEGIN
      EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, log);
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', log, part, month, updraft_month(n + 1));
      made := made + 1;
    EXCEPTION WHEN check_violation OR lock_not_available THEN
      NULL;
    END;
  END LOOP;
  RETURN made;
END
$$;

-- The instant before which the rows of a partition are; null for the default partition.
CREATE OR REPLACE FUNCTION updraft_upper(part oid) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT substring(pg_get_expr(relpartbound, oid) FROM 'TO \(''?(-?[0-9]+)')::bigint FROM pg_class WHERE oid = part
$$;

-- Drops the oldest partition of a log if all of its rows are older: 1 if it did, 0 if there is none, -1 if somebody held the log
-- for longer than the transaction wants to wait.
CREATE OR REPLACE FUNCTION updraft_drop_partition(log text, before bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  part regclass;
BEGIN
  SELECT c.oid INTO part FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
  WHERE i.inhparent = to_regclass(quote_ident(log)) AND updraft_upper(c.oid) <= before
  ORDER BY updraft_upper(c.oid) LIMIT 1;
  IF part IS NULL THEN
    RETURN 0;
  END IF;
  EXECUTE format('DROP TABLE %s', part);
  RETURN 1;
EXCEPTION WHEN lock_not_available THEN
  RETURN -1;
END
$$;

-- Proves, without holding up those who write, that a log has no rows from a month on which is at least two days away.
CREATE OR REPLACE PROCEDURE updraft_bound(log text) LANGUAGE plpgsql AS $$
DECLARE
  newest bigint;
  bound bigint;
BEGIN
  PERFORM set_config('lock_timeout', '300ms', true);
  EXECUTE format('SELECT coalesce(max(at), 0) FROM %I', log) INTO newest;
  newest := greatest(newest, (extract(epoch FROM clock_timestamp() + interval '2 days') * 1000000)::bigint);
  bound := (extract(epoch FROM (date_trunc('month', to_timestamp(newest / 1000000) AT TIME ZONE 'UTC') + interval '1 month')
    AT TIME ZONE 'UTC') * 1000000)::bigint;
  EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS %I', log, log || '_bound');
  EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (at < %s) NOT VALID', log, log || '_bound', bound);
  COMMIT;
  EXECUTE format('ALTER TABLE %I VALIDATE CONSTRAINT %I', log, log || '_bound');
END
$$;

-- Makes the table that a log was its first partition, and partitions for what isn't in the log's bound.
CREATE OR REPLACE FUNCTION updraft_attach(log text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  bound text;
BEGIN
  SELECT substring(pg_get_constraintdef(oid) FROM '[0-9]{6,}') INTO STRICT bound FROM pg_constraint
  WHERE conrelid = to_regclass(quote_ident(log || '_before')) AND conname = log || '_bound';
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%s)', log, log || '_before', bound);
  EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', log || '_before', log || '_bound');
  EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', log || '_default', log);
  PERFORM updraft_partitions_ahead(log, 3);
END
$$;
