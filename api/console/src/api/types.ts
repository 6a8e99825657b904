// What the API answers, as far as pages read it. Instants are UTC text.

import type { RunState, TaskState } from '../theme/states'

export type Instant = string

export interface Verdict {
  allowed: boolean
  reason?: string
}
export type Verdicts = Record<string, Verdict>

export interface Me {
  name: string
  must_change_password: boolean
  platform_admin: boolean
  tenants: string[]
}

export type RunType = 'scheduled' | 'manual' | 'backfill' | 'asset_triggered'

export interface Home {
  now: Instant
  failed: FailedRun[]
  failed_total: number
  asked: Asked[]
  running: OpenRun[]
  running_total: number
  open: Partial<Record<TaskState, number>>
  coming: { dag_id: string; run_after: Instant }[]
  scheduler: { owned: boolean; until: Instant }
  workers: { present: number; lost: number }
}
export interface FailedRun {
  dag_id: string
  run_id: string
  ended_at: Instant | null
  reason: string | null
  task: { task_id: string; map_index: number; try_number: number; reason: string | null; exit_code: number | null } | null
  failed_tasks: number
}
export interface Asked {
  dag_id: string
  run_id: string
  task_id: string
  map_index: number
  subject: string
  created_at: Instant
  respond_by: Instant | null
}
export interface OpenRun {
  dag_id: string
  run_id: string
  state: RunState
  run_type: RunType
  run_after: Instant
  started_at: Instant | null
  tasks: Partial<Record<TaskState, number>>
  usual_seconds: number | null
  deadline: Instant | null
}

export interface DagPage {
  items: DagInList[]
  total: number
  next: string | null
}
export interface DagInList {
  dag_id: string
  description: string | null
  paused: boolean
  schedule: string | null
  schedule_says: string | null
  next_run_after: Instant | null
  tags: string[]
  owner: string | null
  source: string
  quarantined: string | null
  unreadable: boolean
  runs: RunBar[]
  allowed: Verdicts
}
export interface RunBar {
  id: string
  state: RunState
  run_type: RunType
  run_after: Instant
  started_at: Instant | null
  seconds: number | null
}

export interface GridAnswer {
  structure: { hash: string; rows: GridRow[] }
  runs: GridRun[]
  cells: string
  detail: Record<string, Partial<Record<TaskState, number>>>
  states: TaskState[]
  before: Instant | null
}
export interface GridRow {
  id: string
  kind: 'task' | 'mapped' | 'group'
  parent?: string
  depth: number
  needs?: string[]
  operator?: string
  rule?: string
  gone?: boolean
}
export interface GridRun {
  id: string
  state: RunState
  run_type: RunType
  run_after: Instant
  logical_date: Instant | null
  queued_at: Instant
  started_at: Instant | null
  ended_at: Instant | null
  version: string
  backfill: number | null
  note: string | null
  reason: string | null
}

export interface ChangedRun {
  dag_id: string
  run: GridRun
  cells: [string, number][]
}

export interface DagDetails {
  dag_id: string
  description: string | null
  is_paused: boolean
  is_stale: boolean
  quarantined?: string | null
  has_import_errors: boolean
  timetable_summary: string | null
  timetable_description: string | null
  timezone: string | null
  tags: { name: string }[]
  owners: string[]
  max_active_tasks: number
  max_active_runs: number | null
  next_dagrun_run_after: Instant | null
  next_dagrun_logical_date: Instant | null
  relative_fileloc: string | null
  bundle_version: string | null
  catchup: boolean
  dag_run_timeout: string | null
  doc_md: string | null
  start_date: Instant | null
  end_date: Instant | null
  params: Record<string, { value: unknown; description: string | null; schema: ParamSchema }> | null
  latest_dag_version: { version_number: number; version: string } | null
  active_runs_count: number
}
export interface DagVersion {
  version_number: number
  version: string
  bundle_version: string | null
  created_at: Instant
}
export interface DagSource {
  content: string | null
  version_number: number | null
  file: string
  bundle: string
}
export interface ParamSchema {
  type?: string | string[]
  enum?: unknown[]
  default?: unknown
  description?: string
  format?: string
  minimum?: number
  maximum?: number
  title?: string
}

export interface DagRun {
  dag_run_id: string
  dag_id: string
  logical_date: Instant | null
  queued_at: Instant | null
  start_date: Instant | null
  end_date: Instant | null
  duration: number | null
  data_interval_start: Instant | null
  data_interval_end: Instant | null
  run_after: Instant
  run_type: RunType
  state: RunState
  triggered_by: string | null
  triggering_user_name: string | null
  conf: Record<string, unknown> | null
  note: string | null
  dag_versions: { version_number: number; version: string }[]
  reason: string | null
  clear_number: number
}

export interface TaskInstance {
  task_id: string
  dag_id: string
  dag_run_id: string
  map_index: number
  state: TaskState | null
  try_number: number
  max_tries: number
  start_date: Instant | null
  end_date: Instant | null
  duration: number | null
  queued_when: Instant | null
  scheduled_when: Instant | null
  hostname: string | null
  pool: string
  pool_slots: number
  queue: string | null
  priority_weight: number | null
  operator: string | null
  executor: string | null
  reason: string | null
  exit_code: number | null
  wake_at: Instant | null
}

export interface Waiting {
  state: TaskState
  waiting: { state: TaskState; holds: Hold[] } | null
}
export interface Hold {
  limit: { kind: string; waits_for?: { task: string; open: number; total: number }[] } & Record<string, unknown>
  says: string
  frees: string
}

export interface LogPiece {
  content: LogEvent[]
  continuation_token: string | null
}
export interface LogEvent {
  timestamp?: Instant
  event: string
  stream: 'stdout' | 'stderr' | 'supervisor'
  continues?: boolean
}

export interface OpenTask {
  dag_id: string
  run_id: string
  task_id: string
  map_index: number
  state: TaskState
  try_number: number
  pool: string
  pool_slots: number
  priority: number
  executor: string | null
  host: string | null
  scheduled_at: Instant | null
  queued_at: Instant | null
  started_at: Instant | null
  wake_at: Instant | null
  reason: string | null
}

export interface History {
  /** The runs that are looked at, the newest first. */
  runs: string[]
  items: {
    at: Instant
    run_id: string
    task_id: string | null
    map_index: number
    try_number: number
    state: TaskState | RunState
    reason: string | null
  }[]
  truncated: boolean
}
export interface PlannedDate {
  logical_date: Instant
  effect: 'create' | 'rerun' | 'skip'
  dag_run_id: string | null
  state: RunState | null
}
export interface DryRun {
  backfills: PlannedDate[]
  total_entries: number
  truncated: boolean
}

export interface NextRuns {
  schedule: {
    when: unknown
    timezone: string
    timetable: string
    on_gap: string
    on_overlap: string
    missed: string
  }
  paused: boolean
  runs: { run_after: Instant; logical_date: Instant | null; interval_start: Instant | null; interval_end: Instant | null }[]
}

export interface CalendarDays {
  days: { at: Instant; runs: Partial<Record<RunState, number>> }[]
}

export interface Pool {
  name: string
  slots: number
  include_deferred: boolean
  occupied_slots: number
  running_slots: number
  queued_slots: number
  scheduled_slots: number
  open_slots: number
  deferred_slots: number
}
export interface Quota {
  nominal?: number
  borrow?: number | null
  lend?: number | null
}
export interface Amount {
  executor: string
  resource: string
  quota: Quota | null
  guaranteed: number
  used: number
  borrowed: number
  lent: number
  limit: number | null
  available: number
}
export interface QuotaView {
  kind: 'cohort' | 'tenant'
  name: string
  set: boolean
  cohort: string | null
  weight: string
  share_per_mille: number | null
  waiting: number
  amounts: Amount[]
}
export interface Variable {
  key: string
  value: string | null
  description: string | null
  is_encrypted: boolean
}
export interface Connection {
  connection_id: string
  conn_type: string
  description: string | null
  host: string | null
  login: string | null
  schema: string | null
  port: number | null
}
export interface AuditEntry {
  event_log_id: number
  when: Instant
  event: string
  owner: string | null
  dag_id: string | null
  run_id: string | null
  task_id: string | null
  extra: string | null
}
export interface Question {
  task_instance: TaskInstance
  subject: string
  body: string | null
  options: string[]
  multiple: boolean
  defaults: string[] | null
  params: Record<string, { value: unknown; description: string | null; schema: ParamSchema } | unknown>
  created_at: Instant
  assigned_users: { id: string; name: string }[]
  response_received: boolean
  responded_at: Instant | null
  responded_by_user: { id: string; name: string } | null
  chosen_options: string[] | null
}
export type Effect = 'allow' | 'deny'
export interface Rule {
  effect: Effect
  kinds: string[]
  objects: { name: string } | { tag: string }
  actions: string[]
}
export interface Role {
  name: string
  built_in?: boolean
  rules: Rule[]
}
export interface Permission {
  role: string
  group: string | null
  rule: Rule
}
export interface Group {
  name: string
  members: string[]
  service_accounts: string[]
}
export interface Setting {
  key: string
  value: string | null
  origin: string
  doc: string
}
export interface Worker {
  id: string
  name: string
  executor: string
  slots: number
  queues: string[]
  labels: Record<string, string>
  release: string
  registered_at: Instant
  lost_at: Instant | null
}
export interface Token {
  id: string
  kind: string
  name: string
  prefix: string
  scopes: string[] | null
  created_at: Instant
  expires_at: Instant
  used_at: Instant
  used_from: string | null
}
export interface Items<T> {
  items: T[]
  next?: string
}
