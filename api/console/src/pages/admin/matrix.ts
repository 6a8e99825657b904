// A role's rules as cells of a matrix, and back.

import type { Rule } from '../../api/types'

export type Cell = 'allow' | 'deny' | 'unset'

export const actions = ['read', 'create', 'change', 'delete'] as const
export const kinds = [
  'dag', 'code', 'run', 'task', 'log', 'result', 'backfill', 'asset', 'pool', 'variable', 'connection', 'audit', 'member',
] as const

/** What a rule is about, as one text: a glob, or `tag:` and a label. */
export function scopeOf(rule: Rule): string {
  return 'tag' in rule.objects ? `tag:${rule.objects.tag}` : rule.objects.name
}

export function scopesOf(rules: readonly Rule[]): string[] {
  return [...new Set(['*', ...rules.map(scopeOf)])]
}

/** What is denied stays denied, whatever else allows it. */
export function cellOf(rules: readonly Rule[], kind: string, scope: string, action: string): Cell {
  const about = rules.filter((rule) => scopeOf(rule) === scope && rule.kinds.includes(kind) && rule.actions.includes(action))
  if (about.some((rule) => rule.effect === 'deny')) return 'deny'
  return about.length > 0 ? 'allow' : 'unset'
}

export function cycled(cell: Cell): Cell {
  return cell === 'unset' ? 'allow' : cell === 'allow' ? 'deny' : 'unset'
}

/** The rules with one cell set, gathered again: equal actions of several kinds are one rule. */
export function rulesOf(rules: readonly Rule[], kind: string, scope: string, action: string, to: Cell): Rule[] {
  const scopes = scopesOf(rules)
  const made: Rule[] = []
  for (const where of scopes) {
    for (const effect of ['allow', 'deny'] as const) {
      const byActions = new Map<string, string[]>()
      for (const one of kinds) {
        const held = actions.filter((each) => {
          const isIt = one === kind && where === scope && each === action
          return (isIt ? to : cellOf(rules, one, where, each)) === effect
        })
        if (held.length > 0) byActions.set(held.join(' '), [...(byActions.get(held.join(' ')) ?? []), one])
      }
      for (const [held, of] of byActions) {
        const objects = where.startsWith('tag:') ? { tag: where.slice(4) } : { name: where }
        made.push({ effect, kinds: of, objects, actions: held.split(' ') })
      }
    }
  }
  return made
}

export interface Change {
  kind: string
  where: string
  action: string
  before: Cell
  after: Cell
}

export function changes(before: readonly Rule[], after: readonly Rule[]): Change[] {
  const found: Change[] = []
  for (const where of new Set([...scopesOf(before), ...scopesOf(after)])) {
    for (const kind of kinds) {
      for (const action of actions) {
        const [was, is] = [cellOf(before, kind, where, action), cellOf(after, kind, where, action)]
        if (was !== is) found.push({ kind, where, action, before: was, after: is })
      }
    }
  }
  return found
}
