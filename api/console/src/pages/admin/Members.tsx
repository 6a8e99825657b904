import { Select, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import { useState } from 'react'
import * as queries from '../../api/queries'
import { Act } from '../../components/Act'
import { Page } from '../../components/Page'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { grouped } from '../../util/grouped'
import { paths } from '../../util/paths'
import { DeleteDialog, FormDialog } from './Form'
import { MayThey } from './MayThey'

interface Grant {
  kind: string
  name: string
  role: string
}

/** Who has which role in the tenant. */
export function Members() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/admin/members' })
  const found = useQuery(queries.grants(tenant))
  const { data: allowed } = useQuery(queries.allowed(tenant))
  const [adding, add] = useState(false)
  const [gone, remove] = useState<Grant>()
  const verdict = allowed?.['edit_members']
  // A grant says whether an account or a group has it; an account is a person's unless its name says otherwise.
  const path = (grant: Grant) => paths.of(tenant).grant(grant.kind === 'group' ? 'group' : 'user', grant.name, grant.role)
  return (
    <Page tab={t('nav.members')} title={t('nav.members')}>
      <div className="bar" style={{ marginBottom: 12 }}>
        <Act variant="filled" verdict={verdict} onClick={() => add(true)}>
          {t('members.grant')}
        </Act>
        <Link to="/t/$tenant/admin/roles" params={{ tenant }}>
          {t('members.what')}
        </Link>
      </div>
      <Answer of={found}>
        {(data) => {
          const people = grouped(data.items, (grant) => `${grant.kind} ${grant.name}`)
          return (
            <div className="panel scroll">
              {data.items.length === 0 ? (
                <Empty icon="user" title={t('members.none')} />
              ) : (
                <table className="list">
                  <thead>
                    <tr>
                      <th>{t('me.kind')}</th>
                      <th>{t('me.name')}</th>
                      <th>{t('members.roles')}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {[...people.entries()].map(([key, grants]) => (
                      <tr key={key}>
                        <td className="soft">{grants[0]?.kind}</td>
                        <td>
                          {grants[0]?.kind === 'group' ? (
                            <Link to="/t/$tenant/admin/groups" params={{ tenant }}>
                              {grants[0].name}
                            </Link>
                          ) : (
                            <Link to="/t/$tenant/admin/permissions" params={{ tenant }} search={{ who: grants[0]?.name ?? '' }}>
                              {grants[0]?.name}
                            </Link>
                          )}
                        </td>
                        <td className="bar">
                          {grants.map((grant) => (
                            <span key={grant.role} className="bar" style={{ gap: 2 }}>
                              <Link to="/t/$tenant/admin/roles" params={{ tenant }} search={{ role: grant.role }}>
                                {grant.role}
                              </Link>
                              <Act
                                size="compact-xs"
                                variant="subtle"
                                verdict={verdict}
                                aria-label={t('members.take', { role: grant.role, name: grant.name })}
                                onClick={() => remove(grant)}
                              >
                                ✕
                              </Act>
                            </span>
                          ))}
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              )}
            </div>
          )
        }}
      </Answer>
      <MayThey tenant={tenant} />
      {adding && <GrantDialog tenant={tenant} close={() => add(false)} />}
      {gone !== undefined && (
        <DeleteDialog
          what={t('members.grantOf', { role: gone.role, name: gone.name })}
          path={path(gone)}
          queryKey={['grants', tenant]}
          close={() => remove(undefined)}
        />
      )}
    </Page>
  )
}

function GrantDialog({ tenant, close }: { tenant: string; close: () => void }) {
  const roles = useQuery(queries.roles(tenant))
  const [kind, setKind] = useState('user')
  const [name, setName] = useState('')
  const [role, setRole] = useState<string | null>('viewer')
  return (
    <FormDialog
      title={t('members.grant')}
      queryKey={['grants', tenant]}
      close={close}
      send={() => ({ path: paths.of(tenant).grant(kind, name, role ?? ''), method: 'PUT' })}
    >
      <Select
        label={t('me.kind')}
        data={[
          { value: 'user', label: t('members.user') },
          { value: 'group', label: t('members.group') },
          { value: 'service', label: t('members.service') },
        ]}
        value={kind}
        allowDeselect={false}
        onChange={(value) => setKind(value ?? 'user')}
      />
      <TextInput label={t('me.name')} required value={name} onChange={(event) => setName(event.currentTarget.value)} />
      <Select
        label={t('members.role')}
        data={roles.data?.items.map((one) => one.name) ?? []}
        value={role}
        allowDeselect={false}
        onChange={setRole}
      />
    </FormDialog>
  )
}
