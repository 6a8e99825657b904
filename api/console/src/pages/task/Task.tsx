import { Button, Menu, SegmentedControl, Tabs } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { useState } from 'react'
import { live, useWatched } from '../../api/live'
import * as queries from '../../api/queries'
import type { TaskRef } from '../../api/queries'
import type { TaskInstance } from '../../api/types'
import { Act } from '../../components/Act'
import { ClearDialog } from '../../components/Clear'
import { CopyId } from '../../components/CopyId'
import { MarkTaskDialog } from '../../components/Mark'
import { Page } from '../../components/Page'
import { StateBadge } from '../../components/State'
import { TimeText, Took } from '../../components/Time'
import { Answer, Empty, ProblemView } from '../../components/Views'
import { WaitChain } from '../../components/WaitChain'
import { Problem } from '../../api/client'
import { type Key, t } from '../../i18n'
import type { TaskTab } from '../../router'
import type { TaskState } from '../../theme/states'
import { useKeys } from '../../util/useKeys'
import { LogTab } from './LogTab'

const logged: (TaskState | null)[] = ['running', 'success', 'failed', 'restarting', 'up_for_retry']
const tabs: { tab: TaskTab; name: Key }[] = [
  { tab: 'log', name: 'task.log' },
  { tab: 'why', name: 'task.why' },
  { tab: 'attempts', name: 'task.attempts' },
  { tab: 'result', name: 'task.result' },
  { tab: 'details', name: 'task.details' },
]

export function Task() {
  const { tenant, dag, run, task } = useParams({ from: '/inside/t/$tenant/dags/$dag/runs/$run/tasks/$task' })
  const search = useSearch({ from: '/inside/t/$tenant/dags/$dag/runs/$run/tasks/$task' })
  const client = useQueryClient()
  useWatched(live(client), dag)
  const of: TaskRef = { tenant, dag, run, task, map: search.map ?? -1 }
  const found = useQuery(queries.taskInstance(of))
  // A repeated task has instances only.
  const isMapped = found.error instanceof Problem && found.error.status === 404 && search.map === undefined
  if (search.tab === 'instances' || isMapped) return <Instances of={of} />
  return <Answer of={found}>{(data) => <One of={of} instance={data} />}</Answer>
}

function One({ of, instance }: { of: TaskRef; instance: TaskInstance }) {
  const { tenant, dag, run, task, map } = of
  const search = useSearch({ from: '/inside/t/$tenant/dags/$dag/runs/$run/tasks/$task' })
  const navigate = useNavigate({ from: '/t/$tenant/dags/$dag/runs/$run/tasks/$task' })
  const { data: allowed } = useQuery(queries.allowedOnDag(tenant, dag))
  const [clears, clear] = useState(false)
  const [marks, mark] = useState<'success' | 'failed' | 'skipped'>()
  const tab = search.tab ?? (logged.includes(instance.state) ? 'log' : 'why')
  const attempt = search.try ?? Math.max(1, instance.try_number)
  const show = (to: TaskTab) => void navigate({ search: (old) => ({ ...old, tab: to }), replace: true })
  useKeys({
    c: () => allowed?.['clear']?.allowed && clear(true),
    l: () => show('log'),
    w: () => show('why'),
  })
  const cause = instance.reason ?? (instance.exit_code ? t('exit', { code: instance.exit_code }) : null)
  const symbol = instance.state === 'failed' ? '✕ ' : instance.state === 'running' ? '▶ ' : ''
  return (
    <Page
      tab={`${symbol}${task}`}
      title={
        <>
          <Link to="/t/$tenant/dags/$dag" params={{ tenant, dag }} className="soft">
            {dag}
          </Link>
          <span className="soft">/</span>
          <Link to="/t/$tenant/dags/$dag/runs/$run" params={{ tenant, dag, run }} className="soft">
            {run}
          </Link>
          <span className="soft">/</span>
          <span>
            {task}
            {map >= 0 && ` [${map}]`}
          </span>
          <CopyId text={task} />
          <StateBadge state={instance.state} />
        </>
      }
    >
      <div className="bar" style={{ marginBottom: 8 }}>
        {instance.try_number > 0 && <span>{t('task.try', { n: instance.try_number, of: instance.max_tries + 1 })}</span>}
        {instance.start_date !== null && <Took from={instance.start_date} to={instance.end_date} />}
        {instance.start_date !== null && (
          <span className="soft">
            {t('run.started')} <TimeText at={instance.start_date} />
          </span>
        )}
        {instance.wake_at !== null && (
          <span>
            {t('task.wakes')} <TimeText at={instance.wake_at} />
          </span>
        )}
        {cause !== null && <strong>{cause}</strong>}
        <span className="push bar">
          <Act verdict={allowed?.['clear']} onClick={() => clear(true)}>
            {t('action.clear')}
          </Act>
          <Menu position="bottom-end">
            <Menu.Target>
              <Button variant="default">{t('action.mark')}</Button>
            </Menu.Target>
            <Menu.Dropdown>
              {(['success', 'failed', 'skipped'] as const).map((state) => (
                <Menu.Item key={state} disabled={allowed?.['clear']?.allowed === false} onClick={() => mark(state)}>
                  {t('mark.as', { state })}
                </Menu.Item>
              ))}
            </Menu.Dropdown>
          </Menu>
        </span>
      </div>
      <Tabs value={tab} onChange={(to) => to !== null && show(to as TaskTab)} keepMounted={false}>
        <Tabs.List aria-label={t('task.tabs')} style={{ overflowX: 'auto', flexWrap: 'nowrap' }}>
          {tabs.map((one) => (
            <Tabs.Tab key={one.tab} value={one.tab} {...(one.tab === tab ? {} : { 'aria-controls': undefined })}>
              {t(one.name)}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="log" pt={12}>
          {instance.try_number > 1 && (
            <SegmentedControl
              aria-label={t('task.whichTry')}
              mb={8}
              data={Array.from({ length: instance.try_number }, (_, at) => ({ value: String(at + 1), label: t('task.tryShort', { n: at + 1 }) }))}
              value={String(attempt)}
              onChange={(n) => void navigate({ search: (old) => ({ ...old, try: Number(n) }), replace: true })}
            />
          )}
          {instance.try_number === 0 ? (
            <div className="panel">
              <Empty icon="log" title={t('log.never')} />
            </div>
          ) : (
            <LogTab
              key={`${attempt} ${map}`}
              of={of}
              attempt={attempt}
              running={attempt === instance.try_number && instance.end_date === null}
              failed={instance.state === 'failed'}
            />
          )}
        </Tabs.Panel>
        <Tabs.Panel value="why" pt={12}>
          <WaitChain of={of} />
        </Tabs.Panel>
        <Tabs.Panel value="attempts" pt={12}>
          <Attempts of={of} />
        </Tabs.Panel>
        <Tabs.Panel value="result" pt={12}>
          <Result of={of} />
        </Tabs.Panel>
        <Tabs.Panel value="details" pt={12}>
          <Facts instance={instance} />
        </Tabs.Panel>
      </Tabs>
      {clears && <ClearDialog tenant={tenant} dag={dag} run={run} task={task} map={map} close={() => clear(false)} />}
      {marks !== undefined && (
        <MarkTaskDialog
          tenant={tenant}
          dag={dag}
          run={run}
          task={task}
          map={map}
          now={instance.state}
          state={marks}
          close={() => mark(undefined)}
        />
      )}
    </Page>
  )
}

function Attempts({ of }: { of: TaskRef }) {
  const tries = useQuery(queries.tries(of))
  return (
    <Answer of={tries} rows={3}>
      {(data) => (
        <div className="panel scroll">
          <table className="list">
            <thead>
              <tr>
                <th>{t('task.tryHead')}</th>
                <th>{t('task.state')}</th>
                <th>{t('run.startedHead')}</th>
                <th>{t('task.took')}</th>
                <th>{t('task.where')}</th>
                <th>{t('task.cause')}</th>
              </tr>
            </thead>
            <tbody>
              {data.task_instances.map((one) => (
                <tr key={one.try_number}>
                  <td>
                    <Link
                      from="/t/$tenant/dags/$dag/runs/$run/tasks/$task"
                      search={(old) => ({ ...old, tab: 'log' as const, try: one.try_number })}
                    >
                      {t('task.tryShort', { n: one.try_number })}
                    </Link>
                  </td>
                  <td>
                    <StateBadge state={one.state} />
                  </td>
                  <td>
                    <TimeText at={one.start_date} />
                  </td>
                  <td>
                    <Took from={one.start_date} to={one.end_date} />
                  </td>
                  <td>{one.hostname ?? one.executor ?? '–'}</td>
                  <td>
                    {one.reason ?? (one.exit_code === null ? '–' : t('exit', { code: one.exit_code }))}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Answer>
  )
}

function Result({ of }: { of: TaskRef }) {
  const result = useQuery(queries.results(of))
  if (result.error instanceof Problem && result.error.status === 404) {
    return (
      <div className="panel">
        <Empty icon="list" title={t('task.noResult')} />
      </div>
    )
  }
  if (result.error !== null && result.data === undefined) return <ProblemView error={result.error} />
  return (
    <Answer of={result} rows={3}>
      {(data) => (
        <pre className="panel" style={{ margin: 0, padding: 12, overflow: 'auto', maxHeight: '60vh' }} tabIndex={0} aria-label={t('task.result')}>
          {typeof data.value === 'string' ? data.value : JSON.stringify(data.value, null, 2)}
        </pre>
      )}
    </Answer>
  )
}

function Facts({ instance }: { instance: TaskInstance }) {
  return (
    <dl className="facts">
      <dt>{t('task.operator')}</dt>
      <dd>{instance.operator ?? '–'}</dd>
      <dt>{t('task.pool')}</dt>
      <dd>{t('task.poolSlots', { pool: instance.pool, n: instance.pool_slots })}</dd>
      <dt>{t('task.priority')}</dt>
      <dd>{instance.priority_weight ?? '–'}</dd>
      <dt>{t('task.executor')}</dt>
      <dd>{instance.executor ?? '–'}</dd>
      <dt>{t('task.queue')}</dt>
      <dd>{instance.queue ?? '–'}</dd>
      <dt>{t('task.where')}</dt>
      <dd>{instance.hostname ?? '–'}</dd>
      <dt>{t('task.scheduled')}</dt>
      <dd>
        <TimeText at={instance.scheduled_when} full />
      </dd>
      <dt>{t('run.queued')}</dt>
      <dd>
        <TimeText at={instance.queued_when} full />
      </dd>
      <dt>{t('run.startedHead')}</dt>
      <dd>
        <TimeText at={instance.start_date} full />
      </dd>
      <dt>{t('run.ended')}</dt>
      <dd>
        <TimeText at={instance.end_date} full />
      </dd>
      <dt>{t('task.exit')}</dt>
      <dd>{instance.exit_code ?? '–'}</dd>
    </dl>
  )
}

function Instances({ of }: { of: TaskRef }) {
  const { tenant, dag, run, task } = of
  const [offset, setOffset] = useState(0)
  const found = useQuery(queries.instances(of, offset))
  return (
    <Page
      tab={task}
      title={
        <>
          <Link to="/t/$tenant/dags/$dag" params={{ tenant, dag }} className="soft">
            {dag}
          </Link>
          <span className="soft">/</span>
          <Link to="/t/$tenant/dags/$dag/runs/$run" params={{ tenant, dag, run }} className="soft">
            {run}
          </Link>
          <span className="soft">/</span>
          <span>{task} [ ]</span>
        </>
      }
    >
      <Answer of={found}>
        {(data) => (
          <>
            <p className="soft">{t('task.instances', { n: data.total_entries })}</p>
            <div className="panel scroll">
              {data.task_instances.length === 0 && <Empty icon="hourglass" title={t('task.noInstances')} />}
              {data.task_instances.length > 0 && (
                <table className="list">
                  <thead>
                    <tr>
                      <th>{t('task.index')}</th>
                      <th>{t('task.state')}</th>
                      <th>{t('task.tryHead')}</th>
                      <th>{t('task.took')}</th>
                      <th>{t('task.cause')}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.task_instances.map((one) => (
                      <tr key={one.map_index}>
                        <td>
                          <Link
                            to="/t/$tenant/dags/$dag/runs/$run/tasks/$task"
                            params={{ tenant, dag, run, task }}
                            search={{ map: one.map_index }}
                          >
                            {task} [{one.map_index}]
                          </Link>
                        </td>
                        <td>
                          <StateBadge state={one.state} />
                        </td>
                        <td>{one.try_number}</td>
                        <td>
                          <Took from={one.start_date} to={one.end_date} />
                        </td>
                        <td>{one.reason ?? '–'}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              )}
            </div>
            {data.total_entries > 100 && (
              <div className="bar" style={{ marginTop: 8 }}>
                <Button variant="default" disabled={offset === 0} onClick={() => setOffset(Math.max(0, offset - 100))}>
                  {t('page.before')}
                </Button>
                <Button
                  variant="default"
                  disabled={offset + 100 >= data.total_entries}
                  onClick={() => setOffset(offset + 100)}
                >
                  {t('page.after')}
                </Button>
              </div>
            )}
          </>
        )}
      </Answer>
    </Page>
  )
}
