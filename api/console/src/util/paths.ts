// Addresses of the API: the only place that has them.

const part = encodeURIComponent

/** Parameters that are given, in order. */
export function query(values: Record<string, string | number | boolean | readonly string[] | null | undefined>): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === '') continue
    if (Array.isArray(value)) for (const one of value as readonly string[]) search.append(name, one)
    else search.append(name, String(value))
  }
  const text = search.toString()
  return text === '' ? '' : `?${text}`
}

const own = '/api/updraft/v1'

export const paths = {
  session: `${own}/session`,
  me: `${own}/me`,
  password: `${own}/me/password`,
  myTokens: `${own}/me/tokens`,
  myToken: (id: string) => `${own}/me/tokens/${part(id)}`,
  users: `${own}/users`,
  user: (name: string) => `${own}/users/${part(name)}`,
  userPassword: (name: string) => `${own}/users/${part(name)}/password`,
  config: `${own}/config`,
  workers: `${own}/workers`,
  quotas: `${own}/quotas`,
  quota: (kind: string, name: string) => `${own}/quotas/${part(kind)}/${part(name)}`,
  tenants: `${own}/tenants`,
  tenant: (name: string) => `${own}/tenants/${part(name)}`,
  of(tenant: string) {
    const root = `/t/${part(tenant)}`
    const v1 = `${root}${own}`
    const v2 = `${root}/api/v2`
    const dag = (id: string) => `${v2}/dags/${part(id)}`
    const run = (id: string, name: string) => `${dag(id)}/dagRuns/${part(name)}`
    const task = (id: string, name: string, one: string) => `${run(id, name)}/taskInstances/${part(one)}`
    return {
      home: `${v1}/home`,
      allowed: `${v1}/allowed`,
      dags: `${v1}/dags`,
      tags: `${v2}/dagTags`,
      importErrors: `${v2}/importErrors`,
      logFile: (id: string, name: string, one: string) => `${v1}/dags/${part(id)}/runs/${part(name)}/tasks/${part(one)}/log`,
      permissions: `${v1}/permissions`,
      service: (name: string) => `${v1}/service-accounts/${part(name)}`,
      serviceTokens: (name: string) => `${v1}/service-accounts/${part(name)}/tokens`,
      serviceToken: (name: string, id: string) => `${v1}/service-accounts/${part(name)}/tokens/${part(id)}`,
      backfillsDryRun: `${v2}/backfills/dry_run`,
      openTasks: `${v1}/tasks`,
      quota: `${v1}/quota`,
      events: `${v1}/events`,
      grid: (id: string) => `${v1}/dags/${part(id)}/grid`,
      calendar: (id: string) => `${v1}/dags/${part(id)}/calendar`,
      schedule: (id: string) => `${v1}/dags/${part(id)}/schedule`,
      history: (id: string) => `${v1}/dags/${part(id)}/history`,
      model: (id: string) => `${v1}/dags/${part(id)}/model`,
      dag,
      dagDetails: (id: string) => `${dag(id)}/details`,
      source: (id: string) => `${v2}/dagSources/${part(id)}`,
      versions: (id: string) => `${dag(id)}/dagVersions`,
      trigger: (id: string) => `${dag(id)}/dagRuns`,
      clear: (id: string) => `${dag(id)}/clearTaskInstances`,
      runs: `${v2}/dags/~/dagRuns`,
      run,
      clearRun: (id: string, name: string) => `${run(id, name)}/clear`,
      task,
      mapped: (id: string, name: string, one: string, index: number) => `${task(id, name, one)}/${index}`,
      tasksOf: (id: string, name: string) => `${run(id, name)}/taskInstances`,
      instances: (id: string, name: string, one: string) => `${task(id, name, one)}/listMapped`,
      tries: (id: string, name: string, one: string, index: number) => `${task(id, name, one)}/${index}/tries`,
      waiting: (id: string, name: string, one: string, index: number) => `${task(id, name, one)}/${index}/waiting`,
      logs: (id: string, name: string, one: string, number: number) => `${task(id, name, one)}/logs/${number}`,
      results: (id: string, name: string, one: string) => `${task(id, name, one)}/xcomEntries`,
      result: (id: string, name: string, one: string, key: string) => `${task(id, name, one)}/xcomEntries/${part(key)}`,
      questions: `${v2}/dags/~/dagRuns/~/hitlDetails`,
      question: (id: string, name: string, one: string, index: number) => `${task(id, name, one)}/${index}/hitlDetails`,
      assets: `${v2}/assets`,
      assetEvents: `${v2}/assets/events`,
      backfills: `${v2}/backfills`,
      backfill: (id: number, verb: string) => `${v2}/backfills/${id}/${verb}`,
      pools: `${v2}/pools`,
      pool: (name: string) => `${v2}/pools/${part(name)}`,
      variables: `${v2}/variables`,
      variable: (name: string) => `${v2}/variables/${part(name)}`,
      connections: `${v2}/connections`,
      connection: (name: string) => `${v2}/connections/${part(name)}`,
      audit: `${v2}/eventLogs`,
      roles: `${v1}/roles`,
      role: (name: string) => `${v1}/roles/${part(name)}`,
      grants: `${v1}/grants`,
      grant: (kind: string, name: string, role: string) => `${v1}/grants/${part(kind)}/${part(name)}/${part(role)}`,
      groups: `${v1}/groups`,
      group: (name: string) => `${v1}/groups/${part(name)}`,
      services: `${v1}/service-accounts`,
      can: `${v1}/can`,
    }
  },
}
