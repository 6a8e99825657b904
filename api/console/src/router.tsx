import { type QueryClient } from '@tanstack/react-query'
import {
  Outlet,
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from '@tanstack/react-router'
import * as queries from './api/queries'
import { Problem } from './api/client'
import { Shell } from './components/Shell'
import { Empty, ProblemView, Waiting } from './components/Views'
import { t } from './i18n'
import { DagList } from './pages/DagList'
import { Home } from './pages/Home'
import { Login } from './pages/Login'
import { ownPath } from './util/own'

interface Context {
  client: QueryClient
}

const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)
const whole = (value: unknown): number | undefined => (Number.isInteger(Number(value)) && value !== '' && value !== undefined ? Number(value) : undefined)
const flag = (value: unknown): boolean | undefined => (value === true || value === 'true' ? true : value === false || value === 'false' ? false : undefined)
/** Without what isn't given, so that an address has what was chosen and nothing else. */
function given<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>
}

const root = createRootRouteWithContext<Context>()({
  component: Outlet,
  errorComponent: ({ error, reset }) => (
    <div className="page">
      <ProblemView error={error} retry={reset} />
    </div>
  ),
  notFoundComponent: () => <Empty icon="search" title={t('missing.page')} />,
})

const login = createRoute({
  getParentRoute: () => root,
  path: '/login',
  validateSearch: (search: Record<string, unknown>) => given({ next: ownPath(text(search['next'])) }),
  component: Login,
})

const inside = createRoute({
  getParentRoute: () => root,
  id: 'inside',
  component: Shell,
  beforeLoad: async ({ context, location }) => {
    const next = ownPath(location.href) ?? '/'
    try {
      const me = await context.client.ensureQueryData(queries.me)
      if (me.must_change_password) throw redirect({ to: '/login', search: { next } })
    } catch (error) {
      if (error instanceof Problem && error.status === 401) {
        throw redirect({ to: '/login', search: next === '/' ? {} : { next } })
      }
      throw error
    }
  },
})

const index = createRoute({
  getParentRoute: () => inside,
  path: '/',
  beforeLoad: async ({ context }) => {
    const me = await context.client.ensureQueryData(queries.me)
    const tenant = me.tenants[0]
    if (tenant !== undefined) throw redirect({ to: '/t/$tenant', params: { tenant } })
  },
  component: () => <Empty icon="key" title={t('tenant.none')} />,
})

const tenant = createRoute({ getParentRoute: () => inside, path: '/t/$tenant', component: Outlet })

const home = createRoute({
  getParentRoute: () => tenant,
  path: '/',
  loader: ({ context, params }) => void context.client.prefetchQuery(queries.home(params.tenant)),
  component: Home,
})

const dags = createRoute({
  getParentRoute: () => tenant,
  path: '/dags',
  validateSearch: (search: Record<string, unknown>) =>
    given({ name: text(search['name']), tag: text(search['tag']), paused: flag(search['paused']) }),
  loaderDeps: ({ search }) => search,
  loader: ({ context, params, deps }) => void context.client.prefetchInfiniteQuery(queries.dags(params.tenant, deps)),
  component: DagList,
})

const runs = createRoute({
  getParentRoute: () => tenant,
  path: '/runs',
  validateSearch: (search: Record<string, unknown>) =>
    given({ state: text(search['state']), dag: text(search['dag']), offset: whole(search['offset']) }),
  component: lazyRouteComponent(() => import('./pages/Runs'), 'Runs'),
})

const tasks = createRoute({
  getParentRoute: () => tenant,
  path: '/tasks',
  validateSearch: (search: Record<string, unknown>) => given({ state: text(search['state']) }),
  component: lazyRouteComponent(() => import('./pages/Tasks'), 'Tasks'),
})

const dag = createRoute({
  getParentRoute: () => tenant,
  path: '/dags/$dag',
  component: lazyRouteComponent(() => import('./pages/dag/Dag'), 'Dag'),
})
const dagGrid = createRoute({
  getParentRoute: () => dag,
  path: '/',
  loader: ({ context, params }) => void context.client.prefetchQuery(queries.dagDetails(params.tenant, params.dag)),
  component: lazyRouteComponent(() => import('./pages/dag/GridTab'), 'GridTab'),
})
const dagGraph = createRoute({
  getParentRoute: () => dag,
  path: '/graph',
  validateSearch: (search: Record<string, unknown>) => given({ run: text(search['run']) }),
  component: lazyRouteComponent(() => import('./pages/dag/GraphTab'), 'GraphTab'),
})
const dagCalendar = createRoute({
  getParentRoute: () => dag,
  path: '/calendar',
  component: lazyRouteComponent(() => import('./pages/dag/CalendarTab'), 'CalendarTab'),
})
const dagBackfills = createRoute({
  getParentRoute: () => dag,
  path: '/backfills',
  component: lazyRouteComponent(() => import('./pages/dag/BackfillsTab'), 'BackfillsTab'),
})
const dagCharts = createRoute({
  getParentRoute: () => dag,
  path: '/charts',
  component: lazyRouteComponent(() => import('./pages/dag/ChartsTab'), 'ChartsTab'),
})
const dagSchedule = createRoute({
  getParentRoute: () => dag,
  path: '/schedule',
  component: lazyRouteComponent(() => import('./pages/dag/ScheduleTab'), 'ScheduleTab'),
})
const dagCode = createRoute({
  getParentRoute: () => dag,
  path: '/code',
  validateSearch: (search: Record<string, unknown>) =>
    given({ version: whole(search['version']), against: whole(search['against']), what: search['what'] === 'model' ? ('model' as const) : undefined }),
  component: lazyRouteComponent(() => import('./pages/dag/CodeTab'), 'CodeTab'),
})
const dagEvents = createRoute({
  getParentRoute: () => dag,
  path: '/events',
  validateSearch: (search: Record<string, unknown>) => given({ run: text(search['run']) }),
  component: lazyRouteComponent(() => import('./pages/dag/EventsTab'), 'EventsTab'),
})
const dagDetails = createRoute({
  getParentRoute: () => dag,
  path: '/details',
  component: lazyRouteComponent(() => import('./pages/dag/DetailsTab'), 'DetailsTab'),
})
const run = createRoute({
  getParentRoute: () => tenant,
  path: '/dags/$dag/runs/$run',
  validateSearch: (search: Record<string, unknown>): { view?: 'timeline' } => (search['view'] === 'timeline' ? { view: 'timeline' } : {}),
  component: lazyRouteComponent(() => import('./pages/Run'), 'Run'),
})

export type TaskTab = 'log' | 'why' | 'attempts' | 'result' | 'instances' | 'details'
const tabs: readonly TaskTab[] = ['log', 'why', 'attempts', 'result', 'instances', 'details']

const task = createRoute({
  getParentRoute: () => tenant,
  path: '/dags/$dag/runs/$run/tasks/$task',
  validateSearch: (search: Record<string, unknown>) =>
    given({ map: whole(search['map']), try: whole(search['try']), tab: tabs.find((tab) => tab === search['tab']) }),
  component: lazyRouteComponent(() => import('./pages/task/Task'), 'Task'),
})
const approvals = createRoute({
  getParentRoute: () => tenant,
  path: '/approvals',
  component: lazyRouteComponent(() => import('./pages/Approvals'), 'Approvals'),
})
const assets = createRoute({
  getParentRoute: () => tenant,
  path: '/assets',
  component: lazyRouteComponent(() => import('./pages/Assets'), 'Assets'),
})
const capacity = createRoute({
  getParentRoute: () => tenant,
  path: '/capacity',
  validateSearch: (search: Record<string, unknown>) => given({ resource: text(search['resource']) }),
  component: lazyRouteComponent(() => import('./pages/Capacity'), 'Capacity'),
})
const members = createRoute({
  getParentRoute: () => tenant,
  path: '/admin/members',
  component: lazyRouteComponent(() => import('./pages/admin/Members'), 'Members'),
})
const roles = createRoute({
  getParentRoute: () => tenant,
  path: '/admin/roles',
  validateSearch: (search: Record<string, unknown>) => given({ role: text(search['role']) }),
  component: lazyRouteComponent(() => import('./pages/admin/Roles'), 'Roles'),
})
const variables = createRoute({
  getParentRoute: () => tenant,
  path: '/admin/variables',
  component: lazyRouteComponent(() => import('./pages/admin/Variables'), 'Variables'),
})
const connections = createRoute({
  getParentRoute: () => tenant,
  path: '/admin/connections',
  component: lazyRouteComponent(() => import('./pages/admin/Connections'), 'Connections'),
})
const pools = createRoute({
  getParentRoute: () => tenant,
  path: '/admin/pools',
  component: lazyRouteComponent(() => import('./pages/admin/Pools'), 'Pools'),
})
const audit = createRoute({
  getParentRoute: () => tenant,
  path: '/admin/audit',
  validateSearch: (search: Record<string, unknown>) => given({ offset: whole(search['offset']) }),
  component: lazyRouteComponent(() => import('./pages/admin/Audit'), 'Audit'),
})
const groups = createRoute({
  getParentRoute: () => tenant,
  path: '/admin/groups',
  component: lazyRouteComponent(() => import('./pages/admin/Groups'), 'Groups'),
})
const services = createRoute({
  getParentRoute: () => tenant,
  path: '/admin/service-accounts',
  validateSearch: (search: Record<string, unknown>) => given({ of: text(search['of']) }),
  component: lazyRouteComponent(() => import('./pages/admin/Services'), 'Services'),
})
const permissions = createRoute({
  getParentRoute: () => tenant,
  path: '/admin/permissions',
  validateSearch: (search: Record<string, unknown>) => given({ who: text(search['who']) }),
  component: lazyRouteComponent(() => import('./pages/admin/Permissions'), 'Permissions'),
})
const config = createRoute({
  getParentRoute: () => inside,
  path: '/system/config',
  validateSearch: (search: Record<string, unknown>) => given({ q: text(search['q']), set: flag(search['set']) }),
  component: lazyRouteComponent(() => import('./pages/system/Config'), 'Config'),
})
const workers = createRoute({
  getParentRoute: () => inside,
  path: '/system/workers',
  component: lazyRouteComponent(() => import('./pages/system/Workers'), 'Workers'),
})
const users = createRoute({
  getParentRoute: () => inside,
  path: '/system/users',
  component: lazyRouteComponent(() => import('./pages/system/Users'), 'Users'),
})
const tenants = createRoute({
  getParentRoute: () => inside,
  path: '/system/tenants',
  component: lazyRouteComponent(() => import('./pages/system/Tenants'), 'Tenants'),
})
const me = createRoute({
  getParentRoute: () => inside,
  path: '/me',
  component: lazyRouteComponent(() => import('./pages/Me'), 'Me'),
})

const tree = root.addChildren([
  login,
  inside.addChildren([
    index,
    me,
    users,
    tenants,
    config,
    workers,
    tenant.addChildren([
      home, dags, runs, tasks, run, task, approvals, assets, capacity, members, groups, services, permissions, roles, variables, connections, pools, audit,
      dag.addChildren([dagGrid, dagGraph, dagBackfills, dagCalendar, dagCharts, dagSchedule, dagEvents, dagCode, dagDetails]),
    ]),
  ]),
])

export function makeRouter(client: QueryClient) {
  return createRouter({
    routeTree: tree,
    context: { client },
    defaultPreload: 'intent',
    defaultPendingMs: 150,
    defaultPendingComponent: Waiting,
    scrollRestoration: true,
  })
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof makeRouter>
  }
}
