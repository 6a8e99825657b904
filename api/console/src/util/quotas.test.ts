import { expect, test } from 'vitest'
import type { QuotaView } from '../api/types'
import { resources, rowsOf, unitOf } from './quotas'

const view = (kind: 'cohort' | 'tenant', name: string, cohort: string | null, guaranteed: number, used: number, lend?: number): QuotaView => ({
  kind, name, cohort, set: true, weight: '1', share_per_mille: 0, waiting: 2,
  amounts: [{
    executor: 'local', resource: 'members', quota: { nominal: guaranteed, ...(lend === undefined ? {} : { lend }) }, guaranteed, used,
    borrowed: Math.max(0, used - guaranteed), lent: 0, limit: null, available: 0,
  }],
})

test('a cohort comes before what belongs to it', () => {
  const views = [view('cohort', 'research', 'root', 8, 7), view('cohort', 'root', null, 12, 7), view('tenant', 'vision', 'research', 4, 6), view('tenant', 'lone', 'root', 0, 0)]
  const rows = rowsOf(views, 'local members', true)
  expect(rows.map((row) => `${row.depth} ${row.name} ${row.own}+${row.borrowed}`)).toEqual(['0 root 7+0', '1 research 7+0', '2 vision 4+2', '1 lone 0+0'])
})

test('who sees one tenant sees the others as a sum', () => {
  const rows = rowsOf([view('cohort', 'root', null, 12, 7), view('tenant', 'own', 'root', 4, 3, 2)], 'local members', false)
  // It keeps two to itself, so one of its three counts above.
  expect(rows.map((row) => `${row.kind} ${row.own}`)).toEqual(['cohort 7', 'tenant 3', 'others 6'])
})

test('what everybody asks for comes first, and has its unit', () => {
  const one = view('tenant', 'a', null, 1, 0)
  one.amounts.unshift({ ...one.amounts[0], executor: 'far', resource: 'cpu', quota: null, guaranteed: 0, used: 0, borrowed: 0, lent: 0, limit: null, available: 0 })
  expect(resources([one])).toEqual(['local members', 'far cpu'])
  expect(['far cpu', 'far memory', 'far gpu/H100'].map(unitOf)).toEqual(['cpu', 'bytes', 'plain'])
})
