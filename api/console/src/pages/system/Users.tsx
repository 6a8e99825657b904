import { Button, Checkbox, Modal, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { call } from '../../api/client'
import * as queries from '../../api/queries'
import { Act } from '../../components/Act'
import { CopyId } from '../../components/CopyId'
import { Page } from '../../components/Page'
import { TimeText } from '../../components/Time'
import { Answer, ProblemView } from '../../components/Views'
import { t } from '../../i18n'
import { paths } from '../../util/paths'
import { DeleteDialog } from '../admin/Form'

interface Made {
  name: string
  initial_password?: string
}

/** People's accounts, for those who administer the platform. */
export function Users() {
  const found = useQuery(queries.users)
  const { data: me } = useQuery(queries.me)
  const client = useQueryClient()
  const [making, make] = useState(false)
  const [gone, remove] = useState<string>()
  const [made, show] = useState<Made>()
  const again = () => client.invalidateQueries({ queryKey: ['users'] })
  const change = useMutation({
    mutationFn: ({ name, disabled }: { name: string; disabled: boolean }) =>
      call(paths.user(name), { method: 'PATCH', body: { disabled } }),
    onSuccess: again,
  })
  const reset = useMutation({
    mutationFn: (name: string) => call<Made>(paths.userPassword(name), { method: 'POST' }),
    onSuccess: (one) => {
      show(one)
      return again()
    },
  })
  const problem = change.error ?? reset.error
  return (
    <Page tab={t('nav.users')} title={t('nav.users')}>
      <div className="bar" style={{ marginBottom: 12 }}>
        <Button onClick={() => make(true)}>{t('users.new')}</Button>
      </div>
      {problem !== null && <ProblemView error={problem} />}
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
                {data.items.map((user) => {
                  const why = user.name === me?.name ? t('users.own') : undefined
                  return (
                    <tr key={user.name}>
                      <td>{user.name}</td>
                      <td>
                        {user.disabled ? <strong>{t('users.off')}</strong> : user.must_change_password ? t('users.mustChange') : t('users.on')}
                      </td>
                      <td>
                        <TimeText at={user.created_at} /> <span className="soft">{t('run.by', { who: user.created_by })}</span>
                      </td>
                      <td className="bar">
                        <Act
                          size="compact-xs"
                          why={why}
                          aria-label={t(user.disabled ? 'users.onOne' : 'users.offOne', { name: user.name })}
                          onClick={() => change.mutate({ name: user.name, disabled: !user.disabled })}
                        >
                          {t(user.disabled ? 'users.switchOn' : 'users.switchOff')}
                        </Act>
                        <Act size="compact-xs" aria-label={t('users.resetOne', { name: user.name })} onClick={() => reset.mutate(user.name)}>
                          {t('users.reset')}
                        </Act>
                        <Act size="compact-xs" why={why} aria-label={t('delete.title', { what: user.name })} onClick={() => remove(user.name)}>
                          {t('action.delete')}
                        </Act>
                      </td>
                    </tr>
                  )
                })}
              </tbody>
            </table>
          </div>
        )}
      </Answer>
      {making && (
        <NewUser
          close={() => make(false)}
          done={(one) => {
            make(false)
            show(one)
            void again()
          }}
        />
      )}
      {gone !== undefined && <DeleteDialog what={gone} path={paths.user(gone)} queryKey={['users']} close={() => remove(undefined)} />}
      {made?.initial_password !== undefined && (
        <Modal opened onClose={() => show(undefined)} title={made.name}>
          <p>{t('users.once')}</p>
          <p className="bar mono">
            {made.initial_password} <CopyId text={made.initial_password} />
          </p>
          <Button onClick={() => show(undefined)}>{t('action.close')}</Button>
        </Modal>
      )}
    </Page>
  )
}

function NewUser({ close, done }: { close: () => void; done: (made: Made) => void }) {
  const [name, setName] = useState('')
  const [admin, setAdmin] = useState(false)
  const make = useMutation({
    mutationFn: () => call<Made>(paths.users, { method: 'POST', body: { name, platform_admin: admin } }),
    onSuccess: done,
  })
  return (
    <Modal opened onClose={close} title={t('users.new')}>
      <form
        style={{ display: 'grid', gap: 12 }}
        onSubmit={(event) => {
          event.preventDefault()
          make.mutate()
        }}
      >
        <TextInput label={t('me.name')} required value={name} onChange={(event) => setName(event.currentTarget.value)} />
        <Checkbox label={t('users.admin')} checked={admin} onChange={(event) => setAdmin(event.currentTarget.checked)} />
        {make.isError && <ProblemView error={make.error} />}
        <Button type="submit" loading={make.isPending}>
          {t('action.save')}
        </Button>
      </form>
    </Modal>
  )
}
