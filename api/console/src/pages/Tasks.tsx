import { SegmentedControl } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useNavigate, useParams, useSearch } from '@tanstack/react-router'
import * as queries from '../api/queries'
import { Page } from '../components/Page'
import { Queue } from '../components/Queue'
import { Answer, Empty } from '../components/Views'
import { t } from '../i18n'

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
              <Queue tenant={tenant} tasks={data.items} />
            )}
          </div>
        )}
      </Answer>
    </Page>
  )
}
