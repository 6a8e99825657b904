import { expect, test } from 'vitest'
import { byteAt, decode, groupByte, inside, patched, shown, stateOf } from './grid'
import type { GridAnswer, GridRun } from './types'

const run = (id: string, after: string): GridRun => ({
  id, state: 'running', run_type: 'manual', run_after: after, logical_date: null, queued_at: after, started_at: null,
  ended_at: null, version: 'v', backfill: null, note: null, reason: null,
})
const answer: GridAnswer = {
  structure: {
    hash: 'h',
    rows: [
      { id: 'a', kind: 'task', depth: 0 },
      { id: 'g', kind: 'group', depth: 0 },
      { id: 'b', kind: 'task', depth: 1, parent: 'g' },
      { id: 'c', kind: 'mapped', depth: 1, parent: 'g' },
    ],
  },
  runs: [run('r2', '2026-01-02T00:00:00Z'), run('r1', '2026-01-01T00:00:00Z')],
  cells: btoa(String.fromCharCode(1, 0, 2, 66, 2, 0, 2, 1)),
  detail: { '0,3': { success: 4, failed: 1 } },
  states: ['success', 'failed'],
  before: null,
}

test('cells are read by run and row', () => {
  const grid = decode(answer)
  expect(stateOf(grid, byteAt(grid, 0, 0))).toBe('success')
  expect(stateOf(grid, byteAt(grid, 0, 3))).toBe('failed')
  expect(stateOf(grid, byteAt(grid, 0, 1))).toBeNull()
  expect(grid.detail.get('r2\n3')).toEqual({ success: 4, failed: 1 })
})

test('a folded group shows the worst of what is in it', () => {
  const grid = decode(answer)
  expect(stateOf(grid, groupByte(grid, 1, inside(grid.rows).get('g') ?? []))).toBe('failed')
  expect(shown(grid.rows, new Set(['g']), '')).toEqual([0, 1])
  expect(shown(grid.rows, new Set(), '')).toEqual([0, 1, 2, 3])
  expect(shown(grid.rows, new Set(['g']), 'B')).toEqual([2])
})

test('a change touches its cells, a new run is a new column, an old one is none', () => {
  const grid = decode(answer)
  const changed = patched(grid, { dag_id: 'd', run: run('r1', '2026-01-01T00:00:00Z'), cells: [['a', 1]] }, 2)
  expect([byteAt(changed, 1, 0), byteAt(changed, 0, 0), byteAt(grid, 1, 0)]).toEqual([1, 1, 2])
  const wider = patched(grid, { dag_id: 'd', run: run('r3', '2026-01-03T00:00:00Z'), cells: [['c', 2]] }, 2)
  expect(wider.runs.map((one) => one.id)).toEqual(['r3', 'r2'])
  expect([byteAt(wider, 0, 3), byteAt(wider, 0, 0), byteAt(wider, 1, 0)]).toEqual([2, 0, 1])
  expect(patched(grid, { dag_id: 'd', run: run('r0', '2025-01-01T00:00:00Z'), cells: [] }, 2)).toBe(grid)
})
