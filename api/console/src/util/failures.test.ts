import { expect, test } from 'vitest'
import type { FailedRun } from '../api/types'
import { failures, fingerprint } from './failures'

const run = (dag: string, id: string, task: string, reason: string | null, code: number | null = 1): FailedRun => ({
  dag_id: dag, run_id: id, ended_at: null, reason: null, failed_tasks: 1,
  task: { task_id: task, map_index: -1, try_number: 1, reason, exit_code: code },
})
const exited = (code: number) => `exit code ${code}`

test('what differs from run to run is no part of a cause', () => {
  expect(fingerprint('bad row 4711 in orders-2026-11-22.csv')).toBe(fingerprint('bad row 12 in orders-2026-11-23.csv'))
  expect(fingerprint('worker 0190f3c2-1111-7abc-8def-001122334455 is lost')).toBe('worker # is lost')
  expect(fingerprint('no such table')).not.toBe(fingerprint('no such row'))
})

test('one cause in several DAGs is one thing to mend', () => {
  const found = failures(
    [run('a', '1', 'x', 'ImportError: no module 17'), run('b', '2', 'y', 'ImportError: no module 18'), run('a', '3', 'x', 'ImportError: no module 19')],
    exited,
  )
  expect(found.map((group) => [group.dags, group.runs.length])).toEqual([[['a', 'b'], 3]])
})

test('an exit code alone is no common cause', () => {
  const found = failures([run('a', '1', 'x', 'exited with code 3'), run('b', '2', 'x', 'exited with code 3'), run('c', '3', 'x', null)], exited)
  expect(found.map((group) => group.cause)).toEqual(['exited with code 3', 'exited with code 3', 'exit code 1'])
})
