import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import * as queries from '../api/queries'
import { Page } from '../components/Page'
import { PoolBar } from '../components/PoolBar'
import { Queue } from '../components/Queue'
import { Quotas } from '../components/Quotas'
import { Answer, Empty } from '../components/Views'
import { t } from '../i18n'
import { count } from '../util/numbers'

/** Rows of the queue that are shown beside the rest. */
const QUEUE = 20

/** Who uses what: quotas, the queue in its order, pools. */
export function Capacity() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/capacity' })
  const { resource } = useSearch({ from: '/inside/t/$tenant/capacity' })
  const navigate = useNavigate({ from: '/t/$tenant/capacity' })
  const { data: me } = useQuery(queries.me)
  const queue = useQuery(queries.openTasks(tenant, ['scheduled']))
  const pools = useQuery(queries.pools(tenant))
  return (
    <Page tab={t('nav.capacity')} title={t('nav.capacity')}>
      <Quotas
        tenant={tenant}
        whose={me?.platform_admin === true ? 'all' : 'own'}
        resource={resource}
        choose={(one) => void navigate({ search: { resource: one }, replace: true })}
      />
      <section className="panel scroll" aria-labelledby="queue" style={{ marginBottom: 16 }}>
        <h2 id="queue">{t('capacity.queue')}</h2>
        <Answer of={queue} rows={3}>
          {({ items }) =>
            items.length === 0 ? (
              <Empty title={t('capacity.noQueue')} />
            ) : (
              <>
                <Queue tenant={tenant} tasks={items.slice(0, QUEUE)} />
                <p style={{ padding: '0 12px' }}>
                  <Link to="/t/$tenant/tasks" params={{ tenant }} search={{ state: 'waiting' }}>
                    {t('pools.queue')}
                  </Link>
                </p>
              </>
            )
          }
        </Answer>
      </section>
      <section className="panel scroll" aria-labelledby="pools">
        <h2 id="pools">{t('nav.pools')}</h2>
        <Answer of={pools} rows={3}>
          {(data) =>
            data.pools.length === 0 ? (
              <Empty icon="gauge" title={t('pools.none')} />
            ) : (
              <table className="list">
                <thead>
                  <tr>
                    <th>{t('task.pool')}</th>
                    <th style={{ width: '50%' }}>{t('pools.use')}</th>
                    <th className="num">{t('pools.used')}</th>
                    <th className="num">{t('pools.slots')}</th>
                    <th className="num">{t('pools.wanted')}</th>
                  </tr>
                </thead>
                <tbody>
                  {data.pools.map((pool) => (
                    <tr key={pool.name}>
                      <td>{pool.name}</td>
                      <td>
                        <PoolBar pool={pool} />
                      </td>
                      <td className="num">{count(pool.occupied_slots)}</td>
                      <td className="num">{pool.slots < 0 ? '∞' : count(pool.slots)}</td>
                      <td className="num">{count(pool.scheduled_slots)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )
          }
        </Answer>
      </section>
    </Page>
  )
}
