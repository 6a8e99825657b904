import { NumberInput, PasswordInput, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useParams } from '@tanstack/react-router'
import { useState } from 'react'
import * as queries from '../../api/queries'
import type { Connection } from '../../api/types'
import { Act } from '../../components/Act'
import { Page } from '../../components/Page'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { paths } from '../../util/paths'
import { DeleteDialog, FormDialog } from './Form'

export function Connections() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/admin/connections' })
  const found = useQuery(queries.connections(tenant))
  const { data: allowed } = useQuery(queries.allowed(tenant))
  const [edited, edit] = useState<Connection | 'new'>()
  const [gone, remove] = useState<string>()
  const verdict = allowed?.['edit_connections']
  return (
    <Page tab={t('nav.connections')} title={t('nav.connections')}>
      <div className="bar" style={{ marginBottom: 12 }}>
        <Act variant="filled" verdict={verdict} onClick={() => edit('new')}>
          {t('connections.new')}
        </Act>
      </div>
      <Answer of={found}>
        {(data) => (
          <div className="panel scroll">
            {data.connections.length === 0 ? (
              <Empty icon="plug" title={t('connections.none')} />
            ) : (
              <table className="list">
                <thead>
                  <tr>
                    <th>{t('connections.id')}</th>
                    <th>{t('connections.type')}</th>
                    <th>{t('connections.host')}</th>
                    <th>{t('connections.login')}</th>
                    <th>{t('variables.description')}</th>
                    <th>{t('dags.actions')}</th>
                  </tr>
                </thead>
                <tbody>
                  {data.connections.map((one) => (
                    <tr key={one.connection_id}>
                      <td className="mono">{one.connection_id}</td>
                      <td>{one.conn_type}</td>
                      <td>
                        {one.host ?? '–'}
                        {one.port !== null && `:${one.port}`}
                      </td>
                      <td>{one.login ?? '–'}</td>
                      <td className="soft">{one.description ?? ''}</td>
                      <td>
                        <Act size="compact-xs" verdict={verdict} onClick={() => edit(one)} aria-label={t('edit.one', { what: one.connection_id })}>
                          {t('action.edit')}
                        </Act>{' '}
                        <Act size="compact-xs" verdict={verdict} onClick={() => remove(one.connection_id)} aria-label={t('delete.title', { what: one.connection_id })}>
                          {t('action.delete')}
                        </Act>
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )}
          </div>
        )}
      </Answer>
      {edited !== undefined && <Edit tenant={tenant} connection={edited === 'new' ? undefined : edited} close={() => edit(undefined)} />}
      {gone !== undefined && (
        <DeleteDialog what={gone} path={paths.of(tenant).connection(gone)} queryKey={['connections', tenant]} close={() => remove(undefined)} />
      )}
    </Page>
  )
}

function Edit({ tenant, connection, close }: { tenant: string; connection: Connection | undefined; close: () => void }) {
  const [values, setValues] = useState({
    connection_id: connection?.connection_id ?? '',
    conn_type: connection?.conn_type ?? 'http',
    host: connection?.host ?? '',
    login: connection?.login ?? '',
    schema: connection?.schema ?? '',
    description: connection?.description ?? '',
  })
  const [port, setPort] = useState<number | string>(connection?.port ?? '')
  const [password, setPassword] = useState('')
  const of = paths.of(tenant)
  const set = (key: keyof typeof values) => (event: { currentTarget: { value: string } }) => {
    const { value } = event.currentTarget
    setValues((old) => ({ ...old, [key]: value }))
  }
  const given = (text: string) => (text === '' ? null : text)
  return (
    <FormDialog
      title={connection === undefined ? t('connections.new') : t('edit.one', { what: connection.connection_id })}
      queryKey={['connections', tenant]}
      close={close}
      send={() => ({
        path: connection === undefined ? of.connections : of.connection(connection.connection_id),
        method: connection === undefined ? 'POST' : 'PATCH',
        body: {
          connection_id: values.connection_id,
          conn_type: values.conn_type,
          host: given(values.host),
          login: given(values.login),
          schema: given(values.schema),
          description: given(values.description),
          port: port === '' ? null : Number(port),
          ...(password === '' ? {} : { password }),
        },
      })}
    >
      <TextInput label={t('connections.id')} required disabled={connection !== undefined} value={values.connection_id} onChange={set('connection_id')} />
      <TextInput label={t('connections.type')} required value={values.conn_type} onChange={set('conn_type')} />
      <TextInput label={t('connections.host')} value={values.host} onChange={set('host')} />
      <NumberInput label={t('connections.port')} min={1} max={65_535} value={port} onChange={setPort} />
      <TextInput label={t('connections.schema')} value={values.schema} onChange={set('schema')} />
      <TextInput label={t('connections.login')} autoComplete="off" value={values.login} onChange={set('login')} />
      <PasswordInput
        label={t('connections.password')}
        description={connection === undefined ? undefined : t('connections.keep')}
        autoComplete="new-password"
        visibilityToggleButtonProps={{ 'aria-label': t('login.show') }}
        value={password}
        onChange={(event) => setPassword(event.currentTarget.value)}
      />
      <TextInput label={t('variables.description')} value={values.description} onChange={set('description')} />
    </FormDialog>
  )
}
