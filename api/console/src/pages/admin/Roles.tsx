import { Button, Modal, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useParams, useSearch } from '@tanstack/react-router'
import { type KeyboardEvent, useState } from 'react'
import { call } from '../../api/client'
import * as queries from '../../api/queries'
import type { Role, Rule } from '../../api/types'
import { Act } from '../../components/Act'
import { Page } from '../../components/Page'
import { Answer, ProblemView } from '../../components/Views'
import { t } from '../../i18n'
import { paths } from '../../util/paths'
import { type Cell, actions, cellOf, changes, cycled, kinds, rulesOf, scopesOf } from './matrix'
import css from './roles.module.css'

type Known = Role & { built_in: boolean }
const symbols: Record<Cell, string> = { allow: '●', deny: '⊘', unset: '○' }

/** Roles as matrices: rows are objects, columns are what is done with them. */
export function Roles() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/admin/roles' })
  const { role: name } = useSearch({ from: '/inside/t/$tenant/admin/roles' })
  const found = useQuery(queries.roles(tenant))
  const grants = useQuery(queries.grants(tenant))
  const [making, make] = useState(false)
  const { data: allowed } = useQuery(queries.allowed(tenant))
  return (
    <Page tab={t('nav.roles')} title={t('nav.roles')}>
      <Answer of={found}>
        {(data) => {
          const role = data.items.find((one) => one.name === name) ?? data.items[0]
          return (
            <div className={css['page']}>
              <nav className="panel" aria-label={t('nav.roles')}>
                <ul className={css['names']}>
                  {data.items.map((one) => (
                    <li key={one.name}>
                      <Link
                        to="/t/$tenant/admin/roles"
                        params={{ tenant }}
                        search={{ role: one.name }}
                        aria-current={one.name === role?.name ? 'true' : undefined}
                      >
                        {one.name}
                        {one.built_in && <span className="soft small"> {t('roles.builtIn')}</span>}
                      </Link>
                    </li>
                  ))}
                </ul>
                <div style={{ padding: 10 }}>
                  <Act verdict={allowed?.['edit_members']} onClick={() => make(true)}>
                    {t('roles.new')}
                  </Act>
                </div>
              </nav>
              {role !== undefined && (
                <Matrix
                  key={`${role.name} ${JSON.stringify(role.rules)}`}
                  tenant={tenant}
                  role={role}
                  holders={(grants.data?.items ?? []).filter((grant) => grant.role === role.name).map((grant) => grant.name)}
                  editable={!role.built_in && allowed?.['edit_members']?.allowed === true}
                />
              )}
            </div>
          )
        }}
      </Answer>
      {making && <NewRole tenant={tenant} close={() => make(false)} />}
    </Page>
  )
}

function Matrix({ tenant, role, holders, editable }: { tenant: string; role: Known; holders: readonly string[]; editable: boolean }) {
  const [rules, setRules] = useState<Rule[]>(role.rules)
  const [scope, setScope] = useState('')
  const [previewed, preview] = useState(false)
  const scopes = scopesOf(rules)
  const changed = changes(role.rules, rules)
  const add = () => {
    if (scope === '' || scopes.includes(scope)) return
    setRules((old) => [...old, { effect: 'allow', kinds: ['dag'], objects: scope.startsWith('tag:') ? { tag: scope.slice(4) } : { name: scope }, actions: ['read'] }])
    setScope('')
  }
  return (
    <section className="panel" aria-labelledby="role" style={{ overflow: 'hidden' }}>
      <h2 id="role" className="bar">
        {role.name}
        <span className="soft">{t('roles.used', { n: holders.length })}</span>
        {editable && (
          <Button className="push" size="compact-xs" disabled={changed.length === 0} onClick={() => preview(true)}>
            {t('roles.preview', { n: changed.length })}
          </Button>
        )}
      </h2>
      <div className="scroll">
        <table className={`list ${css['matrix']}`}>
          <thead>
            <tr>
              <th>{t('roles.object')}</th>
              <th>{t('roles.which')}</th>
              {actions.map((action) => (
                <th key={action}>{action}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {scopes.flatMap((where) =>
              kinds
                .filter((kind) => editable || actions.some((action) => cellOf(rules, kind, where, action) !== 'unset'))
                .map((kind) => (
                  <tr key={`${where} ${kind}`}>
                    <td>{kind}</td>
                    <td className="mono">{where}</td>
                    {actions.map((action) => {
                      const cell = cellOf(rules, kind, where, action)
                      const before = cellOf(role.rules, kind, where, action)
                      const label = t('roles.cell', { action, kind, where, cell })
                      const turn = () => setRules((old) => rulesOf(old, kind, where, action, cycled(cell)))
                      return (
                        <td key={action} data-changed={cell !== before || undefined}>
                          {editable ? (
                            <button
                              type="button"
                              className={css['cell']}
                              data-cell={cell}
                              aria-label={label}
                              onClick={turn}
                              onKeyDown={(event: KeyboardEvent) => {
                                if (event.key === ' ') {
                                  event.preventDefault()
                                  turn()
                                }
                              }}
                            >
                              {symbols[cell]}
                            </button>
                          ) : (
                            <span className={css['cell']} data-cell={cell} role="img" aria-label={label}>
                              {symbols[cell]}
                            </span>
                          )}
                        </td>
                      )
                    })}
                  </tr>
                )),
            )}
          </tbody>
        </table>
      </div>
      <p className="soft small" style={{ padding: '0 12px' }}>
        {t('roles.legend')}
      </p>
      {editable && (
        <div className="bar" style={{ padding: '0 12px 12px' }}>
          <TextInput
            aria-label={t('roles.scope')}
            placeholder={t('roles.scope')}
            value={scope}
            onChange={(event) => setScope(event.currentTarget.value)}
          />
          <Button variant="default" onClick={add}>
            {t('roles.addScope')}
          </Button>
        </div>
      )}
      {previewed && (
        <PreviewDialog tenant={tenant} role={role} rules={rules} changed={changed} holders={holders} close={() => preview(false)} />
      )}
    </section>
  )
}

function PreviewDialog({
  tenant,
  role,
  rules,
  changed,
  holders,
  close,
}: {
  tenant: string
  role: Known
  rules: Rule[]
  changed: ReturnType<typeof changes>
  holders: readonly string[]
  close: () => void
}) {
  const client = useQueryClient()
  const save = useMutation({
    mutationFn: () => call(paths.of(tenant).role(role.name), { method: 'PUT', body: { rules } }),
    onSuccess: () => {
      close()
      return client.invalidateQueries({ queryKey: ['roles', tenant] })
    },
  })
  return (
    <Modal opened onClose={close} title={t('roles.previewTitle', { role: role.name })} size="lg">
      <ul>
        {changed.map((one) => (
          <li key={`${one.kind} ${one.where} ${one.action}`}>
            {t(one.after === 'allow' ? 'roles.gains' : one.after === 'deny' ? 'roles.denies' : 'roles.loses', {
              action: one.action,
              kind: one.kind,
              where: one.where,
            })}
          </li>
        ))}
      </ul>
      <p>{holders.length === 0 ? t('roles.nobody') : t('roles.holders', { who: holders.join(', ') })}</p>
      {save.isError && <ProblemView error={save.error} />}
      <div className="bar">
        <Button loading={save.isPending} onClick={() => save.mutate()}>
          {t('roles.save', { n: changed.length })}
        </Button>
        <Button variant="default" onClick={close}>
          {t('action.cancel')}
        </Button>
      </div>
    </Modal>
  )
}

function NewRole({ tenant, close }: { tenant: string; close: () => void }) {
  const [name, setName] = useState('')
  const client = useQueryClient()
  const made = useMutation({
    mutationFn: () =>
      call(paths.of(tenant).role(name), {
        method: 'PUT',
        body: { rules: [{ effect: 'allow', kinds: ['dag', 'run', 'task'], objects: { name: '*' }, actions: ['read'] }] },
      }),
    onSuccess: () => {
      close()
      return client.invalidateQueries({ queryKey: ['roles', tenant] })
    },
  })
  return (
    <Modal opened onClose={close} title={t('roles.new')}>
      <TextInput label={t('me.name')} description={t('roles.start')} value={name} onChange={(event) => setName(event.currentTarget.value)} />
      {made.isError && <ProblemView error={made.error} />}
      <Button mt={12} loading={made.isPending} onClick={() => made.mutate()}>
        {t('action.save')}
      </Button>
    </Modal>
  )
}
