import { useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import * as queries from '../../api/queries'
import { TimeText } from '../../components/Time'
import { Answer } from '../../components/Views'
import { t } from '../../i18n'

export function DetailsTab() {
  const { tenant, dag } = useParams({ from: '/inside/t/$tenant/dags/$dag/details' })
  const found = useQuery(queries.dagDetails(tenant, dag))
  return (
    <Answer of={found} rows={6}>
      {(data) => (
        <>
          {data.doc_md !== null && <p style={{ whiteSpace: 'pre-wrap', maxWidth: 720 }}>{data.doc_md}</p>}
          <dl className="facts">
            <dt>{t('details.owner')}</dt>
            <dd>{data.owners.join(', ') || '–'}</dd>
            <dt>{t('details.tags')}</dt>
            <dd className="bar">
              {data.tags.length === 0
                ? '–'
                : data.tags.map((tag) => (
                    <Link key={tag.name} to="/t/$tenant/dags" params={{ tenant }} search={{ tag: tag.name }} style={{ minHeight: 24 }}>
                      {tag.name}{' '}
                    </Link>
                  ))}
            </dd>
            <dt>{t('details.file')}</dt>
            <dd className="mono">{data.relative_fileloc ?? '–'}</dd>
            <dt>{t('details.bundle')}</dt>
            <dd className="mono">{data.bundle_version?.slice(0, 16) ?? '–'}</dd>
            <dt>{t('details.activeRuns')}</dt>
            <dd>{t('details.of', { n: data.active_runs_count, of: data.max_active_runs ?? '∞' })}</dd>
            <dt>{t('details.activeTasks')}</dt>
            <dd>{data.max_active_tasks}</dd>
            <dt>{t('details.timeout')}</dt>
            <dd>{data.dag_run_timeout ?? '–'}</dd>
            <dt>{t('details.from')}</dt>
            <dd>
              <TimeText at={data.start_date} full />
            </dd>
            <dt>{t('details.to')}</dt>
            <dd>
              <TimeText at={data.end_date} full />
            </dd>
            <dt>{t('details.params')}</dt>
            <dd>
              {Object.keys(data.params ?? {}).length === 0 ? (
                '–'
              ) : (
                <pre style={{ margin: 0 }}>
                  {JSON.stringify(
                    Object.fromEntries(Object.entries(data.params ?? {}).map(([name, param]) => [name, param.schema])),
                    null,
                    2,
                  )}
                </pre>
              )}
            </dd>
          </dl>
        </>
      )}
    </Answer>
  )
}
