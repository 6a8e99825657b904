import { Checkbox, TextInput, Textarea } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useParams } from '@tanstack/react-router'
import { useState } from 'react'
import * as queries from '../../api/queries'
import type { Variable } from '../../api/types'
import { Act } from '../../components/Act'
import { Page } from '../../components/Page'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { middle } from '../../util/numbers'
import { paths } from '../../util/paths'
import { DeleteDialog, FormDialog } from './Form'

export function Variables() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/admin/variables' })
  const found = useQuery(queries.variables(tenant))
  const { data: allowed } = useQuery(queries.allowed(tenant))
  const [edited, edit] = useState<Variable | 'new'>()
  const [gone, remove] = useState<string>()
  const verdict = allowed?.['edit_variables']
  return (
    <Page tab={t('nav.variables')} title={t('nav.variables')}>
      <div className="bar" style={{ marginBottom: 12 }}>
        <Act variant="filled" verdict={verdict} onClick={() => edit('new')}>
          {t('variables.new')}
        </Act>
      </div>
      <Answer of={found}>
        {(data) => (
          <div className="panel scroll">
            {data.variables.length === 0 ? (
              <Empty icon="code" title={t('variables.none')} />
            ) : (
              <table className="list">
                <thead>
                  <tr>
                    <th>{t('variables.key')}</th>
                    <th>{t('variables.value')}</th>
                    <th>{t('variables.description')}</th>
                    <th>{t('dags.actions')}</th>
                  </tr>
                </thead>
                <tbody>
                  {data.variables.map((variable) => (
                    <tr key={variable.key}>
                      <td className="mono">{variable.key}</td>
                      <td className="mono" title={variable.value ?? undefined}>
                        {variable.is_encrypted ? '•••' : middle(variable.value ?? '', 80)}
                      </td>
                      <td className="soft">{variable.description ?? ''}</td>
                      <td>
                        <Act size="compact-xs" verdict={verdict} onClick={() => edit(variable)} aria-label={t('edit.one', { what: variable.key })}>
                          {t('action.edit')}
                        </Act>{' '}
                        <Act size="compact-xs" verdict={verdict} onClick={() => remove(variable.key)} aria-label={t('delete.title', { what: variable.key })}>
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
      {edited !== undefined && <Edit tenant={tenant} variable={edited === 'new' ? undefined : edited} close={() => edit(undefined)} />}
      {gone !== undefined && (
        <DeleteDialog what={gone} path={paths.of(tenant).variable(gone)} queryKey={['variables', tenant]} close={() => remove(undefined)} />
      )}
    </Page>
  )
}

function Edit({ tenant, variable, close }: { tenant: string; variable: Variable | undefined; close: () => void }) {
  const [key, setKey] = useState(variable?.key ?? '')
  const [value, setValue] = useState(variable?.value ?? '')
  const [description, setDescription] = useState(variable?.description ?? '')
  const [secret, setSecret] = useState(variable?.is_encrypted ?? false)
  const of = paths.of(tenant)
  return (
    <FormDialog
      title={variable === undefined ? t('variables.new') : t('edit.one', { what: variable.key })}
      queryKey={['variables', tenant]}
      close={close}
      send={() => ({
        path: variable === undefined ? of.variables : of.variable(variable.key),
        method: variable === undefined ? 'POST' : 'PATCH',
        body: { key, value, description: description || null, secret },
      })}
    >
      <TextInput label={t('variables.key')} required disabled={variable !== undefined} value={key} onChange={(event) => setKey(event.currentTarget.value)} />
      <Textarea
        label={t('variables.value')}
        description={secret ? t('variables.secretMore') : undefined}
        required
        autosize
        minRows={2}
        value={value}
        onChange={(event) => setValue(event.currentTarget.value)}
      />
      <TextInput label={t('variables.description')} value={description} onChange={(event) => setDescription(event.currentTarget.value)} />
      <Checkbox label={t('variables.secret')} checked={secret} onChange={(event) => setSecret(event.currentTarget.checked)} />
    </FormDialog>
  )
}
