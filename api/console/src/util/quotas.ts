// The tree of quotas as rows of one resource, in the order of the tree.

import type { QuotaView } from '../api/types'

export interface QuotaRow {
  kind: QuotaView['kind'] | 'others'
  name: string
  depth: number
  /** What is guaranteed to it and all below it. */
  guaranteed: number
  /** What of that it uses itself. */
  own: number
  borrowed: number
  /** What of its guaranteed room others use now. */
  lent: number
  /** The most it may use; null without a limit of its own. */
  limit: number | null
  /** Task instances in the queue, whatever they ask for. */
  waiting: number
  share: number | null
  weight: string
}

export const resourceOf = (executor: string, resource: string) => `${executor} ${resource}`

/** Every executor and resource that some quota or some use is about. */
export function resources(views: readonly QuotaView[]): string[] {
  const found = new Set<string>()
  for (const view of views) for (const of of view.amounts) found.add(resourceOf(of.executor, of.resource))
  // What a task asks for without saying so comes first.
  return [...found].toSorted((a, b) => Number(b.endsWith(' members')) - Number(a.endsWith(' members')) || a.localeCompare(b))
}

/** The rows of a resource: a cohort, then what belongs to it. `isWhole` says whether every tenant is among the views. */
export function rowsOf(views: readonly QuotaView[], resource: string, isWhole: boolean): QuotaRow[] {
  const cohorts = new Set(views.filter((view) => view.kind === 'cohort').map((view) => view.name))
  const below = (name: string | null) =>
    views.filter((view) => (name === null ? view.cohort === null || !cohorts.has(view.cohort) : view.cohort === name))
  const rows: QuotaRow[] = []
  const add = (view: QuotaView, depth: number) => {
    const row = rowOf(view, resource, depth)
    rows.push(row)
    if (view.kind === 'tenant') return
    const members = below(view.name)
    for (const member of members) add(member, depth + 1)
    if (isWhole) return
    const own = row.own + row.borrowed
    const known = members.reduce((sum, member) => sum + charged(member, resource), 0)
    const waiting = view.waiting - members.reduce((sum, member) => sum + member.waiting, 0)
    if (own - known <= 0 && waiting <= 0) return
    rows.push({
      kind: 'others', name: '', depth: depth + 1, guaranteed: 0, own: Math.max(0, own - known), borrowed: 0, lent: 0, limit: null,
      waiting: Math.max(0, waiting), share: null, weight: '',
    })
  }
  for (const view of below(null)) add(view, 0)
  return rows
}

function amountOf(view: QuotaView, resource: string) {
  return view.amounts.find((of) => resourceOf(of.executor, of.resource) === resource)
}

/** What of its use counts for the cohort above: not what it keeps to itself. */
function charged(view: QuotaView, resource: string): number {
  const of = amountOf(view, resource)
  if (of === undefined) return 0
  const kept = of.quota?.lend === undefined || of.quota.lend === null ? 0 : Math.max(0, of.guaranteed - of.quota.lend)
  return Math.max(0, of.used - kept)
}

function rowOf(view: QuotaView, resource: string, depth: number): QuotaRow {
  const of = amountOf(view, resource)
  const used = of?.used ?? 0
  const borrowed = of?.borrowed ?? 0
  return {
    kind: view.kind,
    name: view.name,
    depth,
    guaranteed: of?.guaranteed ?? 0,
    own: used - borrowed,
    borrowed,
    lent: of?.lent ?? 0,
    limit: of?.limit ?? null,
    waiting: view.waiting,
    share: view.share_per_mille,
    weight: view.weight,
  }
}

/** An amount in the unit that people read: CPUs, GiB, or a plain number. */
export function unitOf(resource: string): 'cpu' | 'bytes' | 'plain' {
  const name = resource.slice(resource.indexOf(' ') + 1)
  return name === 'cpu' ? 'cpu' : name === 'memory' ? 'bytes' : 'plain'
}
