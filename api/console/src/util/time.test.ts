import { expect, test } from 'vitest'
import { absolute, duration, offsetAt, relative } from './time'

test.each([
  [0.42, '0.4 s'], [12.9, '12 s'], [192, '3:12'], [3840, '1 h 04'], [183_600, '2 d 3 h'], [null, '–'],
])('%s seconds are %s', (seconds, text) => expect(duration(seconds)).toBe(text))

test('an instant is shown in a zone with its offset', () => {
  const at = Date.parse('2026-07-01T00:00:00Z')
  expect(absolute(at, 'UTC')).toBe('2026-07-01 00:00:00 UTC')
  expect(absolute(at, 'Europe/Zurich')).toBe('2026-07-01 02:00:00 +02:00')
  expect(offsetAt(at, 'Europe/Zurich')).toBe(120)
  expect(offsetAt(Date.parse('2026-12-01T00:00:00Z'), 'America/St_Johns')).toBe(-210)
})

test('distances are told in the largest unit', () => {
  expect(relative(0, 42_000)).toBe('42 sec. ago')
  expect(relative(3_600_000, 0)).toBe('in 1 hr.')
})
