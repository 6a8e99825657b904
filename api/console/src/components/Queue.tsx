import { Link } from '@tanstack/react-router'
import { Fragment, useState } from 'react'
import type { OpenTask } from '../api/types'
import { t } from '../i18n'
import { middle } from '../util/numbers'
import { StateBadge } from './State'
import { TimeText } from './Time'
import { WaitChain } from './WaitChain'

/** Task instances in their order, with their place in it; why each waits opens in place. */
export function Queue({ tenant, tasks }: { tenant: string; tasks: readonly OpenTask[] }) {
  const [opened, open] = useState<string>()
  return (
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
        {tasks.map((task, at) => {
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
