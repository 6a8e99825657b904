import { expect, test } from 'vitest'
import { changes, diff, hunks } from './diff'

const shown = (before: string, after: string) =>
  diff(before, after).map((line) => `${{ same: ' ', gone: '-', new: '+' }[line.kind]}${line.text}`)

test('the shortest way from one text to the other', () => {
  expect(shown('a\nb\nc\n', 'a\nc\nd\n')).toEqual([' a', '-b', ' c', '+d'])
  expect(shown('a\nb\nc\na\nb\nb\na', 'c\nb\na\nb\na\nc').filter((line) => !line.startsWith(' '))).toHaveLength(5)
  expect(shown('same', 'same')).toEqual([' same'])
  expect(shown('', 'x\ny')).toEqual(['-', '+x', '+y'])
})

test('applying it gives the new text, whatever the texts are', () => {
  let seed = 7
  const next = (n: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n
  for (let round = 0; round < 200; round += 1) {
    const text = () => Array.from({ length: next(14) }, () => 'abcd'[next(4)]).join('\n')
    const [before, after] = [text(), text()]
    const lines = diff(before, after)
    expect(lines.filter((line) => line.kind !== 'new').map((line) => line.text).join('\n')).toBe(before)
    expect(lines.filter((line) => line.kind !== 'gone').map((line) => line.text).join('\n')).toBe(after)
  }
})

test('lines that stay are left out but for those around a change', () => {
  const before = Array.from({ length: 20 }, (_, n) => `line ${n}`)
  const after = before.with(10, 'other')
  const found = hunks(diff(before.join('\n'), after.join('\n')), 1)
  expect(found.map((line) => line?.text ?? '…')).toEqual(['…', 'line 9', 'line 10', 'other', 'line 11', '…'])
  expect(found[2]?.old).toBe(11)
})

test('a model is compared by its tasks', () => {
  const before = { dag_id: 'd', schedule: 'a', tasks: [{ task_id: 'x', retries: 1 }, { task_id: 'y' }] }
  const after = { dag_id: 'd', schedule: 'b', tasks: [{ task_id: 'x', retries: 2 }, { task_id: 'z' }] }
  expect(changes(before, after)).toEqual([
    { what: 'added', task: 'z', fields: [] },
    { what: 'removed', task: 'y', fields: [] },
    { what: 'changed', task: 'x', fields: ['retries'] },
    { what: 'field', field: 'schedule' },
  ])
})
