import type { CDPSession, Page } from '@playwright/test'
import { api, expect, signIn, test, trigger, until } from '../e2e/helpers'

const figures: [string, string][] = []
const say = (what: string, value: string) => figures.push([what, value])
const ms = (value: number) => `${Math.round(value)} ms`

test.afterAll(() => {
  for (const [what, value] of figures) process.stdout.write(`${what.padEnd(64)} ${value}\n`)
})

interface Frames {
  p95: number
  longest: number
}

/** Scrolls something by steps, one in each frame, and says how long frames took. */
async function scrolled(page: Page, selector: string, dx: number, dy: number): Promise<Frames> {
  return page.evaluate(
    async ([where, x, y]) => {
      const element = document.querySelector(where) ?? document.scrollingElement
      const times: number[] = []
      let last = performance.now()
      for (let step = 0; step < 120; step += 1) {
        element?.scrollBy(x, y)
        await new Promise((next) => requestAnimationFrame(next))
        const now = performance.now()
        times.push(now - last)
        last = now
      }
      times.sort((a, b) => a - b)
      return { p95: times[Math.floor(times.length * 0.95)] ?? 0, longest: times.at(-1) ?? 0 }
    },
    [selector, dx, dy] as const,
  )
}

async function cold(page: Page): Promise<CDPSession> {
  const session = await page.context().newCDPSession(page)
  await session.send('Network.enable')
  await session.send('Network.setCacheDisabled', { cacheDisabled: true })
  return session
}

test('figures', async ({ page }) => {
  for (let n = 0; n < 100; n += 1) await trigger('wide', `r${String(n).padStart(3, '0')}`)
  await trigger('talks', 'long')
  for (let n = 0; n < 100; n += 10) await until('wide', `r${String(n).padStart(3, '0')}`, ['success'])
  await until('wide', 'r099', ['success'])
  await until('talks', 'long', ['success'])
  await signIn(page)
  await cold(page)

  let requests: string[] = []
  page.on('request', (request) => requests.push(request.url()))
  const loaded = async (path: string, ready: string) => {
    await page.goto('about:blank')
    requests = []
    const began = Date.now()
    await page.goto(path, { waitUntil: 'commit' })
    await page.locator(ready).first().waitFor()
    const useful = Date.now() - began
    const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0)
    const blocked = await page.evaluate(
      () =>
        new Promise<number>((done) => {
          let sum = 0
          new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) sum += Math.max(0, entry.duration - 50)
          }).observe({ type: 'longtask', buffered: true })
          setTimeout(() => done(sum), 300)
        }),
    )
    const nodes = await page.evaluate(() => document.querySelectorAll('*').length)
    return { useful, paint, blocked, nodes, requests: requests.filter((url) => !url.includes('/events')).length }
  }
  for (const [name, path, ready] of [
    ['Home', '/t/default', '#needs'],
    ['DAG list of 2,500', '/t/default/dags', '[data-index="0"]'],
    ['grid of 1,000 by 100', '/t/default/dags/wide', '[role=gridcell][data-s]'],
  ] as const) {
    if (path.endsWith('/wide')) await page.evaluate(() => localStorage.setItem('updraft-preferences', JSON.stringify({ runs: 100 })))
    const found = await loaded(path, ready)
    say(`${name}: first contentful paint`, ms(found.paint))
    say(`${name}: useful`, ms(found.useful))
    say(`${name}: main thread blocked`, ms(found.blocked))
    say(`${name}: nodes`, String(found.nodes))
    say(`${name}: requests`, String(found.requests))
  }
  const grid = await page.evaluate(async () => {
    const began = performance.now()
    const answer = await fetch('/t/default/api/updraft/v1/dags/wide/grid?runs=100')
    const text = await answer.text()
    return { took: performance.now() - began, bytes: text.length }
  })
  say('grid of 1,000 by 100: the answer', `${ms(grid.took)}, ${Math.round(grid.bytes / 1024)} KiB`)
  const down = await scrolled(page, '[role=grid]', 0, 60)
  say('grid: scroll down, frame p95 / longest', `${ms(down.p95)} / ${ms(down.longest)}`)
  const across = await scrolled(page, '[role=grid]', -24, 0)
  say('grid: scroll across, frame p95 / longest', `${ms(across.p95)} / ${ms(across.longest)}`)

  await page.goto('/t/default/dags')
  await page.locator('[data-index="0"]').waitFor()
  const list = await scrolled(page, 'html', 0, 200)
  say('DAG list: scroll, frame p95 / longest', `${ms(list.p95)} / ${ms(list.longest)}`)

  const graph = Date.now()
  await page.goto('/t/default/dags/wide/graph')
  await page.locator('.react-flow__node').first().waitFor()
  say('graph of 1,000 tasks, folded: drawn', ms(Date.now() - graph))

  const log = Date.now()
  await page.goto('/t/default/dags/talks/runs/long/tasks/much')
  await page.locator('[role=log] [data-index]').first().waitFor()
  say('log of 10 MB: first lines', ms(Date.now() - log))
  await expect(page.getByText('Load more').or(page.getByText('100 k lines'))).toBeVisible()
  say('log of 10 MB: 50,000 lines', ms(Date.now() - log))
  const lines = await scrolled(page, '[role=log]', 0, -400)
  say('log: scroll, frame p95 / longest', `${ms(lines.p95)} / ${ms(lines.longest)}`)

  await page.goto('/t/default')
  await page.getByRole('status', { name: /^Live/ }).waitFor()
  await page.waitForTimeout(3_000)
  requests = []
  await page.waitForTimeout(60_000)
  say('Home: requests of an idle minute', String(requests.length))

  await page.goto('/t/default/dags/many_0000')
  await page.getByRole('status', { name: /^Live/ }).waitFor()
  const waits: number[] = []
  for (let n = 0; n < 20; n += 1) {
    const asked = Date.now()
    await trigger('many_0000', `e${n}`)
    await page.locator(`[role=grid] button[title^="e${n} · success"]`).waitFor()
    const run = await api<{ end_date: string }>('GET', `/api/v2/dags/many_0000/dagRuns/e${n}`)
    waits.push(Math.max(0, Date.now() - Math.max(asked, Date.parse(run.end_date))))
  }
  waits.sort((a, b) => a - b)
  say('event to pixels, p50 / p95', `${ms(waits[10] ?? 0)} / ${ms(waits[19] ?? 0)}`)
})
