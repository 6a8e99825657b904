import { useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import * as queries from '../api/queries'
import { Page } from '../components/Page'
import { PoolBar } from '../components/PoolBar'
import { Answer, Empty } from '../components/Views'
import { t } from '../i18n'
import { count } from '../util/numbers'

/** Who uses what. Pools, until quotas have an interface. */
export function Capacity() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/capacity' })
  const pools = useQuery(queries.pools(tenant))
  return (
    <Page tab={t('nav.capacity')} title={t('nav.capacity')}>
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
      <p>
        <Link to="/t/$tenant/tasks" params={{ tenant }} search={{ state: 'waiting' }}>
          {t('pools.queue')}
        </Link>
      </p>
    </Page>
  )
}
