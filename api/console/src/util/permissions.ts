// What rules come to, by kind of object and by what an object must be called.

import type { Permission } from '../api/types'
import { scopeOf } from '../pages/admin/matrix'

export interface Cell {
  effect: 'allow' | 'deny'
  /** Where it comes from: the role, and in brackets the group that has it. */
  by: string[]
}
export interface PermissionRow {
  kind: string
  where: string
  cells: Record<string, Cell>
}

/**
 * A row for each kind and each pattern that a rule names. A denial of the same pattern or of everything goes before what is allowed; one
 * of another pattern has a row of its own.
 */
export function effective(items: readonly Permission[]): PermissionRow[] {
  const places = new Map<string, { kind: string; where: string }>()
  for (const { rule } of items) {
    for (const kind of rule.kinds) places.set(`${kind} ${scopeOf(rule)}`, { kind, where: scopeOf(rule) })
  }
  const rows = [...places.values()].map(({ kind, where }) => {
    const cells: Record<string, Cell> = {}
    const fits = items.filter(({ rule }) => rule.kinds.includes(kind) && [where, '*'].includes(scopeOf(rule)))
    for (const action of new Set(fits.flatMap(({ rule }) => rule.actions))) {
      const about = fits.filter(({ rule }) => rule.actions.includes(action))
      const denied = about.filter(({ rule }) => rule.effect === 'deny')
      const deciding = denied.length > 0 ? denied : about
      const by = [...new Set(deciding.map(({ role, group }) => (group === null ? role : `${role} (${group})`)))]
      cells[action] = { effect: denied.length > 0 ? 'deny' : 'allow', by }
    }
    return { kind, where, cells }
  })
  return rows.toSorted((a, b) => a.kind.localeCompare(b.kind) || a.where.localeCompare(b.where))
}
