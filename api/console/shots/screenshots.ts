import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { api, deploy, expect, quota, signIn, test, trigger, until } from '../e2e/helpers'
import { pages } from '../e2e/pages'

const folder = process.env['UPDRAFT_SHOTS'] ?? join(import.meta.dirname, '../../../docs/screenshots')
const views = [
  { name: 'light', scheme: 'light', width: 1440, height: 900 },
  { name: 'dark', scheme: 'dark', width: 1440, height: 900 },
  { name: 'phone', scheme: 'light', width: 390, height: 844 },
] as const

test.beforeAll(async () => {
  test.setTimeout(300_000)
  for (let n = 0; n < 14; n += 1) {
    await Promise.all([trigger('groups', `day-${n}`), trigger('breaks', `day-${n}`)])
    await until('groups', `day-${n}`, ['success'])
    await until('breaks', `day-${n}`, ['failed'])
  }
  await Promise.all([trigger('breaks', 'seen'), trigger('waits', 'seen'), trigger('groups', 'seen'), trigger('asks', 'seen'), trigger('greet', 'seen')])
  await until('breaks', 'seen', ['failed'])
  await until('groups', 'seen', ['success'])
  const first = 'dag: evolves\ntasks:\n  one: { bash: "true" }\n'
  await deploy('evolves.yaml', first, 'evolves', 1)
  await deploy('evolves.yaml', `# Now with a second task.\n${first.replace('"true" }', '"echo more", retries: 2 }')}  two: { needs: one, bash: "true" }\n`, 'evolves', 2)
  for (const [name, nominal] of [['vision', 4], ['speech', 3]] as const) {
    await api('POST', '/api/updraft/v1/tenants', { name }).catch(() => undefined)
    await quota('cohort', 'research', { quotas: { local: { members: { nominal: 1 } } } })
    await quota('tenant', name, { cohort: 'research', quotas: { local: { members: { nominal, lend: 2 } } } })
  }
  await quota('tenant', 'default', { cohort: 'research', quotas: { local: { members: { nominal: 2, borrow: 3 } } } })
  await api('PUT', '/api/updraft/v1/groups/engineers', { users: ['admin'] })
  await api('PUT', '/api/updraft/v1/grants/group/engineers/operator')
  await api('POST', '/api/updraft/v1/service-accounts', { name: 'deployer' }).catch(() => undefined)
  await trigger('crowd', 'many')
})

test.afterAll(async () => {
  for (const dag of ['waits', 'asks']) await api('PATCH', `/api/v2/dags/${dag}/dagRuns/seen`, { state: 'failed' })
  await api('PATCH', '/api/v2/dags/crowd/dagRuns/many', { state: 'failed' })
})

for (const { name: view, scheme, width, height } of views) {
  test(`pages, ${view}`, async ({ page }) => {
    test.setTimeout(240_000)
    mkdirSync(folder, { recursive: true })
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' })
    const shot = (name: string) =>
      page.screenshot({ path: join(folder, `${name}-${view}.jpg`), type: 'jpeg', quality: 62, animations: 'disabled' })
    await page.goto('/login')
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
    await page.setViewportSize({ width, height })
    await shot('login')
    await page.setViewportSize({ width: 1440, height: 900 })
    await signIn(page)
    await page.setViewportSize({ width, height })
    for (const [name, path] of pages) {
      await page.goto(path)
      await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
      await expect(page.getByRole('status', { name: 'Loading' })).toHaveCount(0)
      await page.evaluate(() => document.fonts.ready)
      if (path.endsWith('/graph')) await page.locator('.react-flow__node').first().waitFor()
      await shot(name)
    }
    if (view === 'phone') return
    await page.goto('/t/default/dags/evolves/code?version=2&against=1')
    await expect(page.getByRole('region', { name: 'From v1 to v2' })).toBeVisible()
    await shot('dag-diff')
    await page.goto('/t/default/dags?name=gr')
    await page.getByLabel('Select all that are listed').check()
    await page.getByRole('button', { name: 'Trigger…' }).click()
    await expect(page.getByRole('button', { name: 'Trigger 2 DAGs' })).toBeVisible()
    await shot('bulk')
    await page.goto('/t/default/dags/greet/backfills')
    await page.getByRole('button', { name: 'New backfill' }).click()
    await page.getByLabel('First date').fill('2026-02-01')
    await page.getByLabel('Last date').fill('2026-02-09')
    await expect(page.getByRole('button', { name: /^Start \d/ })).toBeVisible()
    await shot('backfill-preview')
    await page.goto('/t/default/dags/breaks/runs/seen/tasks/boom')
    await page.getByRole('button', { name: 'Clear…' }).click()
    await expect(page.getByRole('button', { name: /^Clear \d/ })).toBeVisible()
    await shot('clear')
    await page.goto('/t/default/dags/greet')
    await page.getByRole('button', { name: 'Trigger', exact: true }).click()
    await expect(page.getByRole('button', { name: 'Start the run' })).toBeVisible()
    await shot('trigger')
    await page.goto('/t/default')
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
    await page.keyboard.press('Control+k')
    await expect(page.getByPlaceholder('A DAG or a page')).toBeVisible()
    await page.getByPlaceholder('A DAG or a page').fill('gr')
    await expect(page.getByText('greet').last()).toBeVisible()
    await shot('palette')
  })
}
