import { api, barriers, expect, signIn, test, trigger, until } from './helpers'
import { pages } from './pages'

test.beforeAll(async () => {
  await Promise.all([trigger('breaks', 'seen'), trigger('waits', 'seen'), trigger('groups', 'seen'), trigger('asks', 'seen')])
  await until('breaks', 'seen', ['failed'])
  await until('groups', 'seen', ['success'])
})

test.afterAll(async () => {
  await api('PATCH', '/api/v2/dags/waits/dagRuns/seen', { state: 'failed' })
  await api('PATCH', '/api/v2/dags/asks/dagRuns/seen', { state: 'failed' })
})

for (const scheme of ['light', 'dark'] as const) {
  test(`every page has labels and contrast, ${scheme}`, async ({ page }) => {
    test.setTimeout(180_000)
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' })
    await page.goto('/login')
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
    const found = await barriers(page, 'login')
    await signIn(page)
    for (const [name, path] of pages) {
      await page.goto(path)
      await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
      await expect(page.getByRole('status', { name: 'Loading' })).toHaveCount(0)
      found.push(...(await barriers(page, name)))
    }
    expect(found).toEqual([])
  })
}

test('a phone shows every page without scrolling sideways', async ({ page }) => {
  test.setTimeout(120_000)
  await signIn(page)
  await page.setViewportSize({ width: 390, height: 844 })
  for (const [name, path] of pages) {
    await page.goto(path)
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
    await expect(page.getByRole('status', { name: 'Loading' })).toHaveCount(0)
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
    expect(wide, name).toBeLessThanOrEqual(0)
  }
})
