import { expect, test } from 'vitest'
import type { GridRow } from '../api/types'
import { elkOf, graphOf } from './graph'

const task = (id: string, needs: string[], parent?: string): GridRow => ({
  id, kind: 'task', depth: 0, needs, operator: 'bash', ...(parent === undefined ? {} : { parent }),
})

test('a folded group is one box with the edges of what is in it', () => {
  const rows: GridRow[] = [task('a', []), { id: 'g', kind: 'group', depth: 0 }, task('b', ['a'], 'g'), task('c', ['b'], 'g'), task('d', ['c'])]
  const folded = graphOf(rows, new Set(['g']))
  expect(folded.boxes.map((box) => box.id)).toEqual(['a', 'group:g', 'd'])
  expect(folded.edges).toEqual([{ from: 'a', to: 'group:g' }, { from: 'group:g', to: 'd' }])
  const open = graphOf(rows, new Set())
  expect(open.edges).toHaveLength(3)
  expect(elkOf(open, new Set(), false).children?.find((node) => node.id === 'group:g')?.children?.map((node) => node.id)).toEqual(['b', 'c'])
})

test('many equal siblings are one stack', () => {
  const rows = [task('a', []), ...Array.from({ length: 500 }, (_, n) => task(`m${n}`, ['a'])), task('z', Array.from({ length: 500 }, (_, n) => `m${n}`))]
  const graph = graphOf(rows, new Set())
  expect(graph.boxes).toHaveLength(3)
  expect(graph.boxes[1]).toMatchObject({ kind: 'stack', rows: expect.objectContaining({ length: 500 }) })
  expect(graph.edges).toHaveLength(2)
})
