import { expect, test } from 'vitest'
import { level, pieces } from './ansi'

test('colours become pieces, other escapes vanish', () => {
  expect(pieces('a\u001B[1;31mred\u001B[0m b\u001B[2K')).toEqual([
    { text: 'a' }, { text: 'red', bold: true, colour: 'red' }, { text: ' b' },
  ])
  expect(pieces('\u001B]8;;javascript:alert(1)\u0007link\u001B]8;;\u0007')).toEqual([{ text: 'link' }])
  expect(pieces('plain \u0008\u0007<b>')).toEqual([{ text: 'plain <b>' }])
})

test('characters that turn text around are shown as such', () => {
  expect(pieces('rm \u202Efdp.exe')[0]?.text).toBe('rm \uFFFDfdp.exe')
})

test('levels are found', () => {
  expect(level('2026-01-01 ERROR no')).toBe('error')
  expect(level('ValueError: bad row')).toBe('error')
  expect(level('WARNING: x')).toBe('warn')
  expect(level('all is well')).toBeNull()
})
