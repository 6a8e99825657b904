import { Menu, Button, SegmentedControl, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { useMemo, useState } from 'react'
import { live, useWatched } from '../api/live'
import * as queries from '../api/queries'
import { byteAt, stateOf } from '../api/grid'
import type { Grid } from '../api/grid'
import { Act } from '../components/Act'
import { ClearDialog } from '../components/Clear'
import { CopyId } from '../components/CopyId'
import { Icon } from '../components/Icon'
import { MarkRunDialog } from '../components/Mark'
import { Page } from '../components/Page'
import { Counts, StateBadge } from '../components/State'
import { TimeText, Took } from '../components/Time'
import { Timeline } from '../components/Timeline'
import { Answer, Empty } from '../components/Views'
import { t } from '../i18n'
import { type TaskState } from '../theme/states'
import { useKeys } from '../util/useKeys'

type Which = 'all' | 'failed' | 'open'
const bad: TaskState[] = ['failed', 'upstream_failed']
const over: TaskState[] = ['success', 'failed', 'skipped', 'upstream_failed', 'removed']
const symbols = { failed: '✕ ', running: '▶ ', success: '✓ ', queued: '⌛ ' } as const

export function Run() {
  const { tenant, dag, run: name } = useParams({ from: '/inside/t/$tenant/dags/$dag/runs/$run' })
  const client = useQueryClient()
  useWatched(live(client), dag)
  const run = useQuery(queries.run(tenant, dag, name))
  const grid = useQuery(queries.runGrid(tenant, dag, name))
  const { data: allowed } = useQuery(queries.allowedOnDag(tenant, dag))
  const [clears, clear] = useState(false)
  const [marks, mark] = useState<'success' | 'failed'>()
  const navigate = useNavigate()
  const go = useNavigate({ from: '/t/$tenant/dags/$dag/runs/$run' })
  const { view } = useSearch({ from: '/inside/t/$tenant/dags/$dag/runs/$run' })
  useKeys({ c: () => allowed?.['clear']?.allowed && clear(true) })
  const counts = useMemo(() => (grid.data === undefined ? {} : countsOf(grid.data)), [grid.data])
  return (
    <Answer of={run}>
      {(data) => (
        <Page
          tab={`${symbols[data.state]}${dag}`}
          title={
            <>
              <Link to="/t/$tenant/dags/$dag" params={{ tenant, dag }} className="soft">
                {dag}
              </Link>
              <span className="soft">/</span>
              <span>{name}</span>
              <CopyId text={name} />
              <StateBadge state={data.state} />
            </>
          }
        >
          <div className="bar" style={{ marginBottom: 10 }}>
            <Counts counts={counts} />
            <span>
              <Took from={data.start_date} to={data.end_date} />
            </span>
            <span className="soft">
              {data.start_date === null ? t('run.due') : t('run.started')}{' '}
              <TimeText at={data.start_date ?? data.run_after} />
            </span>
            {data.triggering_user_name !== null && (
              <span className="soft">{t('run.by', { who: data.triggering_user_name })}</span>
            )}
            <span className="push bar">
              <Act verdict={allowed?.['clear']} onClick={() => clear(true)}>
                {t('action.clear')}
              </Act>
              <Menu position="bottom-end">
                <Menu.Target>
                  <Button variant="default">{t('action.mark')}</Button>
                </Menu.Target>
                <Menu.Dropdown>
                  <Menu.Item disabled={allowed?.['mark_run']?.allowed === false} onClick={() => mark('success')}>
                    {t('mark.success')}
                  </Menu.Item>
                  <Menu.Item disabled={allowed?.['mark_run']?.allowed === false} onClick={() => mark('failed')}>
                    {t('mark.failed')}
                  </Menu.Item>
                </Menu.Dropdown>
              </Menu>
              <Button
                variant="default"
                onClick={() => void navigate({ to: '/t/$tenant/dags/$dag/graph', params: { tenant, dag }, search: { run: name } })}
              >
                {t('dag.graph')}
              </Button>
            </span>
          </div>
          {data.reason !== null && (
            <p role="note">
              <Icon name="alert" size={14} /> {data.reason}
            </p>
          )}
          {data.note !== null && data.note !== '' && <p className="soft">{data.note}</p>}
          <SegmentedControl
            mb={8}
            aria-label={t('run.view')}
            data={[
              { value: 'tasks', label: t('nav.tasks') },
              { value: 'timeline', label: t('timeline.title') },
            ]}
            value={view ?? 'tasks'}
            onChange={(to) => void go({ search: to === 'timeline' ? { view: 'timeline' } : {}, replace: true })}
          />
          {view === 'timeline' ? (
            <Timeline tenant={tenant} dag={dag} run={name} />
          ) : (
            <Answer of={grid}>{(cells) => <Tasks tenant={tenant} dag={dag} run={name} grid={cells} />}</Answer>
          )}
          <details style={{ marginTop: 16 }}>
            <summary>{t('run.facts')}</summary>
            <dl className="facts" style={{ marginTop: 8 }}>
              <dt>{t('run.type')}</dt>
              <dd>{data.run_type}</dd>
              <dt>{t('run.date')}</dt>
              <dd>
                <TimeText at={data.logical_date} full />
              </dd>
              <dt>{t('run.interval')}</dt>
              <dd>
                <TimeText at={data.data_interval_start} full /> – <TimeText at={data.data_interval_end} full />
              </dd>
              <dt>{t('run.queued')}</dt>
              <dd>
                <TimeText at={data.queued_at} full />
              </dd>
              <dt>{t('run.ended')}</dt>
              <dd>
                <TimeText at={data.end_date} full />
              </dd>
              <dt>{t('run.version')}</dt>
              <dd>{data.dag_versions.map((version) => `v${version.version_number}`).join(', ') || '–'}</dd>
              <dt>{t('run.conf')}</dt>
              <dd>
                <pre style={{ margin: 0 }}>{JSON.stringify(data.conf ?? {}, null, 2)}</pre>
              </dd>
            </dl>
          </details>
          {clears && <ClearDialog tenant={tenant} dag={dag} run={name} close={() => clear(false)} />}
          {marks !== undefined && (
            <MarkRunDialog tenant={tenant} dag={dag} run={name} state={marks} counts={counts} close={() => mark(undefined)} />
          )}
        </Page>
      )}
    </Answer>
  )
}

function countsOf(grid: Grid): Partial<Record<TaskState, number>> {
  const counts: Partial<Record<TaskState, number>> = {}
  const run = grid.runs[0]
  grid.rows.forEach((_, row) => {
    const detail = grid.detail.get(`${run?.id}\n${row}`)
    const state = stateOf(grid, byteAt(grid, 0, row))
    if (detail !== undefined) {
      for (const [name, n] of Object.entries(detail) as [TaskState, number][]) counts[name] = (counts[name] ?? 0) + n
    } else if (state !== null) counts[state] = (counts[state] ?? 0) + 1
  })
  return counts
}

function Tasks({ tenant, dag, run, grid }: { tenant: string; dag: string; run: string; grid: Grid }) {
  const [which, choose] = useState<Which>('all')
  const [text, type] = useState('')
  const rows = grid.rows
    .map((row, index) => ({ row, state: stateOf(grid, byteAt(grid, 0, index)), detail: grid.detail.get(`${run}\n${index}`) }))
    .filter(({ row, state }) => {
      if (text !== '' && !row.id.toLowerCase().includes(text.toLowerCase())) return false
      if (which === 'all') return text === '' || row.kind !== 'group'
      if (state === null) return false
      return which === 'failed' ? bad.includes(state) : !over.includes(state)
    })
  return (
    <section aria-label={t('run.tasks')}>
      <div className="bar" style={{ marginBottom: 8 }}>
        <SegmentedControl
          aria-label={t('run.which')}
          data={[
            { value: 'all', label: t('run.all') },
            { value: 'failed', label: t('run.failed') },
            { value: 'open', label: t('run.open') },
          ]}
          value={which}
          onChange={(value) => choose(value as Which)}
        />
        <TextInput
          aria-label={t('grid.filter')}
          placeholder={t('grid.filter')}
          value={text}
          onChange={(event) => type(event.currentTarget.value)}
        />
      </div>
      <div className="panel">
        {rows.length === 0 ? (
          <Empty title={t('run.none')} />
        ) : (
          <table className="list">
            <thead>
              <tr>
                <th>{t('task.task')}</th>
                <th>{t('task.state')}</th>
                <th className="wide">{t('task.operator')}</th>
                <th className="wide">{t('task.after')}</th>
                <th>{t('task.open')}</th>
              </tr>
            </thead>
            <tbody>
              {rows.map(({ row, state, detail }) => (
                <tr key={row.id}>
                  <td style={{ paddingLeft: 10 + row.depth * 16 }}>
                    {row.kind === 'group' ? (
                      <strong>{row.id}</strong>
                    ) : (
                      <Link
                        to="/t/$tenant/dags/$dag/runs/$run/tasks/$task"
                        params={{ tenant, dag, run, task: row.id }}
                        search={row.kind === 'mapped' ? { tab: 'instances' } : {}}
                      >
                        {row.id}
                        {row.kind === 'mapped' && ' [ ]'}
                      </Link>
                    )}
                  </td>
                  <td>
                    {row.kind === 'group' ? null : detail === undefined ? (
                      state === null ? (
                        <span className="soft">–</span>
                      ) : (
                        <StateBadge state={state} />
                      )
                    ) : (
                      <Counts counts={detail} />
                    )}
                  </td>
                  <td className="soft wide">{row.operator ?? ''}</td>
                  <td className="soft wide small">
                    {(row.needs ?? []).slice(0, 4).join(', ')}
                    {(row.needs?.length ?? 0) > 4 && ` +${(row.needs?.length ?? 0) - 4}`}
                    {row.rule !== undefined && ` · ${row.rule}`}
                  </td>
                  <td>
                    {row.kind === 'task' && state !== null && (
                      <Link
                        to="/t/$tenant/dags/$dag/runs/$run/tasks/$task"
                        params={{ tenant, dag, run, task: row.id }}
                        search={{ tab: over.includes(state) || state === 'running' ? 'log' : 'why' }}
                        aria-label={over.includes(state) || state === 'running' ? t('task.logOf', { task: row.id }) : t('task.whyOf', { task: row.id })}
                      >
                        {over.includes(state) || state === 'running' ? t('task.log') : t('task.why')}
                      </Link>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </div>
    </section>
  )
}
