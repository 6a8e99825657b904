import { expect, test } from 'vitest'
import type { Rule } from '../../api/types'
import { cellOf, changes, cycled, rulesOf } from './matrix'

const rules: Rule[] = [
  { effect: 'allow', kinds: ['dag', 'run'], objects: { name: '*' }, actions: ['read'] },
  { effect: 'deny', kinds: ['run'], objects: { tag: 'pii' }, actions: ['read', 'change'] },
]

test('cells say what rules say', () => {
  expect(cellOf(rules, 'dag', '*', 'read')).toBe('allow')
  expect(cellOf(rules, 'run', 'tag:pii', 'change')).toBe('deny')
  expect(cellOf(rules, 'dag', 'tag:pii', 'read')).toBe('unset')
})

test('setting a cell changes that cell and no other', () => {
  const after = rulesOf(rules, 'run', '*', 'create', 'allow')
  expect(changes(rules, after)).toEqual([{ kind: 'run', where: '*', action: 'create', before: 'unset', after: 'allow' }])
  expect(changes(after, rulesOf(after, 'run', '*', 'create', 'unset'))).toHaveLength(1)
})

test('a cell turns from unset to allowed to denied', () => {
  expect([cycled('unset'), cycled('allow'), cycled('deny')]).toEqual(['allow', 'deny', 'unset'])
})
