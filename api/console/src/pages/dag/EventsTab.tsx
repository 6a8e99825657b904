import { Select } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import * as queries from '../../api/queries'
import { StateBadge } from '../../components/State'
import { TimeText } from '../../components/Time'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { middle } from '../../util/numbers'

/** What happened to the DAG's last runs and their tasks, the latest first. */
export function EventsTab() {
  const { tenant, dag } = useParams({ from: '/inside/t/$tenant/dags/$dag/events' })
  const { run } = useSearch({ from: '/inside/t/$tenant/dags/$dag/events' })
  const navigate = useNavigate({ from: '/t/$tenant/dags/$dag/events' })
  const found = useQuery(queries.history(tenant, dag, run))
  return (
    <Answer of={found} rows={8}>
      {(data) => (
        <>
          <div className="bar" style={{ marginBottom: 12 }}>
            <Select
              aria-label={t('events.run')}
              placeholder={t('events.all', { n: data.runs.length })}
              clearable
              searchable
              data={data.runs}
              value={run ?? null}
              w={320}
              onChange={(one) => void navigate({ search: one === null ? {} : { run: one } })}
            />
            {data.truncated && <span className="soft small">{t('events.truncated', { n: data.items.length })}</span>}
          </div>
          <div className="panel scroll">
            {data.items.length === 0 ? (
              <Empty icon="log" title={t('events.none')} />
            ) : (
              <table className="list">
                <thead>
                  <tr>
                    <th>{t('audit.when')}</th>
                    <th>{t('runs.run')}</th>
                    <th>{t('task.task')}</th>
                    <th className="num">{t('task.tryHead')}</th>
                    <th>{t('task.state')}</th>
                    <th>{t('task.cause')}</th>
                  </tr>
                </thead>
                <tbody>
                  {data.items.map((event, at) => (
                    <tr key={at}>
                      <td>
                        <TimeText at={event.at} />
                      </td>
                      <td title={event.run_id}>
                        <Link to="/t/$tenant/dags/$dag/runs/$run" params={{ tenant, dag, run: event.run_id }}>
                          {middle(event.run_id, 36)}
                        </Link>
                      </td>
                      <td>
                        {event.task_id === null ? (
                          <span className="soft">{t('events.ofRun')}</span>
                        ) : (
                          <Link
                            to="/t/$tenant/dags/$dag/runs/$run/tasks/$task"
                            params={{ tenant, dag, run: event.run_id, task: event.task_id }}
                            search={event.map_index < 0 ? {} : { map: event.map_index }}
                          >
                            {event.task_id}
                            {event.map_index >= 0 && ` [${event.map_index}]`}
                          </Link>
                        )}
                      </td>
                      <td className="num">{event.try_number === 0 ? '–' : event.try_number}</td>
                      <td>
                        <StateBadge state={event.state} />
                      </td>
                      <td className="soft">{event.reason ?? '–'}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )}
          </div>
        </>
      )}
    </Answer>
  )
}
