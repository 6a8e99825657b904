import { useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import * as queries from '../api/queries'
import { Page } from '../components/Page'
import { TimeText } from '../components/Time'
import { Answer, Empty } from '../components/Views'
import { t } from '../i18n'

export function Assets() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/assets' })
  const found = useQuery(queries.assets(tenant))
  return (
    <Page tab={t('nav.assets')} title={t('nav.assets')}>
      <Answer of={found}>
        {(data) => (
          <div className="panel scroll">
            {data.assets.length === 0 ? (
              <Empty icon="layers" title={t('assets.none')}>
                {t('assets.noneMore')}
              </Empty>
            ) : (
              <table className="list">
                <thead>
                  <tr>
                    <th>{t('assets.asset')}</th>
                    <th>{t('assets.updated')}</th>
                    <th>{t('assets.makers')}</th>
                    <th>{t('assets.users')}</th>
                  </tr>
                </thead>
                <tbody>
                  {data.assets.map((asset) => (
                    <tr key={asset.id}>
                      <td>{asset.name}</td>
                      <td>
                        <TimeText at={asset.last_asset_event?.timestamp} />
                      </td>
                      <td>
                        {asset.producing_tasks.map((task) => (
                          <div key={`${task.dag_id} ${task.task_id}`}>
                            <Link to="/t/$tenant/dags/$dag" params={{ tenant, dag: task.dag_id }}>
                              {task.dag_id}
                            </Link>{' '}
                            <span className="soft">/ {task.task_id}</span>
                          </div>
                        ))}
                      </td>
                      <td>
                        {asset.scheduled_dags.map((dag) => (
                          <div key={dag.dag_id}>
                            <Link to="/t/$tenant/dags/$dag" params={{ tenant, dag: dag.dag_id }}>
                              {dag.dag_id}
                            </Link>
                          </div>
                        ))}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )}
          </div>
        )}
      </Answer>
    </Page>
  )
}
