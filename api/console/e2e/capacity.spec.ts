import { api, barriers, expect, quota, signIn, test, trigger } from './helpers'

test.beforeAll(async () => {
  await api('POST', '/api/updraft/v1/tenants', { name: 'lender' }).catch(() => undefined)
  await quota('cohort', 'research', { quotas: { local: { members: { nominal: 1 } } } })
  await quota('tenant', 'default', { cohort: 'research', quotas: { local: { members: { nominal: 2 } } } })
  await quota('tenant', 'lender', { cohort: 'research', quotas: { local: { members: { nominal: 4 } } } })
})

test.afterAll(async () => {
  await api('PATCH', '/api/v2/dags/crowd/dagRuns/many', { state: 'failed' })
  for (const [kind, name] of [['tenant', 'default'], ['tenant', 'lender'], ['cohort', 'research']]) {
    await api('DELETE', `/api/updraft/v1/quotas/${kind}/${name}`)
  }
})

test('quota bars move while a load runs', async ({ page }) => {
  await signIn(page)
  await page.getByRole('link', { name: 'Capacity' }).click()
  const quotas = page.getByRole('region', { name: 'Quotas' })
  const row = (name: string) => quotas.getByRole('row').filter({ has: page.getByRole('rowheader', { name, exact: true }) })
  const bar = (name: string) => row(name).getByRole('img')
  await expect(bar('default')).toHaveAccessibleName('0 of its 2 used, 0 borrowed, 0 lent')
  await expect(bar('lender')).toHaveAccessibleName('0 of its 4 used, 0 borrowed, 0 lent')
  const width = () => bar('default').locator('rect').nth(3).evaluate((rect) => rect.getBoundingClientRect().width)
  expect(await width()).toBe(0)
  // Nothing is pressed and nothing is loaded again from here on.
  await trigger('crowd', 'many')
  await expect(bar('default')).toHaveAccessibleName('2 of its 2 used, 4 borrowed, 0 lent')
  expect(await width()).toBeGreaterThan(10)
  // One of the borrowed places belongs to the cohort: the rest is lent.
  await expect(bar('lender')).toHaveAccessibleName('0 of its 4 used, 0 borrowed, 3 lent')
  expect(await barriers(page, 'capacity with quotas')).toEqual([])
  await api('PATCH', '/api/v2/dags/crowd/dagRuns/many', { state: 'failed' })
  await expect(bar('default')).toHaveAccessibleName('0 of its 2 used, 0 borrowed, 0 lent')
  await expect(bar('lender')).toHaveAccessibleName('0 of its 4 used, 0 borrowed, 0 lent')
})

test('the queue has places, and says why one waits', async ({ page }) => {
  await trigger('waits', 'queue')
  await signIn(page)
  await page.goto('/t/default/capacity')
  const queue = page.getByRole('region', { name: /^Queue/ })
  await queue.getByRole('button', { name: 'Why wants waits' }).click()
  await expect(queue.getByRole('listitem').filter({ hasText: /of the 1 slots of pool narrow/ })).toBeVisible()
  await api('PATCH', '/api/v2/dags/waits/dagRuns/queue', { state: 'failed' })
  await expect(queue.getByText('Nothing waits for room')).toBeVisible()
})

test('who administers nothing sees their own quota, and the others as a sum', async ({ browser }) => {
  const made = await api<{ initial_password: string }>('POST', '/api/updraft/v1/users', { name: 'quin' })
  await api('PUT', '/api/updraft/v1/grants/user/quin/viewer')
  const context = await browser.newContext({ baseURL: process.env['UPDRAFT_URL'] ?? '' })
  const page = await context.newPage()
  await page.goto('/login?next=/t/default/capacity')
  await page.getByLabel('Name').fill('quin')
  await page.getByLabel('Password', { exact: true }).fill(made.initial_password)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByLabel('New password').fill('words that quin knows')
  await page.getByRole('button', { name: 'Set it and go on' }).click()
  await expect(page.getByRole('navigation', { name: 'Main' })).toBeVisible()
  await page.goto('/t/default/capacity')
  const quotas = page.getByRole('region', { name: 'Quotas' })
  await expect(quotas.getByRole('rowheader', { name: 'default', exact: true })).toBeVisible()
  await expect(quotas.getByRole('rowheader', { name: /^research/ })).toBeVisible()
  await expect(quotas.getByRole('rowheader', { name: 'lender' })).toHaveCount(0)
  await context.close()
})
