import { TagsInput, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import { useState } from 'react'
import * as queries from '../../api/queries'
import type { Group } from '../../api/types'
import { Act } from '../../components/Act'
import { Page } from '../../components/Page'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { paths } from '../../util/paths'
import { DeleteDialog, FormDialog } from './Form'

/** Groups: accounts that are given roles together. */
export function Groups() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/admin/groups' })
  const found = useQuery(queries.groups(tenant))
  const grants = useQuery(queries.grants(tenant))
  const { data: allowed } = useQuery(queries.allowed(tenant))
  const [edited, edit] = useState<Group | 'new'>()
  const [gone, remove] = useState<Group>()
  const verdict = allowed?.['edit_members']
  const rolesOf = (name: string) => grants.data?.items.filter((grant) => grant.kind === 'group' && grant.name === name) ?? []
  return (
    <Page tab={t('nav.groups')} title={t('nav.groups')}>
      <div className="bar" style={{ marginBottom: 12 }}>
        <Act variant="filled" verdict={verdict} onClick={() => edit('new')}>
          {t('groups.new')}
        </Act>
      </div>
      <Answer of={found}>
        {(data) => (
          <div className="panel scroll">
            {data.items.length === 0 ? (
              <Empty icon="user" title={t('groups.none')}>
                {t('groups.noneMore')}
              </Empty>
            ) : (
              <table className="list">
                <thead>
                  <tr>
                    <th>{t('me.name')}</th>
                    <th>{t('groups.members')}</th>
                    <th>{t('members.roles')}</th>
                    <th>{t('dags.actions')}</th>
                  </tr>
                </thead>
                <tbody>
                  {data.items.map((group) => (
                    <tr key={group.name}>
                      <td>{group.name}</td>
                      <td>
                        {group.members.length === 0 ? (
                          <span className="soft">{t('groups.nobody')}</span>
                        ) : (
                          group.members.map((member, at) => (
                            <span key={`${member} ${at}`}>
                              {at > 0 && ', '}
                              <Link to="/t/$tenant/admin/permissions" params={{ tenant }} search={{ who: member }}>
                                {member}
                              </Link>
                            </span>
                          ))
                        )}
                      </td>
                      <td>
                        {rolesOf(group.name).map((grant, at) => (
                          <span key={grant.role}>
                            {at > 0 && ', '}
                            <Link to="/t/$tenant/admin/roles" params={{ tenant }} search={{ role: grant.role }}>
                              {grant.role}
                            </Link>
                          </span>
                        ))}
                        {rolesOf(group.name).length === 0 && <span className="soft">–</span>}
                      </td>
                      <td className="bar">
                        <Act size="compact-xs" verdict={verdict} aria-label={t('edit.one', { what: group.name })} onClick={() => edit(group)}>
                          {t('action.edit')}
                        </Act>
                        <Act size="compact-xs" verdict={verdict} aria-label={t('delete.title', { what: group.name })} onClick={() => remove(group)}>
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
      {edited !== undefined && <GroupDialog tenant={tenant} group={edited === 'new' ? undefined : edited} close={() => edit(undefined)} />}
      {gone !== undefined && (
        <DeleteDialog what={gone.name} path={paths.of(tenant).group(gone.name)} queryKey={['groups', tenant]} close={() => remove(undefined)} />
      )}
    </Page>
  )
}

function GroupDialog({ tenant, group, close }: { tenant: string; group: Group | undefined; close: () => void }) {
  const [name, setName] = useState(group?.name ?? '')
  const [people, setPeople] = useState(group?.members.filter((member) => !group.service_accounts.includes(member)) ?? [])
  const [services, setServices] = useState(group?.service_accounts ?? [])
  const known = useQuery(queries.services(tenant))
  return (
    <FormDialog
      title={group === undefined ? t('groups.new') : t('edit.one', { what: group.name })}
      queryKey={['groups', tenant]}
      close={close}
      send={() => ({ path: paths.of(tenant).group(name), method: 'PUT', body: { users: people, service_accounts: services } })}
    >
      <TextInput label={t('me.name')} required disabled={group !== undefined} value={name} onChange={(event) => setName(event.currentTarget.value)} />
      <TagsInput label={t('groups.people')} description={t('groups.peopleMore')} value={people} onChange={setPeople} acceptValueOnBlur />
      <TagsInput label={t('nav.services')} data={known.data?.items.map((one) => one.name) ?? []} value={services} onChange={setServices} acceptValueOnBlur />
    </FormDialog>
  )
}
