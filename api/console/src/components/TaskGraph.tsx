import '@xyflow/react/dist/base.css'
import { Controls, type Edge, Handle, type Node, type NodeProps, Position, ReactFlow, ReactFlowProvider, useReactFlow } from '@xyflow/react'
import { useMediaQuery } from '@mantine/hooks'
import type { ElkNode } from 'elkjs/lib/elk-api'
import ELK from 'elkjs/lib/elk-api'
import { createContext, memo, useContext, useEffect, useMemo, useState } from 'react'
import elkWorker from 'elkjs/lib/elk-worker.min.js?url'
import { type Grid, byteAt, groupByte, stateOf } from '../api/grid'
import { t } from '../i18n'
import { looks } from '../theme/states'
import { middle } from '../util/numbers'
import { StateMark, familyClass } from './State'
import { type Box, FOLD_ABOVE, elkOf, graphOf } from './graph'
import css from './graph.module.css'

type TaskNode = Node<{ box: Box; open: boolean; fold: (() => void) | undefined }>

// One worker for the console, made when the first graph is drawn.
let engine: InstanceType<typeof ELK> | undefined
function elk() {
  engine ??= new ELK({ workerFactory: () => new Worker(elkWorker) })
  return engine
}

const States = createContext<Grid | null>(null)

export function TaskGraph({ grid, open }: { grid: Grid; open: (task: string, mapped: boolean) => void }) {
  const groups = useMemo(() => grid.rows.filter((row) => row.kind === 'group').map((row) => row.id), [grid.rows])
  const many = grid.rows.length > FOLD_ABOVE
  const [folded, setFolded] = useState<ReadonlySet<string>>(() => new Set(many ? groups : []))
  const down = useMediaQuery('(max-width: 767px)') ?? false
  const graph = useMemo(() => graphOf(grid.rows, folded), [grid.rows, folded])
  const [layout, setLayout] = useState<ElkNode>()
  const [error, setError] = useState<string>()
  // The layout is another thread's work.
  useEffect(() => {
    let wanted = true
    elk()
      .layout(elkOf(graph, folded, down))
      .then((done) => wanted && setLayout(done))
      .catch((failed: unknown) => wanted && setError(String(failed)))
    return () => {
      wanted = false
    }
  }, [graph, folded, down])
  const { nodes, edges } = useMemo(() => {
    if (layout === undefined) return { nodes: [], edges: [] }
    const fold = (group: string) =>
      setFolded((old) => {
        const next = new Set(old)
        if (!next.delete(group)) next.add(group)
        return next
      })
    return flow(layout, graph.boxes, folded, fold)
  }, [layout, graph, folded])
  return (
    <States value={grid}>
      <div className={css['graph']} data-busy={layout === undefined || undefined}>
        {error !== undefined && <p role="alert">{error}</p>}
        {error === undefined && layout === undefined && (
          <p role="status" aria-label={t('loading')} className={css['drawing']}>
            {t('graph.drawing')}
          </p>
        )}
        <ReactFlowProvider>
          <Drawing nodes={nodes} edges={edges} grid={grid} open={open} />
        </ReactFlowProvider>
      </div>
      <details style={{ marginTop: 8 }}>
        <summary>{t('graph.list')}</summary>
        <ol>
          {grid.rows.map((row, index) =>
            row.kind === 'group' ? null : (
              <li key={row.id}>
                <button type="button" className="link" onClick={() => open(row.id, row.kind === 'mapped')}>
                  {row.id}
                </button>{' '}
                <span className="soft">
                  {stateOf(grid, byteAt(grid, 0, index)) ?? '–'}
                  {(row.needs?.length ?? 0) > 0 && ` · ${t('graph.after', { tasks: (row.needs ?? []).join(', ') })}`}
                </span>
              </li>
            ),
          )}
        </ol>
      </details>
    </States>
  )
}

function Drawing({ nodes, edges, grid, open }: { nodes: TaskNode[]; edges: Edge[]; grid: Grid; open: (task: string, mapped: boolean) => void }) {
  const { fitView } = useReactFlow()
  const size = nodes.length
  // After a new layout the whole of it is shown.
  useEffect(() => {
    if (size > 0) requestAnimationFrame(() => void fitView({ maxZoom: 1, padding: 0.08 }))
  }, [size, fitView])
  return (
    <ReactFlow
      nodes={nodes}
      edges={edges}
      nodeTypes={types}
      edgeTypes={edgeTypes}
      nodesDraggable={false}
      nodesConnectable={false}
      edgesFocusable={false}
      onlyRenderVisibleElements={size > 200}
      minZoom={0.05}
      maxZoom={2}
      proOptions={{ hideAttribution: true }}
      onNodeClick={(_, node) => {
        const { box } = node.data
        if (box.kind === 'task' || box.kind === 'mapped') open(box.label, grid.rows[box.rows[0] ?? 0]?.kind === 'mapped')
        else node.data.fold?.()
      }}
    >
      <Controls showInteractive={false} position="bottom-left" />
    </ReactFlow>
  )
}

const TaskBox = memo(function TaskBox({ data }: NodeProps<TaskNode>) {
  const grid = useContext(States)
  const { box, open, fold } = data
  if (open) {
    return (
      <div className={css['group']}>
        <button type="button" onClick={fold} aria-label={t('graph.fold', { group: box.label })}>
          ▾ {middle(box.label, 28)}
        </button>
      </div>
    )
  }
  const byte = grid === null || grid.runs.length === 0 ? 0 : groupByte(grid, 0, box.rows)
  const state = grid === null ? null : stateOf(grid, byte)
  const name = box.kind === 'stack' ? `${middle(box.label, 20)} × ${box.rows.length}` : middle(box.label, 24)
  return (
    <div className={`${css['box']} ${state === null ? '' : familyClass(looks[state].family)}`} data-state={state ?? undefined} data-kind={box.kind} title={box.label}>
      <Handle type="target" position={Position.Left} className={css['handle'] ?? ''} />
      {state !== null && <StateMark state={state} />}
      <span className="cut">
        {box.kind === 'group' && '▸ '}
        {name}
        {box.kind === 'group' && ` (${box.rows.length})`}
        {box.kind === 'mapped' && ' [ ]'}
      </span>
      <Handle type="source" position={Position.Right} className={css['handle'] ?? ''} />
    </div>
  )
})

/** Edges as the layout engine bent them. */
function Bent({ data }: { data?: { path?: string } }) {
  return <path d={data?.path ?? ''} className={css['edge']} />
}

const types = { task: TaskBox }
const edgeTypes = { bent: Bent }

function flow(root: ElkNode, boxes: readonly Box[], folded: ReadonlySet<string>, fold: (group: string) => void): { nodes: TaskNode[]; edges: Edge[] } {
  const known = new Map(boxes.map((box) => [box.id, box]))
  const nodes: TaskNode[] = []
  const walk = (node: ElkNode, x: number, y: number) => {
    for (const child of node.children ?? []) {
      const box = known.get(child.id)
      const at = { x: x + (child.x ?? 0), y: y + (child.y ?? 0) }
      if (box !== undefined) {
        const open = box.kind === 'group' && !folded.has(box.label)
        nodes.push({
          id: child.id,
          type: 'task',
          position: at,
          data: { box, open, fold: box.kind === 'group' ? () => fold(box.label) : undefined },
          style: { width: child.width ?? 0, height: child.height ?? 0 },
          zIndex: open ? 0 : 1,
          focusable: !open,
          ariaLabel: box.label,
        })
      }
      walk(child, at.x, at.y)
    }
  }
  walk(root, 0, 0)
  const edges = (root.edges ?? []).map((edge) => {
    const [section] = edge.sections ?? []
    const points = section === undefined ? [] : [section.startPoint, ...(section.bendPoints ?? []), section.endPoint]
    return {
      id: edge.id,
      source: edge.sources[0] ?? '',
      target: edge.targets[0] ?? '',
      type: 'bent',
      data: { path: points.map((point, at) => `${at === 0 ? 'M' : 'L'}${point.x} ${point.y}`).join(' ') },
    }
  })
  return { nodes, edges }
}
