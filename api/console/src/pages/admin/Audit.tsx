import { useQuery } from '@tanstack/react-query'
import { useNavigate, useParams, useSearch } from '@tanstack/react-router'
import * as queries from '../../api/queries'
import { Page } from '../../components/Page'
import { TimeText } from '../../components/Time'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { Pages } from '../Runs'

/** Who changed what, the newest first. */
export function Audit() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/admin/audit' })
  const { offset = 0 } = useSearch({ from: '/inside/t/$tenant/admin/audit' })
  const navigate = useNavigate({ from: '/t/$tenant/admin/audit' })
  const found = useQuery(queries.audit(tenant, offset))
  return (
    <Page tab={t('nav.audit')} title={t('nav.audit')}>
      <Answer of={found}>
        {(data) => (
          <>
            <div className="panel scroll">
              {data.event_logs.length === 0 ? (
                <Empty icon="log" title={t('audit.none')} />
              ) : (
                <table className="list">
                  <thead>
                    <tr>
                      <th>{t('audit.when')}</th>
                      <th>{t('audit.who')}</th>
                      <th>{t('audit.what')}</th>
                      <th>{t('audit.object')}</th>
                      <th>{t('audit.more')}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.event_logs.map((entry) => (
                      <tr key={entry.event_log_id}>
                        <td>
                          <TimeText at={entry.when} />
                        </td>
                        <td>{entry.owner ?? '–'}</td>
                        <td>{entry.event}</td>
                        <td>{[entry.dag_id, entry.run_id, entry.task_id].filter((one) => one !== null).join(' / ') || '–'}</td>
                        <td>
                          {entry.extra !== null && (
                            <details>
                              <summary>{t('audit.show')}</summary>
                              <pre style={{ margin: 0, whiteSpace: 'pre-wrap' }}>{entry.extra}</pre>
                            </details>
                          )}
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              )}
            </div>
            <Pages total={data.total_entries} offset={offset} size={50} go={(to) => void navigate({ search: { offset: to || undefined } as never })} />
          </>
        )}
      </Answer>
    </Page>
  )
}
