import { useQuery } from '@tanstack/react-query'
import * as queries from '../../api/queries'
import { Icon } from '../../components/Icon'
import { Page } from '../../components/Page'
import { TimeText } from '../../components/Time'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { count } from '../../util/numbers'

/** The machines that carry attempts out, and whether they are heard. */
export function Workers() {
  const found = useQuery(queries.workers)
  return (
    <Page tab={t('nav.workers')} title={t('nav.workers')}>
      <Answer of={found}>
        {({ items }) => (
          <div className="panel scroll">
            {items.length === 0 ? (
              <Empty icon="plug" title={t('workers.none')}>
                {t('workers.noneMore')}
              </Empty>
            ) : (
              <table className="list">
                <thead>
                  <tr>
                    <th>{t('me.name')}</th>
                    <th>{t('users.state')}</th>
                    <th>{t('task.executor')}</th>
                    <th className="num">{t('pools.slots')}</th>
                    <th>{t('workers.queues')}</th>
                    <th className="wide">{t('workers.release')}</th>
                    <th className="wide">{t('workers.since')}</th>
                  </tr>
                </thead>
                <tbody>
                  {items.map((worker) => (
                    <tr key={worker.id}>
                      <td title={worker.id}>
                        {worker.name}
                        <div className="soft small">
                          {Object.entries(worker.labels)
                            .map(([key, value]) => `${key}=${value}`)
                            .join(' ')}
                        </div>
                      </td>
                      <td>
                        {worker.lost_at === null ? (
                          t('workers.present')
                        ) : (
                          <strong style={{ color: 'var(--bad-ink)' }}>
                            <Icon name="alert" size={12} /> {t('workers.lost')} <TimeText at={worker.lost_at} />
                          </strong>
                        )}
                      </td>
                      <td>{worker.executor}</td>
                      <td className="num">{count(worker.slots)}</td>
                      <td>{worker.queues.join(', ') || '–'}</td>
                      <td className="wide">{worker.release}</td>
                      <td className="wide">
                        <TimeText at={worker.registered_at} />
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
