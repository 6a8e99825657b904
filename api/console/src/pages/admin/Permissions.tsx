import { Button, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { type FormEvent, useState } from 'react'
import * as queries from '../../api/queries'
import type { Permission } from '../../api/types'
import { Page } from '../../components/Page'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { effective } from '../../util/permissions'
import { actions, scopeOf } from './matrix'
import { MayThey } from './MayThey'

/** Everything that somebody may do here, and the rule behind each. */
export function Permissions() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/admin/permissions' })
  const { who } = useSearch({ from: '/inside/t/$tenant/admin/permissions' })
  const navigate = useNavigate({ from: '/t/$tenant/admin/permissions' })
  const { data: me } = useQuery(queries.me)
  const found = useQuery(queries.permissions(tenant, who))
  const [name, type] = useState(who ?? '')
  const ask = (event: FormEvent) => {
    event.preventDefault()
    void navigate({ search: name === '' ? {} : { who: name } })
  }
  return (
    <Page tab={t('nav.permissions')} title={t('permissions.title', { who: who ?? me?.name ?? '' })}>
      <form className="bar" onSubmit={ask} style={{ marginBottom: 12, alignItems: 'end' }}>
        <TextInput label={t('permissions.who')} placeholder={me?.name ?? ''} value={name} onChange={(event) => type(event.currentTarget.value)} />
        <Button type="submit" variant="default">
          {t('permissions.show')}
        </Button>
      </form>
      <Answer of={found} rows={6}>
        {({ items }) =>
          items.length === 0 ? (
            <div className="panel">
              <Empty icon="key" title={t('permissions.none')} />
            </div>
          ) : (
            <>
              <Table items={items} />
              <Rules tenant={tenant} items={items} />
            </>
          )
        }
      </Answer>
      <MayThey tenant={tenant} key={who ?? ''} who={who ?? ''} />
    </Page>
  )
}

/** What holds for each kind and object, by action. */
function Table({ items }: { items: readonly Permission[] }) {
  const rows = effective(items)
  const words = { allow: t('permissions.yes'), deny: t('permissions.denied'), none: t('permissions.no') }
  const marks = { allow: '●', deny: '⊘', none: '–' }
  return (
    <section className="panel scroll" aria-labelledby="effective">
      <h2 id="effective">{t('permissions.effective')}</h2>
      <table className="list">
        <thead>
          <tr>
            <th>{t('may.kind')}</th>
            <th>{t('roles.object')}</th>
            {actions.map((action) => (
              <th key={action}>{action}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={`${row.kind} ${row.where}`}>
              <td>{row.kind}</td>
              <td className="mono">{row.where}</td>
              {actions.map((action) => {
                const cell = row.cells[action] ?? { effect: 'none' as const, by: [] }
                return (
                  <td key={action} title={cell.by.join(', ')}>
                    <span aria-hidden="true">{marks[cell.effect]}</span> <span className={cell.effect === 'none' ? 'soft' : undefined}>{words[cell.effect]}</span>
                    {cell.by.length > 0 && <div className="soft small">{cell.by.join(', ')}</div>}
                  </td>
                )
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

/** The rules as they come: by which role, and by which group the role. */
function Rules({ tenant, items }: { tenant: string; items: readonly Permission[] }) {
  return (
    <details style={{ marginTop: 12 }}>
      <summary>{t('permissions.rules', { n: items.length })}</summary>
      <div className="panel scroll" style={{ marginTop: 8 }}>
        <table className="list">
          <thead>
            <tr>
              <th>{t('members.role')}</th>
              <th>{t('permissions.through')}</th>
              <th>{t('permissions.rule')}</th>
            </tr>
          </thead>
          <tbody>
            {items.map((item, at) => (
              <tr key={at}>
                <td>
                  <Link to="/t/$tenant/admin/roles" params={{ tenant }} search={{ role: item.role }}>
                    {item.role}
                  </Link>
                </td>
                <td>
                  {item.group === null ? (
                    <span className="soft">{t('permissions.direct')}</span>
                  ) : (
                    <Link to="/t/$tenant/admin/groups" params={{ tenant }}>
                      {item.group}
                    </Link>
                  )}
                </td>
                <td>
                  {item.rule.effect} {item.rule.actions.join(', ')} · {item.rule.kinds.join(', ')} · <span className="mono">{scopeOf(item.rule)}</span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  )
}
