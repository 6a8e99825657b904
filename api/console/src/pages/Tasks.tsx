import { SegmentedControl } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { Fragment, useState } from 'react'
import * as queries from '../api/queries'
import type { OpenTask } from '../api/types'
import { Page } from '../components/Page'
import { StateBadge } from '../components/State'
import { TimeText } from '../components/Time'
import { Answer, Empty } from '../components/Views'
import { WaitChain } from '../components/WaitChain'
import { t } from '../i18n'
import { middle } from '../util/numbers'

const groups: Record<string, readonly string[]> = {
  waiting: ['scheduled', 'queued', 'up_for_retry', 'up_for_reschedule', 'deferred', 'awaiting_input'],
  running: ['running', 'restarting'],
  blocked: ['none'],
}

/** What runs and what waits, over all DAGs; why, without leaving the list. */
export function Tasks() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/tasks' })
  const { state = 'waiting' } = useSearch({ from: '/inside/t/$tenant/tasks' })
  const navigate = useNavigate({ from: '/t/$tenant/tasks' })
  const found = useQuery(queries.openTasks(tenant, groups[state] ?? [state]))
  const [opened, open] = useState<string>()
  return (
    <Page tab={t('nav.tasks')} title={t('nav.tasks')}>
      <div className="bar" style={{ marginBottom: 12 }}>
        <SegmentedControl
          aria-label={t('runs.state')}
          data={[
            { value: 'waiting', label: t('tasks.waiting') },
            { value: 'running', label: t('tasks.running') },
            { value: 'blocked', label: t('tasks.blocked') },
          ]}
          value={state}
          onChange={(to) => void navigate({ search: { state: to } })}
        />
        <span className="soft small">{t('tasks.order')}</span>
      </div>
      <Answer of={found}>
        {(data) => (
          <div className="panel scroll">
            {data.items.length === 0 ? (
              <Empty icon="list" title={t('tasks.none')} />
            ) : (
              <table className="list">
                <thead>
                  <tr>
                    <th className="num">#</th>
                    <th>{t('task.state')}</th>
                    <th>{t('task.task')}</th>
                    <th className="wide">{t('task.pool')}</th>
                    <th className="num wide">{t('task.priority')}</th>
                    <th>{t('tasks.since')}</th>
                    <th>{t('task.why')}</th>
                  </tr>
                </thead>
                <tbody>
                  {data.items.map((task, at) => {
                    const key = `${task.dag_id} ${task.run_id} ${task.task_id} ${task.map_index}`
                    return (
                      <Fragment key={key}>
                        <Row tenant={tenant} task={task} at={at} opened={opened === key} open={() => open(opened === key ? undefined : key)} />
                        {opened === key && (
                          <tr>
                            <td />
                            <td colSpan={6} style={{ maxWidth: 'none' }}>
                              <WaitChain of={{ tenant, dag: task.dag_id, run: task.run_id, task: task.task_id, map: task.map_index }} />
                            </td>
                          </tr>
                        )}
                      </Fragment>
                    )
                  })}
                </tbody>
              </table>
            )}
          </div>
        )}
      </Answer>
    </Page>
  )
}

function Row({ tenant, task, at, opened, open }: { tenant: string; task: OpenTask; at: number; opened: boolean; open: () => void }) {
  return (
    <tr>
      <td className="num soft">{at + 1}</td>
      <td>
        <StateBadge state={task.state} />
      </td>
      <td>
        <Link
          to="/t/$tenant/dags/$dag/runs/$run/tasks/$task"
          params={{ tenant, dag: task.dag_id, run: task.run_id, task: task.task_id }}
          search={task.map_index < 0 ? {} : { map: task.map_index }}
        >
          {task.task_id}
          {task.map_index >= 0 && ` [${task.map_index}]`}
        </Link>
        <div className="soft small" title={task.run_id}>
          {task.dag_id} · {middle(task.run_id, 32)}
        </div>
      </td>
      <td className="wide">{task.pool}</td>
      <td className="num wide">{task.priority}</td>
      <td>
        <TimeText at={task.started_at ?? task.queued_at ?? task.scheduled_at} />
      </td>
      <td>
        <button type="button" className="link" aria-expanded={opened} aria-label={t('task.whyOf', { task: task.task_id })} onClick={open}>
          {opened ? t('action.close') : t('task.why')}
        </button>
      </td>
    </tr>
  )
}
