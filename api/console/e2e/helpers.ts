import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type Page, expect, test as base } from '@playwright/test'
import { PASSWORD } from './service'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

export function url(): string {
  const given = process.env['UPDRAFT_URL']
  if (given === undefined) throw new Error('UPDRAFT_URL is not set')
  return given
}

/** A page whose every error fails the test: what breaks a policy of the browser is one. */
export const test = base.extend<{ page: Page }>({
  page: async ({ browser }, give) => {
    const context = await browser.newContext({ baseURL: url() })
    const page = await context.newPage()
    const wrong: string[] = []
    page.on('pageerror', (error) => wrong.push(String(error)))
    page.on('console', (message) => {
      // What was refused on purpose is said by the browser as well.
      const isAnswer = /the server responded with a status of (401|403|404|422)/.test(message.text())
      if (message.type() === 'error' && !isAnswer) wrong.push(message.text())
    })
    page.on('request', (request) => {
      const to = new URL(request.url())
      if (!['data:', 'blob:'].includes(to.protocol) && to.origin !== url()) wrong.push(`a request to ${to.origin}`)
    })
    await give(page)
    await context.close()
    expect(wrong).toEqual([])
  },
})

export { expect }

export async function signIn(page: Page, name = 'admin', password = PASSWORD): Promise<void> {
  await page.goto('/login')
  await page.getByLabel('Name').fill(name)
  await page.getByLabel('Password', { exact: true }).fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await expect(page.getByRole('navigation', { name: 'Main' })).toBeVisible()
}

let token: string | undefined

/** Asks the API as the administrator: for what the console has no page for, and to bring the service to a state. */
export async function api<T = unknown>(method: string, path: string, body?: unknown): Promise<T> {
  token ??= await (async () => {
    const answer = await fetch(`${url()}/auth/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username: 'admin', password: PASSWORD }),
    })
    return ((await answer.json()) as { access_token: string }).access_token
  })()
  const answer = await fetch(`${url()}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
  return (text === '' ? undefined : JSON.parse(text)) as T
}

/** Starts a run, unless it is there: after a failed test the next worker begins anew. */
export async function trigger(dag: string, name: string, conf = {}): Promise<void> {
  const isThere = await api('GET', `/api/v2/dags/${dag}/dagRuns/${name}`).then(() => true, () => false)
  if (!isThere) await api('POST', `/api/v2/dags/${dag}/dagRuns`, { logical_date: null, dag_run_id: name, conf })
}

/** Waits until a run is in one of these states. */
export async function until(dag: string, run: string, states: readonly string[]): Promise<string> {
  let state = ''
  await expect(async () => {
    state = (await api<{ state: string }>('GET', `/api/v2/dags/${dag}/dagRuns/${run}`)).state
    expect(states).toContain(state)
  }).toPass({ timeout: 40_000 })
  return state
}

interface Violation {
  id: string
  impact: string | null
  nodes: { html: string; failureSummary?: string }[]
}

/** What axe calls serious about the page. */
export async function barriers(page: Page, what: string): Promise<string[]> {
  // Evaluated by the debugger, which no policy of the page binds.
  await page.evaluate(axe)
  const found = await page.evaluate(async () => {
    const run = (globalThis as unknown as { axe: { run(options: object): Promise<{ violations: Violation[] }> } }).axe
    const { violations } = await run.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'], resultTypes: ['violations'] })
    return violations
  })
  return found
    .filter((one) => one.impact === 'serious' || one.impact === 'critical')
    .map((one) => `${what}: ${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 200)} ${node.failureSummary ?? ''}`).join(' | ')}`)
}

/** Sets a quota, whatever it was. */
export async function quota(kind: 'tenant' | 'cohort', name: string, body: unknown): Promise<void> {
  await api('PUT', `/api/updraft/v1/quotas/${kind}/${name}`, body)
}

/** Writes a file of DAGs into the folder that the service watches, and waits until a DAG of it has that many versions. */
export async function deploy(file: string, text: string, dag: string, versions: number): Promise<void> {
  writeFileSync(join(process.env['UPDRAFT_SOURCES'] ?? '', file), text)
  await expect(async () => {
    const found = await api<{ total_entries: number }>('GET', `/api/v2/dags/${dag}/dagVersions`)
    expect(found.total_entries).toBe(versions)
  }).toPass({ timeout: 40_000 })
}
