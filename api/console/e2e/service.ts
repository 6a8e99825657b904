// Starts a real `updraft standalone` with DAGs of its own on a free port, and gives its administrator a password.

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

export const PASSWORD = 'four words and a dog'

const dags = `
dag: greet
doc: Says hello, slowly.
owner: data
tags: [demo, daily]
schedule: { cron: "0 3 * * *", missed: none }
start_date: 2026-01-01
params:
  name: { type: string, default: world, description: Who is greeted }
  shout: { type: boolean, default: false }
  times: { type: integer, minimum: 1, maximum: 5, default: 1 }
tasks:
  first: { bash: 'echo "hello {{ params.name }}"' }
  slow: { needs: first, bash: 'for i in $(seq 1 40); do echo "line $i"; sleep 0.1; done' }
  last: { needs: slow, bash: "true" }
---
dag: breaks
owner: data
tags: [demo]
tasks:
  good: { bash: "true" }
  boom: { needs: good, bash: 'echo "ERROR no such row"; exit 3' }
  after: { needs: boom, bash: "true" }
---
dag: waits
tags: [demo]
tasks:
  holds: { bash: "sleep 600", pool: narrow, priority: 10 }
  wants: { bash: "true", pool: narrow }
  later: { needs: wants, bash: "true" }
---
dag: asks
tasks:
  release: { approval: { subject: "Release the model?" } }
  deploy: { needs: release, bash: "true" }
---
dag: groups
tasks:
  list: { bash: 'echo "[1,2,3,4]" > "$UPDRAFT_RESULT"' }
  each: { needs: list, map: { item: { output: list } }, bash: 'echo "{{ map.item }}"' }
  sum: { needs: each, bash: "true" }
groups:
  load: { tasks: [each, sum] }
---
dag: crowd
doc: Takes six places, and keeps them until it is ended.
tags: [demo]
tasks:
  w1: { bash: "sleep 600" }
  w2: { bash: "sleep 600" }
  w3: { bash: "sleep 600" }
  w4: { bash: "sleep 600" }
  w5: { bash: "sleep 600" }
  w6: { bash: "sleep 600" }
`

export interface Service {
  url: string
  data: string
}

const binary = process.env['UPDRAFT_BINARY'] ?? resolve(import.meta.dirname, '../../../target/debug/updraft')

export default async function start(): Promise<() => Promise<void>> {
  const given = process.env['UPDRAFT_URL']
  if (given !== undefined) return async () => {}
  if (!existsSync(binary)) throw new Error(`there is no ${binary}: run \`cargo xtask build\` first`)
  const folder = mkdtempSync(join(tmpdir(), 'updraft-console-'))
  const data = join(folder, 'data')
  const others = process.env['UPDRAFT_E2E_DAGS']
  const sources = others ?? join(folder, 'dags')
  if (others === undefined) {
    mkdirSync(sources)
    writeFileSync(join(sources, 'dags.yaml'), dags)
    writeFileSync(join(sources, 'broken.yaml'), 'dag: broken\ntasks:\n  a: { bsh: "true" }\n')
  }
  const settings = (process.env['UPDRAFT_E2E_SETTINGS'] ?? '').split(' ').filter((one) => one !== '')
  const child = spawn(binary, ['standalone', '--dags', sources, '--data', data, '--listen', '127.0.0.1:0', '--set', 'executors.local.slots=8', ...settings.flatMap((one) => ['--set', one])], {
    stdio: ['ignore', 'inherit', 'pipe'],
  })
  const url = await address(child)
  process.env['UPDRAFT_URL'] = url
  process.env['UPDRAFT_DATA'] = data
  process.env['UPDRAFT_SOURCES'] = sources
  await prepare(url, await madePassword(join(data, 'admin-password')))
  return async () => {
    child.kill('SIGTERM')
    setTimeout(() => child.kill('SIGTERM'), 500).unref()
    await new Promise((ended) => child.once('exit', ended))
  }
}

/** The first administrator's password: the service listens before it has a database to make one in. */
async function madePassword(file: string): Promise<string> {
  for (let tries = 0; tries < 600; tries += 1) {
    const found = existsSync(file) ? readFileSync(file, 'utf8').trim() : ''
    if (found !== '') return found
    await new Promise((passed) => setTimeout(passed, 100))
  }
  throw new Error(`the service made no ${file} within a minute`)
}

/** Where the service listens, as its log says. */
function address(child: ChildProcess): Promise<string> {
  return new Promise((found, failed) => {
    let log = ''
    child.once('exit', (code) => failed(new Error(`the service ended with ${code}:\n${log}`)))
    child.stderr?.on('data', (bytes: Buffer) => {
      log += bytes.toString()
      const at = /http:\/\/127\.0\.0\.1:\d+/.exec(log)
      if (at !== null) found(at[0])
    })
  })
}

async function prepare(url: string, first: string): Promise<void> {
  const json = { 'content-type': 'application/json' }
  const token = async (password: string) => {
    const answer = await fetch(`${url}/auth/token`, {
      method: 'POST',
      headers: json,
      body: JSON.stringify({ username: 'admin', password }),
    })
    if (!answer.ok) throw new Error(`no token: ${answer.status} ${await answer.text()}`)
    return ((await answer.json()) as { access_token: string }).access_token
  }
  const send = async (method: string, path: string, body: unknown, with_: string) => {
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: { ...json, authorization: `Bearer ${with_}` },
      body: JSON.stringify(body),
    })
    if (!answer.ok && answer.status !== 409) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
    return answer
  }
  await send('POST', '/api/updraft/v1/me/password', { old: first, new: PASSWORD }, await token(first))
  const admin = await token(PASSWORD)
  await send('POST', '/api/v2/pools', { name: 'narrow', slots: 1 }, admin)
  await send('POST', '/api/v2/variables', { key: 'region', value: 'eu' }, admin)
  await send('POST', '/api/v2/connections', { connection_id: 'warehouse', conn_type: 'postgres', host: 'db.example' }, admin)
}
