import { Button, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { call } from '../../api/client'
import * as queries from '../../api/queries'
import { Act } from '../../components/Act'
import { Page } from '../../components/Page'
import { TimeText } from '../../components/Time'
import { Answer, ProblemView } from '../../components/Views'
import { t } from '../../i18n'
import { paths } from '../../util/paths'
import { FormDialog } from '../admin/Form'

/** Tenants, for those who administer the platform. */
export function Tenants() {
  const found = useQuery(queries.tenants)
  const client = useQueryClient()
  const [making, make] = useState(false)
  const change = useMutation({
    mutationFn: ({ name, suspended }: { name: string; suspended: boolean }) =>
      call(paths.tenant(name), { method: 'PATCH', body: { suspended } }),
    onSuccess: () => client.invalidateQueries({ queryKey: ['tenants'] }),
  })
  return (
    <Page tab={t('nav.tenants')} title={t('nav.tenants')}>
      <div className="bar" style={{ marginBottom: 12 }}>
        <Button onClick={() => make(true)}>{t('tenants.new')}</Button>
      </div>
      {change.isError && <ProblemView error={change.error} />}
      <Answer of={found}>
        {(data) => (
          <div className="panel scroll">
            <table className="list">
              <thead>
                <tr>
                  <th>{t('me.name')}</th>
                  <th>{t('users.state')}</th>
                  <th>{t('users.made')}</th>
                  <th>{t('dags.actions')}</th>
                </tr>
              </thead>
              <tbody>
                {data.items.map((tenant) => (
                  <tr key={tenant.id}>
                    <td>{tenant.name}</td>
                    <td>{tenant.suspended ? <strong>{t('tenants.suspended')}</strong> : t('tenants.active')}</td>
                    <td>
                      <TimeText at={tenant.created_at} />
                    </td>
                    <td>
                      <Act
                        size="compact-xs"
                        aria-label={t(tenant.suspended ? 'tenants.resumeOne' : 'tenants.suspendOne', { name: tenant.name })}
                        onClick={() => change.mutate({ name: tenant.name, suspended: !tenant.suspended })}
                      >
                        {t(tenant.suspended ? 'tenants.resume' : 'tenants.suspend')}
                      </Act>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Answer>
      {making && <NewTenant close={() => make(false)} />}
    </Page>
  )
}

function NewTenant({ close }: { close: () => void }) {
  const [name, setName] = useState('')
  const [admin, setAdmin] = useState('')
  return (
    <FormDialog
      title={t('tenants.new')}
      queryKey={['tenants']}
      close={close}
      send={() => ({ path: paths.tenants, method: 'POST', body: { name, ...(admin === '' ? {} : { admin }) } })}
    >
      <TextInput label={t('me.name')} required value={name} onChange={(event) => setName(event.currentTarget.value)} />
      <TextInput label={t('tenants.admin')} description={t('tenants.adminMore')} value={admin} onChange={(event) => setAdmin(event.currentTarget.value)} />
    </FormDialog>
  )
}
