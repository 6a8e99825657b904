import { expect, test } from 'vitest'
import type { Permission } from '../api/types'
import { effective } from './permissions'

const one = (role: string, group: string | null, effect: 'allow' | 'deny', kinds: string[], name: string, actions: string[]): Permission => ({
  role, group, rule: { effect, kinds, objects: { name }, actions },
})

test('a denial goes before what is allowed, and says where it comes from', () => {
  const rows = effective([
    one('viewer', null, 'allow', ['dag', 'run'], '*', ['read']),
    one('careful', 'eng', 'deny', ['run'], '*', ['read']),
    one('loader', 'eng', 'allow', ['run'], 'etl_*', ['create']),
  ])
  const told = rows.map((row) => `${row.kind} ${row.where}: ${Object.entries(row.cells).map(([action, cell]) => `${cell.effect} ${action} by ${cell.by.join('+')}`).join('; ')}`)
  expect(told).toEqual([
    'dag *: allow read by viewer',
    'run *: deny read by careful (eng)',
    'run etl_*: deny read by careful (eng); allow create by loader (eng)',
  ])
})
