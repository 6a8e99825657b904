import { Button, Select, TextInput } from '@mantine/core'
import { useMutation } from '@tanstack/react-query'
import { useState } from 'react'
import { call } from '../../api/client'
import type { Rule } from '../../api/types'
import { ProblemView } from '../../components/Views'
import { t } from '../../i18n'
import { paths, query } from '../../util/paths'
import { actions, kinds, scopeOf } from './matrix'

interface Can {
  allowed: boolean
  because: { role: string; rule: Rule }[]
}

/** Whether somebody may do something, and by which rule: decided by the code that decides when they try. */
export function MayThey({ tenant, who = '' }: { tenant: string; who?: string }) {
  const [user, setUser] = useState(who)
  const [action, setAction] = useState<string>('read')
  const [kind, setKind] = useState<string>('dag')
  const [name, setName] = useState('')
  const asked = useMutation({
    mutationFn: () => call<Can>(paths.of(tenant).can + query({ user, action, kind, name })),
  })
  return (
    <section className="panel" aria-labelledby="may" style={{ marginTop: 16 }}>
      <h2 id="may">{t('may.title')}</h2>
      <form
        className="bar"
        style={{ padding: 12, alignItems: 'end' }}
        onSubmit={(event) => {
          event.preventDefault()
          asked.mutate()
        }}
      >
        <TextInput label={t('may.who')} required value={user} onChange={(event) => setUser(event.currentTarget.value)} />
        <Select label={t('may.what')} data={[...actions]} value={action} allowDeselect={false} w={110} onChange={(one) => setAction(one ?? 'read')} />
        <Select label={t('may.kind')} data={[...kinds]} value={kind} allowDeselect={false} w={130} onChange={(one) => setKind(one ?? 'dag')} />
        <TextInput label={t('may.which')} required value={name} onChange={(event) => setName(event.currentTarget.value)} />
        <Button type="submit" loading={asked.isPending}>
          {t('may.ask')}
        </Button>
      </form>
      <div style={{ padding: '0 12px 12px' }} aria-live="polite">
        {asked.isError && <ProblemView error={asked.error} />}
        {asked.data !== undefined && (
          <>
            <strong>{t(asked.data.allowed ? 'may.yes' : 'may.no')}</strong>
            {asked.data.because.length === 0 ? (
              <p className="soft">{t('may.nothing')}</p>
            ) : (
              <ul>
                {asked.data.because.map((one, at) => (
                  <li key={at}>
                    {t('may.because', {
                      role: one.role,
                      effect: one.rule.effect,
                      what: one.rule.actions.join(', '),
                      kinds: one.rule.kinds.join(', '),
                      where: scopeOf(one.rule),
                    })}
                  </li>
                ))}
              </ul>
            )}
          </>
        )}
      </div>
    </section>
  )
}
