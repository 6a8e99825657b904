// What the graph draws: visible boxes and edges between them, with folded groups as one box.

import type { ElkExtendedEdge, ElkNode } from 'elkjs/lib/elk-api'
import type { GridRow } from '../api/types'
import { grouped } from '../util/grouped'

export interface Box {
  id: string
  label: string
  kind: 'task' | 'mapped' | 'group' | 'stack'
  /** Rows of the grid that it stands for. */
  rows: number[]
  parent?: string
}

export interface Graph {
  boxes: Box[]
  edges: { from: string; to: string }[]
}

/** Equal siblings from here on are drawn as one stack. */
const STACK_MIN = 8
/** Above this, all groups begin folded. */
export const FOLD_ABOVE = 150
const WIDTH = 190
const HEIGHT = 36

export function graphOf(rows: readonly GridRow[], folded: ReadonlySet<string>): Graph {
  const parents = new Map(rows.filter((row) => row.kind === 'group').map((row) => [row.id, row.parent]))
  /** The outermost folded group that something is in. */
  const foldedIn = (group: string | undefined): string | undefined => {
    let found: string | undefined
    for (let at = group; at !== undefined; at = parents.get(at)) if (folded.has(at)) found = at
    return found
  }
  const boxes = new Map<string, Box>()
  const boxOf = new Map<string, string>()
  const downstream = new Map<string, string[]>()
  for (const row of rows) for (const need of row.needs ?? []) downstream.set(need, [...(downstream.get(need) ?? []), row.id])
  const alike = grouped(
    rows.filter((row) => row.kind !== 'group' && row.gone !== true && foldedIn(row.parent) === undefined),
    (row) => JSON.stringify([row.parent, row.operator, row.needs ?? [], downstream.get(row.id) ?? []]),
  )
  const stacked = new Map<string, string>()
  for (const members of alike.values()) {
    const [first] = members
    if (members.length >= STACK_MIN && first !== undefined) {
      for (const member of members) stacked.set(member.id, `${first.id} …`)
    }
  }
  rows.forEach((row, index) => {
    if (row.gone === true) return
    const group = foldedIn(row.parent)
    if (row.kind === 'group') {
      if (group === undefined) {
        boxes.set(`group:${row.id}`, {
          id: `group:${row.id}`,
          label: row.id,
          kind: 'group',
          rows: [],
          ...(row.parent === undefined ? {} : { parent: `group:${row.parent}` }),
        })
      }
      return
    }
    const stack = stacked.get(row.id)
    const id = group !== undefined ? `group:${group}` : (stack ?? row.id)
    boxOf.set(row.id, id)
    const known = boxes.get(id)
    if (known !== undefined) known.rows.push(index)
    else {
      boxes.set(id, {
        id,
        label: stack ?? row.id,
        kind: stack !== undefined ? 'stack' : row.kind,
        rows: [index],
        ...(row.parent === undefined ? {} : { parent: `group:${row.parent}` }),
      })
    }
  })
  const edges = new Map<string, { from: string; to: string }>()
  for (const row of rows) {
    const to = boxOf.get(row.id)
    for (const need of row.needs ?? []) {
      const from = boxOf.get(need)
      if (from !== undefined && to !== undefined && from !== to) edges.set(`${from}\n${to}`, { from, to })
    }
  }
  return { boxes: [...boxes.values()], edges: [...edges.values()] }
}

/** The same as the layout engine takes it. */
export function elkOf({ boxes, edges }: Graph, folded: ReadonlySet<string>, down: boolean): ElkNode {
  const nodes = new Map<string, ElkNode>()
  for (const box of boxes) {
    const open = box.kind === 'group' && !folded.has(box.label)
    nodes.set(box.id, {
      id: box.id,
      ...(open
        ? { children: [], layoutOptions: { 'elk.padding': '[top=34,left=12,bottom=12,right=12]' } }
        : { width: WIDTH, height: HEIGHT }),
    })
  }
  const roots: ElkNode[] = []
  for (const box of boxes) {
    const node = nodes.get(box.id)
    if (node === undefined) continue
    const parent = box.parent === undefined ? undefined : nodes.get(box.parent)
    if (parent?.children !== undefined) parent.children.push(node)
    else roots.push(node)
  }
  const links: ElkExtendedEdge[] = edges.map(({ from, to }) => ({ id: `${from}→${to}`, sources: [from], targets: [to] }))
  return {
    id: 'root',
    layoutOptions: {
      'elk.algorithm': 'layered',
      'elk.direction': down ? 'DOWN' : 'RIGHT',
      'elk.hierarchyHandling': 'INCLUDE_CHILDREN',
      'elk.layered.nodePlacement.strategy': boxes.length > 300 ? 'SIMPLE' : 'BRANDES_KOEPF',
      'elk.layered.considerModelOrder.strategy': 'NODES_AND_EDGES',
      'elk.layered.spacing.nodeNodeBetweenLayers': '44',
      'elk.spacing.nodeNode': '14',
      'elk.edgeRouting': 'ORTHOGONAL',
      'elk.json.edgeCoords': 'ROOT',
    },
    children: roots,
    edges: links,
  }
}
