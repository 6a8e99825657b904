// What pages read: one factory for each question, so that loaders, components and the live stream mean the same thing.

import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query'
import { paths, query } from '../util/paths'
import { call } from './client'
import { decode } from './grid'
import type {
  AuditEntry, CalendarDays, Connection, DagDetails, DagPage, DagRun, DagSource, DagVersion, GridAnswer, Group, History, Home, Items, LogPiece, Me, NextRuns,
  OpenTask, Permission, Pool, Question, QuotaView, Role, Setting, TaskInstance, Token, Variable, Verdicts, Waiting, Worker,
} from './types'

// The live stream says what changed; nothing is asked again by the clock.
const live = { staleTime: Number.POSITIVE_INFINITY }

export const me = queryOptions({
  queryKey: ['me'],
  queryFn: ({ signal }) => call<Me>(paths.me, { signal }),
  staleTime: Number.POSITIVE_INFINITY,
  retry: false,
})

export const allowed = (tenant: string) =>
  queryOptions({
    queryKey: ['allowed', tenant],
    queryFn: ({ signal }) => call<Verdicts>(paths.of(tenant).allowed, { signal }),
    ...live,
  })

export const allowedOnDag = (tenant: string, dag: string) =>
  queryOptions({
    queryKey: ['allowed', tenant, dag],
    queryFn: ({ signal }) => call<Verdicts>(paths.of(tenant).allowed + query({ dag }), { signal }),
    ...live,
  })

export const home = (tenant: string) =>
  queryOptions({
    queryKey: ['home', tenant],
    queryFn: ({ signal }) => call<Home>(paths.of(tenant).home, { signal }),
    ...live,
  })

export interface DagFilter {
  name?: string | undefined
  tag?: string | undefined
  paused?: boolean | undefined
}

export const dags = (tenant: string, filter: DagFilter) =>
  infiniteQueryOptions({
    queryKey: ['dags', tenant, filter],
    queryFn: ({ signal, pageParam }) =>
      call<DagPage>(paths.of(tenant).dags + query({ ...filter, after: pageParam, limit: 100 }), { signal }),
    initialPageParam: null as string | null,
    getNextPageParam: (page: DagPage) => page.next,
    placeholderData: keepPreviousData,
    ...live,
  })

export const tags = (tenant: string) =>
  queryOptions({
    queryKey: ['tags', tenant],
    queryFn: ({ signal }) => call<{ tags: string[] }>(paths.of(tenant).tags, { signal }),
    staleTime: 60_000,
  })

export const grid = (tenant: string, dag: string, runs: number) =>
  queryOptions({
    queryKey: ['grid', tenant, dag, { runs }],
    queryFn: async ({ signal }) =>
      decode(await call<GridAnswer>(paths.of(tenant).grid(dag) + query({ runs }), { signal })),
    placeholderData: keepPreviousData,
    structuralSharing: false,
    ...live,
  })

export const runGrid = (tenant: string, dag: string, run: string) =>
  queryOptions({
    queryKey: ['grid', tenant, dag, { run }],
    queryFn: async ({ signal }) =>
      decode(await call<GridAnswer>(paths.of(tenant).grid(dag) + query({ run }), { signal })),
    structuralSharing: false,
    ...live,
  })

export const dagDetails = (tenant: string, dag: string) =>
  queryOptions({
    queryKey: ['dag', tenant, dag],
    queryFn: ({ signal }) => call<DagDetails>(paths.of(tenant).dagDetails(dag), { signal }),
    ...live,
  })

export const schedule = (tenant: string, dag: string) =>
  queryOptions({
    queryKey: ['schedule', tenant, dag],
    queryFn: ({ signal }) => call<NextRuns>(paths.of(tenant).schedule(dag), { signal }),
    staleTime: 30_000,
  })

export const calendar = (tenant: string, dag: string) =>
  queryOptions({
    queryKey: ['calendar', tenant, dag],
    queryFn: ({ signal }) => call<CalendarDays>(paths.of(tenant).calendar(dag), { signal }),
    staleTime: 30_000,
  })

/** The model of a version by its hash, or of the newest one. A version never changes. */
export const model = (tenant: string, dag: string, version?: string) =>
  queryOptions({
    queryKey: ['model', tenant, dag, version],
    queryFn: ({ signal }) => call<{ version: string; model: unknown }>(paths.of(tenant).model(dag) + query({ version }), { signal }),
    staleTime: version === undefined ? 30_000 : Number.POSITIVE_INFINITY,
  })

export const versions = (tenant: string, dag: string) =>
  queryOptions({
    queryKey: ['versions', tenant, dag],
    queryFn: ({ signal }) =>
      call<{ dag_versions: DagVersion[]; total_entries: number }>(
        paths.of(tenant).versions(dag) + query({ limit: 100, order_by: '-version_number' }),
        { signal },
      ),
    staleTime: 10_000,
  })

/** The file that a version came from, as it was written. */
export const source = (tenant: string, dag: string, version: number) =>
  queryOptions({
    queryKey: ['source', tenant, dag, version],
    queryFn: ({ signal }) => call<DagSource>(paths.of(tenant).source(dag) + query({ version_number: version }), { signal }),
    staleTime: 60_000,
    retry: false,
  })

/** What happened to the DAG's last runs, or to one of them. */
export const history = (tenant: string, dag: string, name: string | undefined) =>
  queryOptions({
    queryKey: ['history', tenant, dag, name],
    queryFn: ({ signal }) => call<History>(paths.of(tenant).history(dag) + query({ run: name }), { signal }),
    placeholderData: keepPreviousData,
    ...live,
  })

export interface RunFilter {
  dag?: string | undefined
  state?: string | undefined
  offset?: number | undefined
}

export const runs = (tenant: string, filter: RunFilter) =>
  queryOptions({
    queryKey: ['runs', tenant, filter],
    queryFn: ({ signal }) =>
      call<{ dag_runs: DagRun[]; total_entries: number }>(
        (filter.dag === undefined ? paths.of(tenant).runs : paths.of(tenant).trigger(filter.dag)) +
          query({ state: filter.state, limit: 100, offset: filter.offset, order_by: '-run_after' }),
        { signal },
      ),
    placeholderData: keepPreviousData,
    ...live,
  })

export const run = (tenant: string, dag: string, name: string) =>
  queryOptions({
    queryKey: ['run', tenant, dag, name],
    queryFn: ({ signal }) => call<DagRun>(paths.of(tenant).run(dag, name), { signal }),
    ...live,
  })

export const openTasks = (tenant: string, state: readonly string[]) =>
  queryOptions({
    queryKey: ['open-tasks', tenant, state],
    queryFn: ({ signal }) => call<Items<OpenTask>>(paths.of(tenant).openTasks + query({ state }), { signal }),
    placeholderData: keepPreviousData,
    ...live,
  })

export interface TaskRef {
  tenant: string
  dag: string
  run: string
  task: string
  map: number
}

const keyOf = ({ tenant, dag, run: name, task, map }: TaskRef) => [tenant, dag, name, task, map]

export const taskInstance = (of: TaskRef) =>
  queryOptions({
    queryKey: ['task', ...keyOf(of)],
    queryFn: ({ signal }) =>
      call<TaskInstance>(paths.of(of.tenant).mapped(of.dag, of.run, of.task, of.map), { signal }),
    ...live,
  })

export const instances = (of: TaskRef, offset: number) =>
  queryOptions({
    queryKey: ['instances', of.tenant, of.dag, of.run, of.task, offset],
    queryFn: ({ signal }) =>
      call<{ task_instances: TaskInstance[]; total_entries: number }>(
        paths.of(of.tenant).instances(of.dag, of.run, of.task) + query({ limit: 100, offset }),
        { signal },
      ),
    placeholderData: keepPreviousData,
    ...live,
  })

/** Every task instance of a run, page by page, as long as they are few enough to be drawn. */
export const allInstances = (tenant: string, dag: string, name: string) =>
  queryOptions({
    queryKey: ['instances', tenant, dag, name],
    queryFn: async ({ signal }) => {
      const all: TaskInstance[] = []
      for (;;) {
        const page = await call<{ task_instances: TaskInstance[]; total_entries: number }>(
          paths.of(tenant).tasksOf(dag, name) + query({ limit: 100, offset: all.length }),
          { signal },
        )
        all.push(...page.task_instances)
        if (page.task_instances.length === 0 || all.length >= Math.min(page.total_entries, 500)) return all
      }
    },
    ...live,
  })

export const tries = (of: TaskRef) =>
  queryOptions({
    queryKey: ['tries', ...keyOf(of)],
    queryFn: ({ signal }) =>
      call<{ task_instances: TaskInstance[] }>(paths.of(of.tenant).tries(of.dag, of.run, of.task, of.map), { signal }),
    ...live,
  })

export const waiting = (of: TaskRef) =>
  queryOptions({
    queryKey: ['waiting', ...keyOf(of)],
    queryFn: ({ signal }) =>
      call<Waiting>(paths.of(of.tenant).waiting(of.dag, of.run, of.task, of.map), { signal }),
    ...live,
  })

export const results = (of: TaskRef) =>
  queryOptions({
    queryKey: ['results', ...keyOf(of)],
    queryFn: ({ signal }) =>
      call<{ key: string; value: unknown }>(
        paths.of(of.tenant).result(of.dag, of.run, of.task, 'return_value') + query({ map_index: of.map }),
        { signal },
      ),
    retry: false,
    ...live,
  })

export function logPiece(of: TaskRef, attempt: number, token: string | null, signal?: AbortSignal): Promise<LogPiece> {
  const path = paths.of(of.tenant).logs(of.dag, of.run, of.task, attempt)
  return call<LogPiece>(path + query({ map_index: of.map, token }), signal === undefined ? {} : { signal })
}

export const questions = (tenant: string, answered: boolean) =>
  queryOptions({
    queryKey: ['questions', tenant, answered],
    queryFn: ({ signal }) =>
      call<{ hitl_details: Question[]; total_entries: number }>(
        paths.of(tenant).questions + query({ response_received: answered, limit: 50 }),
        { signal },
      ),
    ...live,
  })

export const assets = (tenant: string) =>
  queryOptions({
    queryKey: ['assets', tenant],
    queryFn: ({ signal }) =>
      call<{
        assets: {
          id: number
          name: string
          scheduled_dags: { dag_id: string }[]
          producing_tasks: { dag_id: string; task_id: string }[]
          last_asset_event: { id: number; timestamp: string } | null
        }[]
        total_entries: number
      }>(paths.of(tenant).assets + query({ limit: 100 }), { signal }),
    ...live,
  })

export const pools = (tenant: string) =>
  queryOptions({
    queryKey: ['pools', tenant],
    queryFn: ({ signal }) => call<{ pools: Pool[] }>(paths.of(tenant).pools + query({ limit: 100 }), { signal }),
    ...live,
  })

/** How quotas are used: those of everybody for who administers the platform, else the tenant's own and what is above it. */
export const quotas = (tenant: string, whose: 'own' | 'all') =>
  queryOptions({
    queryKey: ['quotas', whose === 'all' ? '*' : tenant],
    queryFn: ({ signal }) => call<Items<QuotaView>>(whose === 'all' ? paths.quotas : paths.of(tenant).quota, { signal }),
    ...live,
  })

export const variables = (tenant: string) =>
  queryOptions({
    queryKey: ['variables', tenant],
    queryFn: ({ signal }) =>
      call<{ variables: Variable[]; total_entries: number }>(paths.of(tenant).variables + query({ limit: 100 }), { signal }),
  })

export const connections = (tenant: string) =>
  queryOptions({
    queryKey: ['connections', tenant],
    queryFn: ({ signal }) =>
      call<{ connections: Connection[]; total_entries: number }>(
        paths.of(tenant).connections + query({ limit: 100 }),
        { signal },
      ),
  })

export const audit = (tenant: string, offset: number) =>
  queryOptions({
    queryKey: ['audit', tenant, offset],
    queryFn: ({ signal }) =>
      call<{ event_logs: AuditEntry[]; total_entries: number }>(
        paths.of(tenant).audit + query({ limit: 50, offset }),
        { signal },
      ),
    placeholderData: keepPreviousData,
  })

export const roles = (tenant: string) =>
  queryOptions({
    queryKey: ['roles', tenant],
    queryFn: ({ signal }) => call<Items<Role & { built_in: boolean }>>(paths.of(tenant).roles, { signal }),
  })

export const grants = (tenant: string) =>
  queryOptions({
    queryKey: ['grants', tenant],
    queryFn: ({ signal }) =>
      call<Items<{ kind: string; name: string; role: string }>>(paths.of(tenant).grants, { signal }),
  })

export const groups = (tenant: string) =>
  queryOptions({
    queryKey: ['groups', tenant],
    queryFn: ({ signal }) => call<Items<Group>>(paths.of(tenant).groups, { signal }),
  })

export const services = (tenant: string) =>
  queryOptions({
    queryKey: ['services', tenant],
    queryFn: ({ signal }) =>
      call<Items<{ name: string; created_at: string; created_by: string }>>(paths.of(tenant).services, { signal }),
  })

export const serviceTokens = (tenant: string, name: string) =>
  queryOptions({
    queryKey: ['service-tokens', tenant, name],
    queryFn: ({ signal }) => call<Items<Token>>(paths.of(tenant).serviceTokens(name), { signal }),
  })

/** Everything that somebody may do in a tenant; one's own without a name. */
export const permissions = (tenant: string, who: string | undefined) =>
  queryOptions({
    queryKey: ['permissions', tenant, who],
    queryFn: ({ signal }) => call<Items<Permission>>(paths.of(tenant).permissions + query({ user: who }), { signal }),
    retry: false,
  })

export const config = queryOptions({
  queryKey: ['config'],
  queryFn: ({ signal }) => call<Items<Setting>>(paths.config, { signal }),
})

export const workers = queryOptions({
  queryKey: ['workers'],
  queryFn: ({ signal }) => call<Items<Worker>>(paths.workers, { signal }),
})

export const tokens = queryOptions({
  queryKey: ['tokens'],
  queryFn: ({ signal }) => call<Items<Token>>(paths.myTokens, { signal }),
})

export const users = queryOptions({
  queryKey: ['users'],
  queryFn: ({ signal }) =>
    call<Items<{ name: string; must_change_password: boolean; disabled: boolean; created_at: string; created_by: string }>>(
      paths.users,
      { signal },
    ),
})

export const tenants = queryOptions({
  queryKey: ['tenants'],
  queryFn: ({ signal }) =>
    call<Items<{ name: string; id: string; suspended: boolean; created_at: string }>>(paths.tenants, { signal }),
})

export const backfills = (tenant: string, dag: string) =>
  queryOptions({
    queryKey: ['backfills', tenant, dag],
    queryFn: ({ signal }) =>
      call<{
        backfills: {
          id: number
          from_date: string
          to_date: string
          is_paused: boolean
          max_active_runs: number
          created_at: string
          completed_at: string | null
          runs_made: number
        }[]
      }>(paths.of(tenant).backfills + query({ dag_id: dag, limit: 50 }), { signal }),
    ...live,
  })

export const importErrors = (tenant: string) =>
  queryOptions({
    queryKey: ['import-errors', tenant],
    queryFn: ({ signal }) =>
      call<{
        import_errors: { import_error_id: number; timestamp: string; filename: string; stack_trace: string }[]
        total_entries: number
      }>(paths.of(tenant).importErrors + query({ limit: 50 }), { signal }),
    staleTime: 10_000,
  })
