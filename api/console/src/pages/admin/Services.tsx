import { TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useParams, useSearch } from '@tanstack/react-router'
import { useState } from 'react'
import * as queries from '../../api/queries'
import type { Verdict } from '../../api/types'
import { Act } from '../../components/Act'
import { Page } from '../../components/Page'
import { TimeText } from '../../components/Time'
import { Tokens } from '../../components/Tokens'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { paths } from '../../util/paths'
import { DeleteDialog, FormDialog } from './Form'

/** Accounts of programs: they have tokens and no password. */
export function Services() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/admin/service-accounts' })
  const { of } = useSearch({ from: '/inside/t/$tenant/admin/service-accounts' })
  const found = useQuery(queries.services(tenant))
  const { data: allowed } = useQuery(queries.allowed(tenant))
  const [making, make] = useState(false)
  const [gone, remove] = useState<string>()
  const verdict = allowed?.['edit_members']
  return (
    <Page tab={t('nav.services')} title={t('nav.services')}>
      <div className="bar" style={{ marginBottom: 12 }}>
        <Act variant="filled" verdict={verdict} onClick={() => make(true)}>
          {t('services.new')}
        </Act>
      </div>
      <Answer of={found}>
        {(data) => (
          <>
            <div className="panel scroll" style={{ marginBottom: 16 }}>
              {data.items.length === 0 ? (
                <Empty icon="key" title={t('services.none')}>
                  {t('services.noneMore')}
                </Empty>
              ) : (
                <table className="list">
                  <thead>
                    <tr>
                      <th>{t('me.name')}</th>
                      <th>{t('users.made')}</th>
                      <th>{t('services.by')}</th>
                      <th>{t('dags.actions')}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.items.map((service) => (
                      <tr key={service.name} aria-current={service.name === of || undefined}>
                        <td>
                          <Link to="/t/$tenant/admin/service-accounts" params={{ tenant }} search={{ of: service.name }}>
                            {service.name}
                          </Link>
                        </td>
                        <td>
                          <TimeText at={service.created_at} />
                        </td>
                        <td>{service.created_by}</td>
                        <td className="bar">
                          <Link to="/t/$tenant/admin/permissions" params={{ tenant }} search={{ who: service.name }}>
                            {t('nav.permissions')}
                          </Link>
                          <Act size="compact-xs" verdict={verdict} aria-label={t('delete.title', { what: service.name })} onClick={() => remove(service.name)}>
                            {t('action.delete')}
                          </Act>
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              )}
            </div>
            {of !== undefined && data.items.some((one) => one.name === of) && <TokensOf key={of} tenant={tenant} name={of} verdict={verdict} />}
          </>
        )}
      </Answer>
      {making && <NewService tenant={tenant} close={() => make(false)} />}
      {gone !== undefined && (
        <DeleteDialog what={gone} path={paths.of(tenant).service(gone)} queryKey={['services', tenant]} close={() => remove(undefined)} />
      )}
    </Page>
  )
}

function TokensOf({ tenant, name, verdict }: { tenant: string; name: string; verdict: Verdict | undefined }) {
  const found = useQuery(queries.serviceTokens(tenant, name))
  return (
    <Tokens
      title={t('services.tokens', { name })}
      of={found}
      queryKey={['service-tokens', tenant, name]}
      path={paths.of(tenant).serviceTokens(name)}
      one={(id) => paths.of(tenant).serviceToken(name, id)}
      verdict={verdict}
    />
  )
}

function NewService({ tenant, close }: { tenant: string; close: () => void }) {
  const [name, setName] = useState('')
  return (
    <FormDialog
      title={t('services.new')}
      queryKey={['services', tenant]}
      close={close}
      send={() => ({ path: paths.of(tenant).services, method: 'POST', body: { name } })}
    >
      <TextInput label={t('me.name')} description={t('services.newMore')} required value={name} onChange={(event) => setName(event.currentTarget.value)} />
    </FormDialog>
  )
}
