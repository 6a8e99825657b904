// The grid as bytes: one for each run and row, never an object for a cell.

import type { TaskState } from '../theme/states'
import type { ChangedRun, GridAnswer, GridRow, GridRun } from './types'

export interface Grid {
  rows: GridRow[]
  /** The newest first. */
  runs: GridRun[]
  cells: Uint8Array
  detail: Map<string, Partial<Record<TaskState, number>>>
  states: TaskState[]
  before: string | null
  hash: string
}

const STATE = 0b1111
export const TRIED = 1 << 4
export const MARKED = 1 << 5
export const DETAILED = 1 << 6

export function decode(answer: GridAnswer): Grid {
  const text = atob(answer.cells)
  const cells = new Uint8Array(text.length)
  for (let at = 0; at < text.length; at += 1) cells[at] = text.charCodeAt(at)
  const names = answer.runs.map((run) => run.id)
  // By name, so that a new column moves nothing.
  const detail = new Map(
    Object.entries(answer.detail).map(([place, counts]) => {
      const [column, row] = place.split(',').map(Number)
      return [`${names[column ?? 0]}\n${row}`, counts]
    }),
  )
  const { runs, states, before, structure } = answer
  return { rows: structure.rows, runs, cells, detail, states, before, hash: structure.hash }
}

export function byteAt(grid: Grid, run: number, row: number): number {
  return grid.cells[run * grid.rows.length + row] ?? 0
}

/** The state that a byte tells; none if the run has no such task. */
export function stateOf(grid: Pick<Grid, 'states'>, byte: number): TaskState | null {
  const number = byte & STATE
  return number === 0 ? null : (grid.states[number - 1] ?? null)
}

const severity: Record<TaskState, number> = {
  failed: 13,
  upstream_failed: 12,
  awaiting_input: 11,
  up_for_retry: 10,
  running: 9,
  restarting: 8,
  up_for_reschedule: 7,
  deferred: 6,
  queued: 5,
  scheduled: 4,
  none: 3,
  success: 2,
  skipped: 1,
  removed: 0,
}

/** What a folded group shows of what is in it: the most telling state. */
export function groupByte(grid: Grid, run: number, rows: readonly number[]): number {
  let worst = 0
  let rank = -1
  for (const row of rows) {
    const byte = byteAt(grid, run, row)
    const state = stateOf(grid, byte)
    if (state !== null && severity[state] > rank) {
      rank = severity[state]
      worst = byte & STATE
    }
  }
  return worst
}

/** Rows that are in each group, at any depth, tasks only. */
export function inside(rows: readonly GridRow[]): Map<string, number[]> {
  const parents = new Map(rows.filter((row) => row.kind === 'group').map((row) => [row.id, row.parent]))
  const found = new Map<string, number[]>([...parents.keys()].map((id) => [id, []]))
  rows.forEach((row, index) => {
    if (row.kind === 'group') return
    for (let group = row.parent; group !== undefined; group = parents.get(group)) found.get(group)?.push(index)
  })
  return found
}

/** The rows that are shown while those groups are folded. */
export function shown(rows: readonly GridRow[], folded: ReadonlySet<string>, text: string): number[] {
  const hidden = new Set<string>()
  const visible: number[] = []
  rows.forEach((row, index) => {
    const isHidden = row.parent !== undefined && (hidden.has(row.parent) || folded.has(row.parent))
    if (isHidden && row.kind === 'group') hidden.add(row.id)
    const fits = text === '' || (row.kind !== 'group' && row.id.toLowerCase().includes(text.toLowerCase()))
    if (fits && (!isHidden || text !== '')) visible.push(index)
  })
  return visible
}

/** The grid after a run changed; the same one if that changes nothing in it. `most` is how many columns it may have. */
export function patched(grid: Grid, change: ChangedRun, most: number): Grid {
  const width = grid.rows.length
  let { runs, cells } = grid
  let column = runs.findIndex((run) => run.id === change.run.id)
  if (column < 0) {
    const newest = runs[0]
    if (newest !== undefined && Date.parse(change.run.run_after) < Date.parse(newest.run_after)) return grid
    runs = [change.run, ...runs].slice(0, most)
    const wider = new Uint8Array(runs.length * width)
    wider.set(cells.subarray(0, (runs.length - 1) * width), width)
    cells = wider
    column = 0
  } else {
    runs = runs.with(column, change.run)
    cells = cells.slice()
  }
  const places = new Map(grid.rows.map((row, index) => [row.id, index]))
  for (const [task, byte] of change.cells) {
    const row = places.get(task)
    if (row !== undefined) cells[column * width + row] = byte
  }
  return { ...grid, runs, cells }
}
