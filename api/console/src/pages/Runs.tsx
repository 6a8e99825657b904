import { Button, SegmentedControl } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import * as queries from '../api/queries'
import { Page } from '../components/Page'
import { StateBadge } from '../components/State'
import { TimeText, Took } from '../components/Time'
import { Answer, Empty } from '../components/Views'
import { t } from '../i18n'
import { middle } from '../util/numbers'

const PAGE = 100

/** Runs of all DAGs, those that are due last first. */
export function Runs() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/runs' })
  const filter = useSearch({ from: '/inside/t/$tenant/runs' })
  const navigate = useNavigate({ from: '/t/$tenant/runs' })
  const found = useQuery(queries.runs(tenant, filter))
  const offset = filter.offset ?? 0
  return (
    <Page tab={t('nav.runs')} title={t('nav.runs')}>
      <div className="bar" style={{ marginBottom: 12 }}>
        <SegmentedControl
          aria-label={t('runs.state')}
          data={[{ value: '', label: t('dags.all') }, 'running', 'queued', 'failed', 'success']}
          value={filter.state ?? ''}
          onChange={(state) => void navigate({ search: (old) => ({ ...old, state: state || undefined, offset: undefined }) })}
        />
        {filter.dag !== undefined && (
          <Button variant="default" onClick={() => void navigate({ search: (old) => ({ ...old, dag: undefined }) })}>
            {filter.dag} ✕
          </Button>
        )}
      </div>
      <Answer of={found}>
        {(data) => (
          <>
            <div className="panel scroll">
              {data.dag_runs.length === 0 ? (
                <Empty icon="play" title={t('runs.none')} />
              ) : (
                <table className="list">
                  <thead>
                    <tr>
                      <th>{t('task.state')}</th>
                      <th>{t('dags.dag')}</th>
                      <th>{t('runs.run')}</th>
                      <th className="wide">{t('run.type')}</th>
                      <th>{t('run.startedHead')}</th>
                      <th className="num">{t('task.took')}</th>
                      <th className="wide">{t('task.cause')}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.dag_runs.map((run) => (
                      <tr key={`${run.dag_id} ${run.dag_run_id}`}>
                        <td>
                          <StateBadge state={run.state} />
                        </td>
                        <td>
                          <Link to="/t/$tenant/dags/$dag" params={{ tenant, dag: run.dag_id }}>
                            {run.dag_id}
                          </Link>
                        </td>
                        <td>
                          <Link
                            to="/t/$tenant/dags/$dag/runs/$run"
                            params={{ tenant, dag: run.dag_id, run: run.dag_run_id }}
                            title={run.dag_run_id}
                          >
                            {middle(run.dag_run_id, 44)}
                          </Link>
                        </td>
                        <td className="soft wide">{run.run_type}</td>
                        <td>
                          <TimeText at={run.start_date ?? run.run_after} />
                        </td>
                        <td className="num">
                          <Took from={run.start_date} to={run.end_date} />
                        </td>
                        <td className="soft wide">{run.reason ?? ''}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              )}
            </div>
            <Pages total={data.total_entries} offset={offset} go={(to) => void navigate({ search: (old) => ({ ...old, offset: to || undefined }) })} />
          </>
        )}
      </Answer>
    </Page>
  )
}

/** Older and newer pages of a list. */
export function Pages({ total, offset, size = PAGE, go }: { total: number; offset: number; size?: number; go: (offset: number) => void }) {
  if (total <= size && offset === 0) return null
  return (
    <nav className="bar" style={{ marginTop: 10 }} aria-label={t('page.label')}>
      <Button variant="default" disabled={offset === 0} onClick={() => go(Math.max(0, offset - size))}>
        {t('page.before')}
      </Button>
      <Button variant="default" disabled={offset + size >= total} onClick={() => go(offset + size)}>
        {t('page.after')}
      </Button>
      <span className="soft small">{t('page.range', { from: offset + 1, to: Math.min(total, offset + size), total })}</span>
    </nav>
  )
}
