// A service with much in it: a DAG of 1,000 tasks with 100 runs, and 2,500 DAGs. Attempts are pretended, so that it takes a minute.

import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import start from '../e2e/service'

const wide = () => {
  const tasks: string[] = []
  const groups: string[] = []
  for (let group = 0; group < 20; group += 1) {
    const names = Array.from({ length: 50 }, (_, at) => `g${group}_t${at}`)
    names.forEach((name, at) => {
      const needs = at === 0 ? '' : `needs: ${names[Math.floor((at - 1) / 3)]}, `
      tasks.push(`  ${name}: { ${needs}bash: "true", executor: pretend }`)
    })
    groups.push(`  group_${group}: { tasks: [${names.join(', ')}] }`)
  }
  return `dag: wide\nmax_active_runs: 4\nmax_active_tasks: 1000\ntasks:\n${tasks.join('\n')}\ngroups:\n${groups.join('\n')}\n`
}

export default async function begin(): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), 'updraft-big-'))
  writeFileSync(join(folder, 'wide.yaml'), wide())
  // A file holds a thousand DAGs at most.
  for (let file = 0; file < 5; file += 1) {
    const many = Array.from({ length: 500 }, (_, n) => {
      const name = `many_${String(file * 500 + n).padStart(4, '0')}`
      return `dag: ${name}\ntags: [t${n % 7}]\ntasks:\n  only: { bash: "true", executor: pretend }\n`
    })
    writeFileSync(join(folder, `many-${file}.yaml`), many.join('---\n'))
  }
  writeFileSync(
    join(folder, 'log.yaml'),
    `dag: talks\ntasks:\n  much: { bash: 'for i in $(seq 1 100000); do echo "line $i of a log that is about as long as a hundred bytes, which is what lines usually have"; done' }\n`,
  )
  process.env['UPDRAFT_E2E_DAGS'] = folder
  process.env['UPDRAFT_E2E_SETTINGS'] = 'executors.pretend.kind=noop scheduler.default_pool_slots=2000'
  return start()
}
