import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { api, expect, signIn, test, trigger, until } from '../e2e/helpers'
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
})

test.afterAll(() => api('PATCH', '/api/v2/dags/waits/dagRuns/seen', { state: 'failed' }))

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
