import { Checkbox, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useNavigate, useSearch } from '@tanstack/react-router'
import * as queries from '../../api/queries'
import { Icon } from '../../components/Icon'
import { Page } from '../../components/Page'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'

/** What the process is set to, and where each value comes from. It is changed where it comes from, not here. */
export function Config() {
  const { q = '', set = false } = useSearch({ from: '/inside/system/config' })
  const navigate = useNavigate({ from: '/system/config' })
  const found = useQuery(queries.config)
  return (
    <Page tab={t('nav.config')} title={t('nav.config')}>
      <div className="bar" role="search" style={{ marginBottom: 12, gap: 16 }}>
        <TextInput
          aria-label={t('config.filter')}
          placeholder={t('config.filter')}
          leftSection={<Icon name="search" size={14} />}
          value={q}
          onChange={(event) => void navigate({ search: (old) => ({ ...old, q: event.currentTarget.value || undefined }), replace: true })}
        />
        <Checkbox
          label={t('config.onlySet')}
          checked={set}
          onChange={(event) => void navigate({ search: (old) => ({ ...old, set: event.currentTarget.checked || undefined }), replace: true })}
        />
        <span className="soft small">{t('config.more')}</span>
      </div>
      <Answer of={found}>
        {({ items }) => {
          const shown = items.filter((one) => one.key.includes(q.toLowerCase()) && (!set || one.origin !== 'default'))
          return (
            <div className="panel scroll">
              {shown.length === 0 ? (
                <Empty icon="search" title={t('config.none')} />
              ) : (
                <table className="list">
                  <thead>
                    <tr>
                      <th>{t('config.key')}</th>
                      <th>{t('variables.value')}</th>
                      <th>{t('config.origin')}</th>
                      <th className="wide">{t('config.meaning')}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {shown.map((one) => (
                      <tr key={one.key}>
                        <td className="mono">{one.key}</td>
                        <td className="mono">{one.value ?? <span className="soft">{t('config.unset')}</span>}</td>
                        <td>{one.origin === 'default' ? <span className="soft">{t('config.default')}</span> : <strong>{one.origin}</strong>}</td>
                        <td className="soft wide">{one.doc}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              )}
            </div>
          )
        }}
      </Answer>
    </Page>
  )
}
