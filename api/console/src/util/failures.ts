// Failures of one kind together.

import type { FailedRun } from '../api/types'
import { grouped } from './grouped'

export interface FailureGroup {
  /** What they have in common; null where nothing is said of the cause. */
  cause: string | null
  runs: FailedRun[]
  dags: string[]
}

/** A cause without what differs from run to run: numbers, dates, addresses, identities. */
export function fingerprint(cause: string): string {
  return cause
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/gi, '#')
    .replace(/\b0x[0-9a-f]+\b|\b[0-9a-f]{16,}\b/gi, '#')
    .replace(/\d+([.:,T-]\d+)*Z?/g, '#')
    .replace(/\s+/g, ' ')
    .trim()
}

export function causeOf(run: FailedRun, exited: (code: number) => string): string | null {
  const said = run.task?.reason ?? run.reason
  if (said !== null && said !== undefined) return said
  const code = run.task?.exit_code
  return code === null || code === undefined ? null : exited(code)
}

/**
 * Runs that failed for one cause, over all DAGs; where no cause is said, those of one task. The group of the last failure comes first,
 * its last run first.
 */
export function failures(failed: readonly FailedRun[], exited: (code: number) => string): FailureGroup[] {
  const kind = (run: FailedRun) => {
    const cause = causeOf(run, exited)
    // An exit code alone says nothing that two tasks could have in common.
    const isTelling = cause !== null && (run.task?.reason ?? run.reason ?? null) !== null && !/^(it )?exited with code \d+$/.test(cause)
    return isTelling ? fingerprint(cause) : JSON.stringify([run.dag_id, run.task?.task_id, cause])
  }
  return [...grouped(failed, kind).values()].map((runs) => {
    const [first] = runs
    return { cause: first === undefined ? null : causeOf(first, exited), runs, dags: [...new Set(runs.map((run) => run.dag_id))] }
  })
}
