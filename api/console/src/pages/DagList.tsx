import { ActionIcon, Button, Checkbox, SegmentedControl, Select, TextInput, Tooltip } from '@mantine/core'
import { useDebouncedCallback } from '@mantine/hooks'
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { useWindowVirtualizer } from '@tanstack/react-virtual'
import { useEffect, useRef, useState } from 'react'
import { call } from '../api/client'
import * as queries from '../api/queries'
import type { DagInList } from '../api/types'
import { BulkBar } from '../components/Bulk'
import { Icon } from '../components/Icon'
import { ImportErrors } from '../components/ImportErrors'
import { Page } from '../components/Page'
import { RunStrip } from '../components/RunStrip'
import { TimeText } from '../components/Time'
import { TriggerDrawer } from '../components/Trigger'
import { Empty, ProblemView, Waiting } from '../components/Views'
import { t } from '../i18n'
import { paths } from '../util/paths'
import { duration } from '../util/time'
import { useKeys } from '../util/useKeys'
import css from './dags.module.css'

const ROW = 40

export function DagList() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/dags' })
  const filter = useSearch({ from: '/inside/t/$tenant/dags' })
  const navigate = useNavigate({ from: '/t/$tenant/dags' })
  const found = useInfiniteQuery(queries.dags(tenant, filter))
  const { data: tags } = useQuery(queries.tags(tenant))
  const [name, type] = useState(filter.name ?? '')
  const [chosen, trigger] = useState<string>()
  const [selected, select] = useState<ReadonlySet<string>>(new Set())
  const field = useRef<HTMLInputElement>(null)
  const search = useDebouncedCallback((text: string) => {
    void navigate({ search: (old) => ({ ...old, name: text === '' ? undefined : text }), replace: true })
  }, 120)
  useKeys({ '/': () => field.current?.focus() })
  const total = found.data?.pages[0]?.total
  const listed = found.data?.pages.flatMap((page) => page.items) ?? []
  const marked = listed.filter((dag) => selected.has(dag.dag_id))
  return (
    <Page tab={t('nav.dags')} title={total === undefined ? t('nav.dags') : t('dags.title', { n: total })}>
      <div className={`bar ${css['filters']}`} role="search">
        <TextInput
          ref={field}
          aria-label={t('dags.filter')}
          placeholder={t('dags.filter')}
          leftSection={<Icon name="search" size={14} />}
          value={name}
          onChange={(event) => {
            type(event.currentTarget.value)
            search(event.currentTarget.value)
          }}
        />
        <Select
          aria-label={t('dags.tag')}
          placeholder={t('dags.tag')}
          clearable
          searchable
          data={tags?.tags ?? []}
          value={filter.tag ?? null}
          onChange={(tag) => void navigate({ search: (old) => ({ ...old, tag: tag ?? undefined }) })}
        />
        <SegmentedControl
          aria-label={t('dags.paused')}
          data={[
            { value: 'all', label: t('dags.all') },
            { value: 'active', label: t('dags.active') },
            { value: 'paused', label: t('dags.pausedOnes') },
          ]}
          value={filter.paused === undefined ? 'all' : filter.paused ? 'paused' : 'active'}
          onChange={(which) =>
            void navigate({ search: (old) => ({ ...old, paused: which === 'all' ? undefined : which === 'paused' }) })
          }
        />
      </div>
      <ImportErrors tenant={tenant} />
      {marked.length > 0 && <BulkBar tenant={tenant} dags={marked} leave={() => select(new Set())} />}
      {found.data === undefined && found.isError && <ProblemView error={found.error} retry={() => void found.refetch()} />}
      {found.data === undefined && !found.isError && <Waiting />}
      {found.data !== undefined && (
        <Table
          tenant={tenant}
          dags={listed}
          selected={selected}
          select={select}
          filtered={Object.keys(filter).length > 0}
          more={found.hasNextPage && !found.isFetchingNextPage ? () => void found.fetchNextPage() : undefined}
          trigger={trigger}
        />
      )}
      {chosen !== undefined && <TriggerDrawer tenant={tenant} dag={chosen} close={() => trigger(undefined)} />}
    </Page>
  )
}

function Table({
  tenant,
  dags,
  selected,
  select,
  filtered,
  more,
  trigger,
}: {
  tenant: string
  dags: readonly DagInList[]
  selected: ReadonlySet<string>
  select: (selected: ReadonlySet<string>) => void
  filtered: boolean
  more: (() => void) | undefined
  trigger: (dag: string) => void
}) {
  const list = useRef<HTMLDivElement>(null)
  const rows = useWindowVirtualizer({
    count: dags.length,
    estimateSize: () => ROW,
    overscan: 10,
    scrollMargin: list.current?.offsetTop ?? 0,
  })
  const items = rows.getVirtualItems()
  const last = items.at(-1)?.index ?? 0
  // Asks for the next page before its rows are on the screen.
  useEffect(() => {
    if (last >= dags.length - 20) more?.()
  }, [last, dags.length, more])
  const focus = useRef(-1)
  const move = (by: number) => {
    focus.current = Math.min(dags.length - 1, Math.max(0, focus.current + by))
    rows.scrollToIndex(focus.current)
    requestAnimationFrame(() =>
      list.current?.querySelector<HTMLElement>(`[data-index='${focus.current}'] a[data-name]`)?.focus(),
    )
  }
  const toggle = (dag: string) => {
    const next = new Set(selected)
    if (!next.delete(dag)) next.add(dag)
    select(next)
  }
  const all = dags.length > 0 && dags.every((dag) => selected.has(dag.dag_id))
  const atFocus = () => {
    const dag = dags[focus.current]
    if (dag !== undefined) toggle(dag.dag_id)
  }
  useKeys({ j: () => move(1), k: () => move(-1), x: atFocus })
  if (dags.length === 0) {
    return (
      <div className="panel">
        {filtered ? (
          <Empty icon="search" title={t('dags.none')} />
        ) : (
          <Empty icon="dags" title={t('dags.empty')}>
            <p>{t('dags.emptyMore')}</p>
            <pre>updraft new hello{'\n'}updraft test hello{'\n'}updraft deploy</pre>
          </Empty>
        )}
      </div>
    )
  }
  return (
    <div className={css['table']} role="table" aria-label={t('nav.dags')} aria-rowcount={dags.length + 1} ref={list}>
      <div className={`${css['row']} ${css['heads']}`} role="row">
        <span role="columnheader">
          <Checkbox
            size="xs"
            aria-label={t('bulk.all')}
            checked={all}
            indeterminate={!all && selected.size > 0}
            onChange={() => select(all ? new Set() : new Set(dags.map((dag) => dag.dag_id)))}
          />
        </span>
        <span role="columnheader">{t('dags.state')}</span>
        <span role="columnheader">{t('dags.dag')}</span>
        <span role="columnheader">{t('dags.schedule')}</span>
        <span role="columnheader">{t('dags.last')}</span>
        <span role="columnheader">{t('dags.usual')}</span>
        <span role="columnheader">{t('dags.next')}</span>
        <span role="columnheader">{t('dags.owner')}</span>
        <span role="columnheader">{t('dags.actions')}</span>
      </div>
      <div style={{ height: rows.getTotalSize(), position: 'relative' }} role="rowgroup">
        {items.map((item) => {
          const dag = dags[item.index]
          if (dag === undefined) return null
          return (
            <div
              key={dag.dag_id}
              data-index={item.index}
              className={css['row']}
              role="row"
              aria-rowindex={item.index + 2}
              style={{
                position: 'absolute',
                top: 0,
                left: 0,
                right: 0,
                height: ROW,
                transform: `translateY(${item.start - rows.options.scrollMargin}px)`,
              }}
            >
              <span role="cell">
                <Checkbox
                  size="xs"
                  aria-label={t('bulk.one', { dag: dag.dag_id })}
                  checked={selected.has(dag.dag_id)}
                  onChange={() => toggle(dag.dag_id)}
                />
              </span>
              <Row tenant={tenant} dag={dag} trigger={trigger} />
            </div>
          )
        })}
      </div>
    </div>
  )
}

function Row({ tenant, dag, trigger }: { tenant: string; dag: DagInList; trigger: (dag: string) => void }) {
  const took = dag.runs
    .filter((run) => run.state === 'success' && run.seconds !== null)
    .map((run) => run.seconds ?? 0)
    .toSorted((a, b) => a - b)
  const trouble = dag.quarantined ?? (dag.unreadable ? t('dags.unreadable') : null)
  return (
    <>
      <span role="cell">
        <PauseButton tenant={tenant} dag={dag} />
      </span>
      <span role="cell" className={css['name']}>
        <Link
          to="/t/$tenant/dags/$dag"
          params={{ tenant, dag: dag.dag_id }}
          className="cut"
          data-name
          title={dag.description ?? dag.dag_id}
        >
          {dag.dag_id}
        </Link>
        {trouble !== null && (
          <Tooltip label={trouble} withinPortal multiline maw={360}>
            <span className={css['trouble']} role="img" aria-label={trouble}>
              <Icon name="alert" size={14} />
            </span>
          </Tooltip>
        )}
        {dag.tags.slice(0, 2).map((tag) => (
          <Link key={tag} to="/t/$tenant/dags" params={{ tenant }} search={{ tag }} className={css['tag']}>
            {tag}
          </Link>
        ))}
      </span>
      <span role="cell" className="soft small cut" title={dag.schedule_says ?? undefined}>
        {dag.schedule ?? t('dags.byHand')}
      </span>
      <span role="cell">
        <RunStrip tenant={tenant} dag={dag.dag_id} runs={dag.runs} />
      </span>
      <span role="cell" className="small">
        {duration(took[Math.floor(took.length / 2)])}
      </span>
      <span role="cell" className="small">
        {dag.paused ? <span className="soft">{t('dags.isPaused')}</span> : <TimeText at={dag.next_run_after} />}
      </span>
      <span role="cell" className="soft small cut">
        {dag.owner ?? '–'}
      </span>
      <span role="cell" className={css['act']}>
        <Tooltip label={dag.allowed['trigger']?.reason} disabled={dag.allowed['trigger']?.allowed !== false} withinPortal>
          <Button
            size="compact-xs"
            variant="default"
            aria-label={t('dags.triggerOne', { dag: dag.dag_id })}
            {...(dag.allowed['trigger']?.allowed === false ? { 'data-disabled': true } : {})}
            onClick={() => dag.allowed['trigger']?.allowed !== false && trigger(dag.dag_id)}
          >
            {t('action.trigger')}
          </Button>
        </Tooltip>
      </span>
    </>
  )
}

function PauseButton({ tenant, dag }: { tenant: string; dag: DagInList }) {
  const client = useQueryClient()
  const change = useMutation({
    mutationFn: (paused: boolean) =>
      call(paths.of(tenant).dag(dag.dag_id), { method: 'PATCH', body: { is_paused: paused } }),
    onSettled: () => client.invalidateQueries({ queryKey: ['dags', tenant] }),
  })
  const verdict = dag.allowed['pause']
  const label = dag.paused ? t('dags.resumeOne', { dag: dag.dag_id }) : t('dags.pauseOne', { dag: dag.dag_id })
  const problem = change.error instanceof Error ? change.error.message : undefined
  return (
    <Tooltip label={problem ?? verdict?.reason ?? label} withinPortal>
      <ActionIcon
        aria-label={label}
        loading={change.isPending}
        {...(verdict?.allowed === false ? { 'data-disabled': true } : {})}
        color={problem === undefined ? 'gray' : 'red'}
        onClick={() => verdict?.allowed !== false && change.mutate(!dag.paused)}
      >
        <Icon name={dag.paused ? 'play' : 'pause'} />
      </ActionIcon>
    </Tooltip>
  )
}

