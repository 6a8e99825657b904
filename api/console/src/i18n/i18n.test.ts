import { expect, test } from 'vitest'
import en from './en.json'
import { fill } from './index'
import zh from './zh-CN.json'

/** The values that a text takes: forms of a plural are text, not values. */
const values = (text: string) => {
  const flat = text.replaceAll(/\{(\w+), plural,(?:\s*(?:=\d+|\w+)\s*\{[^{}]*\})+\s*\}/g, '{$1}')
  return [...new Set([...flat.matchAll(/\{(\w+)\}/g)].map((found) => found[1]))].toSorted()
}

test('every language has every text, with the same values', () => {
  expect(Object.keys(zh).toSorted()).toEqual(Object.keys(en).toSorted())
  for (const [key, text] of Object.entries(en)) {
    expect(values((zh as Record<string, string>)[key] ?? ''), key).toEqual(values(text))
  }
})

test('numbers choose their form', () => {
  const text = '{n, plural, =0 {no runs} one {# run} other {# runs}} of {dag}'
  expect(fill(text, { n: 0, dag: 'd' }, 'en')).toBe('no runs of d')
  expect(fill(text, { n: 1, dag: 'd' }, 'en')).toBe('1 run of d')
  expect(fill(text, { n: 1234, dag: 'd' }, 'en')).toBe('1,234 runs of d')
})
