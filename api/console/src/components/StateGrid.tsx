import { useMediaQuery } from '@mantine/hooks'
import { useVirtualizer } from '@tanstack/react-virtual'
import { type CSSProperties, type KeyboardEvent, type MouseEvent, memo, useCallback, useEffect, useMemo, useRef, useState } from 'react'
import { DETAILED, type Grid, MARKED, TRIED, byteAt, groupByte, inside, shown, stateOf } from '../api/grid'
import type { GridRun } from '../api/types'
import { looks } from '../theme/states'
import { t } from '../i18n'
import { middle } from '../util/numbers'
import { absolute, duration, millis, now } from '../util/time'
import { usePreferences } from '../util/preferences'
import { Counts, StateBadge, familyClass } from './State'
import css from './grid.module.css'

const ROW = 20
const COLUMN = 16
const NAMES_WIDE = 260
const NAMES_NARROW = 128
const HEAD = 66
const BAR = 40

export interface Place {
  run: string
  row: string
  kind: 'task' | 'mapped' | 'group'
}

/**
 * Tasks by runs, the oldest run at the left. Only what is on the screen is drawn; a cell is one element without listeners.
 */
export function StateGrid({
  grid,
  text,
  folded,
  fold,
  open,
  openRun,
}: {
  grid: Grid
  text: string
  folded: ReadonlySet<string>
  fold: (group: string) => void
  open: (place: Place) => void
  openRun: (run: string) => void
}) {
  const scroller = useRef<HTMLDivElement>(null)
  const narrow = useMediaQuery('(max-width: 767px)') ?? false
  const names = narrow ? NAMES_NARROW : NAMES_WIDE
  const letters = narrow ? 15 : 32
  const { zone } = usePreferences()
  const visible = useMemo(() => shown(grid.rows, folded, text), [grid.rows, folded, text])
  const groups = useMemo(() => inside(grid.rows), [grid.rows])
  const width = grid.runs.length
  const [active, setActive] = useState<[number, number]>([0, Math.max(0, width - 1)])
  const [card, setCard] = useState<{ row: number; column: number; x: number; y: number }>()
  const rows = useVirtualizer({
    count: visible.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 8,
    paddingStart: HEAD,
    scrollPaddingStart: HEAD,
  })
  const columns = useVirtualizer({
    horizontal: true,
    count: width,
    getScrollElement: () => scroller.current,
    estimateSize: () => COLUMN,
    overscan: 6,
    paddingStart: names,
    scrollPaddingStart: names,
    paddingEnd: 12,
  })
  // The newest runs are at the right end, where one looks first.
  useEffect(() => {
    const element = scroller.current
    if (element !== null) element.scrollLeft = element.scrollWidth
  }, [width])
  const runAt = (column: number) => width - 1 - column
  const byte = useCallback(
    (row: number, run: number) => {
      const one = grid.rows[row]
      return one?.kind === 'group' ? groupByte(grid, run, groups.get(one.id) ?? []) : byteAt(grid, run, row)
    },
    [grid, groups],
  )
  const longest = useMemo(
    () =>
      Math.max(
        1,
        ...grid.runs.map((run) => ((millis(run.ended_at) ?? now()) - (millis(run.started_at) ?? now())) / 1000),
      ),
    [grid.runs],
  )
  const placeOf = (event: MouseEvent): [number, number] | undefined => {
    const cell = (event.target as HTMLElement).closest<HTMLElement>('[data-c]')
    const row = cell?.closest<HTMLElement>('[data-r]')
    if (!cell || !row) return undefined
    return [Number(row.dataset['r']), Number(cell.dataset['c'])]
  }
  const go = (row: number, column: number) => {
    const to: [number, number] = [
      Math.min(visible.length - 1, Math.max(0, row)),
      Math.min(width - 1, Math.max(0, column)),
    ]
    setActive(to)
    rows.scrollToIndex(to[0])
    columns.scrollToIndex(to[1])
  }
  const openAt = ([row, column]: [number, number]) => {
    const one = grid.rows[visible[row] ?? -1]
    const run = grid.runs[runAt(column)]
    if (one === undefined || run === undefined) return
    if (one.kind === 'group') fold(one.id)
    else if (stateOf(grid, byte(visible[row] ?? 0, runAt(column))) !== null) open({ run: run.id, row: one.id, kind: one.kind })
  }
  const nextFailure = (by: number) => {
    const [row, column] = active
    const cells = visible.length * width
    for (let step = 1; step <= cells; step += 1) {
      const at = (((row * width + column + by * step) % cells) + cells) % cells
      const [r, c] = [Math.floor(at / width), at % width]
      const state = stateOf(grid, byte(visible[r] ?? 0, runAt(c)))
      if (state === 'failed' || state === 'upstream_failed') {
        go(r, c)
        return
      }
    }
  }
  const press = (event: KeyboardEvent) => {
    const [row, column] = active
    const moves: Record<string, () => void> = {
      ArrowUp: () => go(row - 1, column),
      ArrowDown: () => go(row + 1, column),
      ArrowLeft: () => go(row, column - 1),
      ArrowRight: () => go(row, column + 1),
      Home: () => go(row, 0),
      End: () => go(row, width - 1),
      PageUp: () => go(row - 20, column),
      PageDown: () => go(row + 20, column),
      n: () => nextFailure(1),
      N: () => nextFailure(-1),
      Enter: () => openAt(active),
      f: () => {
        const one = grid.rows[visible[row] ?? -1]
        const group = one?.kind === 'group' ? one.id : one?.parent
        if (group !== undefined) fold(group)
      },
    }
    const move = moves[event.key]
    if (move !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault()
      event.stopPropagation()
      move()
    }
  }
  const hover = (event: MouseEvent) => {
    const place = placeOf(event)
    if (place === undefined) {
      setCard(undefined)
      return
    }
    if (card?.row !== place[0] || card.column !== place[1]) {
      setCard({ row: place[0], column: place[1], x: event.clientX, y: event.clientY })
    }
  }
  const seen = columns.getVirtualItems()
  const first = seen[0]?.index ?? 0
  const last = seen.at(-1)?.index ?? -1
  return (
    <div
      ref={scroller}
      className={css['scroller']}
      style={{ '--tall': `${rows.getTotalSize() + 18}px` } as CSSProperties}
      role="grid"
      tabIndex={0}
      aria-label={t('grid.label')}
      aria-rowcount={visible.length + 1}
      aria-colcount={width + 1}
      aria-activedescendant={`c-${active[0]}-${active[1]}`}
      onKeyDown={press}
      onClick={(event) => {
        const place = placeOf(event)
        if (place === undefined) return
        setActive(place)
        openAt(place)
      }}
      onMouseMove={hover}
      onMouseLeave={() => setCard(undefined)}
    >
      <div className={css['canvas']} style={{ height: rows.getTotalSize(), width: columns.getTotalSize() }}>
        <div className={css['head']} role="row" aria-rowindex={1} style={{ height: HEAD, width: columns.getTotalSize() }}>
          <span className={css['corner']} role="columnheader" aria-colindex={1} style={{ width: names }}>
            {t('grid.tasks', { n: grid.rows.filter((row) => row.kind !== 'group').length })}
          </span>
          <Columns runs={grid.runs} first={first} last={last} names={names} zone={zone} longest={longest} open={openRun} />
        </div>
        {rows.getVirtualItems().map((item) => {
          const index = visible[item.index] ?? 0
          const row = grid.rows[index]
          if (row === undefined) return null
          const isFolded = folded.has(row.id)
          return (
            <div
              key={row.id}
              data-r={item.index}
              className={css['row']}
              role="row"
              aria-rowindex={item.index + 2}
              style={{ transform: `translateY(${item.start - HEAD}px)`, width: columns.getTotalSize(), top: HEAD }}
            >
              <span className={css['name']} role="rowheader" aria-colindex={1} data-gone={row.gone} style={{ width: names, paddingLeft: 10 + row.depth * 14 }}>
                {row.kind === 'group' ? (
                  <button type="button" tabIndex={-1} aria-expanded={!isFolded} onClick={() => fold(row.id)}>
                    {isFolded ? '▸' : '▾'} {middle(row.id, letters - row.depth * 2)} <span className="soft">({groups.get(row.id)?.length ?? 0})</span>
                  </button>
                ) : (
                  <span title={row.id}>
                    {middle(row.id, letters - row.depth * 2)}
                    {row.kind === 'mapped' && <span className="soft"> [ ]</span>}
                  </span>
                )}
              </span>
              <Cells
                grid={grid}
                row={index}
                at={item.index}
                byte={byte}
                first={first}
                last={last}
                width={width}
                names={names}
                active={active[0] === item.index ? active[1] : -1}
                group={row.kind === 'group'}
              />
            </div>
          )
        })}
      </div>
      {card !== undefined && <Card grid={grid} visible={visible} byte={byte} place={card} zone={zone} />}
    </div>
  )
}

/** The heads of the columns: a bar for how long each run took, its day, and where the version changes. */
const Columns = memo(function Columns({
  runs,
  first,
  last,
  names,
  zone,
  longest,
  open,
}: {
  runs: readonly GridRun[]
  first: number
  last: number
  names: number
  zone: string
  longest: number
  open: (run: string) => void
}) {
  const day = (run: GridRun) => absolute(millis(run.run_after) ?? 0, zone).slice(5, 10)
  const columns = []
  for (let column = first; column <= last; column += 1) {
    const at = runs.length - 1 - column
    const run = runs[at]
    if (run === undefined) continue
    const took = run.started_at === null ? 0 : ((millis(run.ended_at) ?? now()) - (millis(run.started_at) ?? now())) / 1000
    const before = runs[at + 1]
    const isNewDay = before === undefined || day(before) !== day(run)
    const label = `${run.id} · ${run.state} · ${duration(run.started_at === null ? null : took)}`
    columns.push(
      <span
        key={run.id}
        role="columnheader"
        aria-colindex={column + 2}
        className={css['column']}
        style={{ left: names + column * COLUMN, width: COLUMN }}
      >
        {isNewDay && column % 4 === 0 && <span className={css['day']}>{day(run)}</span>}
        {before !== undefined && before.version !== run.version && <span className={css['version']} title={t('grid.version')} />}
        <button type="button" tabIndex={-1} className={css['bar']} title={label} aria-label={label} onClick={() => open(run.id)}>
          <span
            className={familyClass(looks[run.state].family)}
            data-state={run.state}
            style={{ height: Math.max(3, (took / longest) * BAR) }}
          />
        </button>
      </span>,
    )
  }
  return columns
})

const Cells = memo(function Cells({
  grid,
  row,
  at,
  byte,
  first,
  last,
  width,
  names,
  active,
  group,
}: {
  grid: Grid
  row: number
  at: number
  byte: (row: number, run: number) => number
  first: number
  last: number
  width: number
  names: number
  active: number
  group: boolean
}) {
  const cells = []
  for (let column = first; column <= last; column += 1) {
    const run = width - 1 - column
    const value = byte(row, run)
    const state = stateOf(grid, value)
    if (state === null) {
      if (column === active) {
        cells.push(
          <div key={column} id={`c-${at}-${column}`} data-c={column} data-active role="gridcell" aria-colindex={column + 2} aria-label={t('grid.noTask')} className={css['cell']} style={{ left: names + column * COLUMN }} />,
        )
      }
      continue
    }
    cells.push(
      <div
        key={column}
        id={`c-${at}-${column}`}
        data-c={column}
        data-s={state}
        data-t={(value & TRIED) !== 0 || undefined}
        data-m={(value & MARKED) !== 0 || undefined}
        data-d={(value & DETAILED) !== 0 || undefined}
        data-g={group || undefined}
        data-active={column === active || undefined}
        role="gridcell"
        aria-colindex={column + 2}
        aria-label={state}
        className={css['cell']}
        style={{ left: names + column * COLUMN }}
      />,
    )
  }
  return cells
})

function Card({
  grid,
  visible,
  byte,
  place,
  zone,
}: {
  grid: Grid
  visible: readonly number[]
  byte: (row: number, run: number) => number
  place: { row: number; column: number; x: number; y: number }
  zone: string
}) {
  const index = visible[place.row] ?? -1
  const column = grid.runs.length - 1 - place.column
  const row = grid.rows[index]
  const run = grid.runs[column]
  if (row === undefined || run === undefined) return null
  const value = byte(index, column)
  const detail = grid.detail.get(`${run.id}\n${index}`)
  const left = Math.min(place.x + 14, globalThis.innerWidth - 330)
  const top = Math.min(place.y + 14, globalThis.innerHeight - 130)
  return (
    <div className={css['card']} style={{ left, top }} aria-hidden="true">
      <div className="bar">
        <StateBadge state={stateOf(grid, value)} />
        {(value & TRIED) !== 0 && <span className="soft small">{t('grid.tried')}</span>}
        {(value & MARKED) !== 0 && <span className="soft small">{t('grid.marked')}</span>}
      </div>
      <strong>{row.id}</strong>
      <div className="soft small">{run.id}</div>
      <div className="soft small">{absolute(millis(run.run_after) ?? 0, zone)}</div>
      {detail !== undefined && <Counts counts={detail} />}
    </div>
  )
}
