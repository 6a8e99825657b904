import { Button, Switch, TextInput } from '@mantine/core'
import { useVirtualizer } from '@tanstack/react-virtual'
import { type KeyboardEvent, memo, useEffect, useMemo, useRef, useState } from 'react'
import type { TaskRef } from '../../api/queries'
import type { LogEvent } from '../../api/types'
import { Icon } from '../../components/Icon'
import { Empty, ProblemView, Waiting } from '../../components/Views'
import { t } from '../../i18n'
import { level, pieces } from '../../util/ansi'
import { paths, query } from '../../util/paths'
import { usePreferences } from '../../util/preferences'
import { absolute, millis } from '../../util/time'
import { isTyping } from '../../util/keys'
import { useLog } from './useLog'
import css from './log.module.css'

const ROW = 20
/** The most characters of a line that are shown. */
const LONG = 10_000

export function LogTab({ of, attempt, running, failed }: { of: TaskRef; attempt: number; running: boolean; failed: boolean }) {
  const log = useLog(of, attempt, running)
  const { zone } = usePreferences()
  const [text, type] = useState('')
  const [times, showTimes] = useState(false)
  const [wrap, setWrap] = useState(false)
  const [follow, setFollow] = useState(running)
  const [at, setAt] = useState(-1)
  const scroller = useRef<HTMLDivElement>(null)
  const field = useRef<HTMLInputElement>(null)
  const opened = useRef(false)
  const { lines } = log
  const rows = useVirtualizer({
    count: lines.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 12,
  })
  const hits = useMemo(() => {
    if (text === '') return []
    const wanted = text.toLowerCase()
    return lines.flatMap((line, index) => (line.event.toLowerCase().includes(wanted) ? [index] : []))
  }, [lines, text])
  const errors = useMemo(() => lines.flatMap((line, index) => (level(line.event) === 'error' ? [index] : [])), [lines])
  // Follows the end while it grows; opens at the first error of what failed.
  useEffect(() => {
    if (lines.length === 0) return
    if (follow) rows.scrollToIndex(lines.length - 1, { align: 'end' })
    else if (!opened.current && log.state !== 'reading') {
      opened.current = true
      const [first] = errors
      if (failed && first !== undefined) {
        setAt(first)
        rows.scrollToIndex(first, { align: 'center' })
      } else rows.scrollToIndex(lines.length - 1, { align: 'end' })
    }
  }, [lines.length, follow, log.state, failed, errors, rows])
  const step = (among: readonly number[], by: 1 | -1) => {
    if (among.length === 0) return
    const next = by === 1 ? among.find((one) => one > at) : among.findLast((one) => one < at)
    const to = next ?? (by === 1 ? among[0] : among.at(-1)) ?? 0
    setFollow(false)
    setAt(to)
    rows.scrollToIndex(to, { align: 'center' })
  }
  const press = (event: KeyboardEvent) => {
    if (isTyping(event.target) || event.ctrlKey || event.metaKey) return
    const keys: Record<string, () => void> = {
      '/': () => field.current?.focus(),
      n: () => step(hits, 1),
      N: () => step(hits, -1),
      e: () => step(errors, 1),
      E: () => step(errors, -1),
      g: () => {
        setFollow(false)
        rows.scrollToIndex(0)
      },
      G: () => rows.scrollToIndex(lines.length - 1, { align: 'end' }),
      t: () => showTimes((old) => !old),
      w: () => setWrap((old) => !old),
    }
    const known = keys[event.key]
    if (known !== undefined) {
      event.preventDefault()
      event.stopPropagation()
      known()
    }
  }
  const scrolled = () => {
    const element = scroller.current
    if (element === null) return
    const end = element.scrollHeight - element.scrollTop - element.clientHeight < ROW * 2
    if (running && end !== follow) setFollow(end)
  }
  if (log.error !== null) return <ProblemView error={log.error} />
  if (lines.length === 0 && log.state === 'reading') return <Waiting rows={4} />
  if (lines.length === 0) {
    return (
      <div className="panel">
        <Empty icon="log" title={running ? t('log.notYet') : t('log.empty')} />
      </div>
    )
  }
  return (
    <div role="group" aria-label={t('log.label')} onKeyDown={press}>
      <div className={`bar ${css['tools']}`}>
        <TextInput
          ref={field}
          aria-label={t('log.search')}
          placeholder={t('log.search')}
          leftSection={<Icon name="search" size={14} />}
          value={text}
          onChange={(event) => type(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter') step(hits, event.shiftKey ? -1 : 1)
            if (event.key === 'Escape') scroller.current?.focus()
          }}
        />
        {text !== '' && (
          <span className="soft small" aria-live="polite">
            {t('log.hits', { n: hits.length })}
          </span>
        )}
        {errors.length > 0 && (
          <Button variant="default" size="compact-xs" onClick={() => step(errors, 1)}>
            {t('log.nextError', { n: errors.length })}
          </Button>
        )}
        <span className="push bar">
          <Switch label={t('log.times')} checked={times} onChange={(event) => showTimes(event.currentTarget.checked)} />
          <Switch label={t('log.wrap')} checked={wrap} onChange={(event) => setWrap(event.currentTarget.checked)} />
          {running && (
            <Switch label={t('log.follow')} checked={follow} onChange={(event) => setFollow(event.currentTarget.checked)} />
          )}
          <span className="soft small">{t('log.lines', { n: lines.length })}</span>
          <Button
            component="a"
            variant="default"
            size="compact-xs"
            href={paths.of(of.tenant).logFile(of.dag, of.run, of.task) + query({ map_index: of.map, try_number: attempt })}
            download
          >
            {t('log.download')}
          </Button>
        </span>
      </div>
      <div
        ref={scroller}
        className={css['log']}
        data-wrap={wrap || undefined}
        onScroll={scrolled}
        role="log"
        aria-label={t('log.label')}
        aria-live="off"
        tabIndex={0}
      >
        <div style={{ height: rows.getTotalSize(), position: 'relative' }}>
          {rows.getVirtualItems().map((item) => {
            const line = lines[item.index]
            if (line === undefined) return null
            return (
              <Line
                key={item.index}
                measure={wrap ? rows.measureElement : undefined}
                line={line}
                index={item.index}
                start={item.start}
                time={times ? timeOf(line, zone) : undefined}
                chosen={item.index === at}
              />
            )
          })}
        </div>
      </div>
      {log.state === 'paused' && (
        <Button variant="default" onClick={log.more} mt={8}>
          {t('log.more')}
        </Button>
      )}
      {running && !follow && (
        <Button size="compact-xs" mt={8} onClick={() => setFollow(true)}>
          {t('log.toEnd')}
        </Button>
      )}
    </div>
  )
}

function timeOf(line: LogEvent, zone: string): string {
  const when = millis(line.timestamp)
  return when === null ? '' : absolute(when, zone).slice(11, 19)
}

const Line = memo(function Line({
  line,
  index,
  start,
  time,
  chosen,
  measure,
}: {
  line: LogEvent
  index: number
  start: number
  time: string | undefined
  chosen: boolean
  measure: ((element: Element | null) => void) | undefined
}) {
  const text = line.event.length > LONG ? `${line.event.slice(0, LONG)}…` : line.event
  return (
    <div
      ref={measure}
      data-index={index}
      data-level={level(text) ?? undefined}
      data-stream={line.stream}
      data-at={chosen || undefined}
      className={css['line']}
      style={{ transform: `translateY(${start}px)` }}
    >
      <span className={css['number']}>{index + 1}</span>
      {time !== undefined && <span className={css['time']}>{time}</span>}
      <span className={css['text']}>
        {pieces(text).map((piece, n) => (
          <span key={n} data-colour={piece.colour} style={piece.bold ? { fontWeight: 700 } : undefined}>
            {piece.text}
          </span>
        ))}
      </span>
    </div>
  )
})
