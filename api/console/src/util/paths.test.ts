import { expect, test } from 'vitest'
import { paths, query } from './paths'

test('names of people are never part of an address as they are', () => {
  const of = paths.of('a/b')
  expect(of.run('d?x', 'manual__2026-01-01T00:00:00+00:00')).toBe(
    '/t/a%2Fb/api/v2/dags/d%3Fx/dagRuns/manual__2026-01-01T00%3A00%3A00%2B00%3A00',
  )
})

test('a query has what is given', () => {
  expect(query({ a: 'x y', b: undefined, c: ['1', '2'], d: 0, e: '' })).toBe('?a=x+y&c=1&c=2&d=0')
  expect(query({})).toBe('')
})
