import { Button, Checkbox, Modal, NumberInput, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { type FormEvent, useState } from 'react'
import { call } from '../api/client'
import * as queries from '../api/queries'
import { CopyId } from '../components/CopyId'
import { Page } from '../components/Page'
import { TimeText } from '../components/Time'
import { Answer, ProblemView } from '../components/Views'
import { t } from '../i18n'
import { paths } from '../util/paths'
import { prefer, usePreferences } from '../util/preferences'

export function Me() {
  const { data: me } = useQuery(queries.me)
  const tokens = useQuery(queries.tokens)
  const { keys, exact } = usePreferences()
  const client = useQueryClient()
  const [making, make] = useState(false)
  const end = useMutation({
    mutationFn: (id: string) => call(paths.myToken(id), { method: 'DELETE' }),
    onSuccess: () => client.invalidateQueries({ queryKey: ['tokens'] }),
  })
  return (
    <Page tab={t('user.settings')} title={me?.name ?? t('user.settings')}>
      <section className="panel" aria-labelledby="prefer" style={{ marginBottom: 16 }}>
        <h2 id="prefer">{t('me.preferences')}</h2>
        <div style={{ padding: 12, display: 'grid', gap: 8 }}>
          <Checkbox label={t('me.keys')} checked={keys} onChange={(event) => prefer({ keys: event.currentTarget.checked })} />
          <Checkbox label={t('me.exact')} checked={exact} onChange={(event) => prefer({ exact: event.currentTarget.checked })} />
        </div>
      </section>
      <section className="panel scroll" aria-labelledby="tokens">
        <h2 id="tokens" className="bar">
          {t('me.tokens')}
          <Button className="push" size="compact-xs" onClick={() => make(true)}>
            {t('me.newToken')}
          </Button>
        </h2>
        {end.isError && <ProblemView error={end.error} />}
        <Answer of={tokens} rows={3}>
          {(data) => (
            <table className="list">
              <thead>
                <tr>
                  <th>{t('me.kind')}</th>
                  <th>{t('me.name')}</th>
                  <th>{t('me.scopes')}</th>
                  <th>{t('me.used')}</th>
                  <th>{t('me.expires')}</th>
                  <th>{t('dags.actions')}</th>
                </tr>
              </thead>
              <tbody>
                {data.items.map((token) => (
                  <tr key={token.id}>
                    <td>{token.kind}</td>
                    <td>
                      {token.name} <span className="soft mono">{token.prefix}…</span>
                    </td>
                    <td>{token.scopes?.join(', ') ?? t('me.all')}</td>
                    <td>
                      <TimeText at={token.used_at} /> <span className="soft">{token.used_from ?? ''}</span>
                    </td>
                    <td>
                      <TimeText at={token.expires_at} />
                    </td>
                    <td>
                      <Button
                        variant="default"
                        size="compact-xs"
                        aria-label={t('me.endOne', { name: token.name })}
                        onClick={() => end.mutate(token.id)}
                      >
                        {t('me.end')}
                      </Button>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </Answer>
      </section>
      {making && <NewToken close={() => make(false)} />}
    </Page>
  )
}

function NewToken({ close }: { close: () => void }) {
  const [name, setName] = useState('')
  const [scopes, setScopes] = useState('')
  const [days, setDays] = useState<number | string>(90)
  const client = useQueryClient()
  const made = useMutation({
    mutationFn: () =>
      call<{ token: string }>(paths.myTokens, {
        method: 'POST',
        body: {
          name,
          days: Number(days),
          ...(scopes.trim() === '' ? {} : { scopes: scopes.split(/[\s,]+/).filter(Boolean) }),
        },
      }),
    onSuccess: () => client.invalidateQueries({ queryKey: ['tokens'] }),
  })
  const send = (event: FormEvent) => {
    event.preventDefault()
    made.mutate()
  }
  return (
    <Modal opened onClose={close} title={t('me.newToken')}>
      {made.data === undefined ? (
        <form onSubmit={send} style={{ display: 'grid', gap: 12 }}>
          <TextInput label={t('me.name')} required value={name} onChange={(event) => setName(event.currentTarget.value)} />
          <TextInput
            label={t('me.scopes')}
            description={t('me.scopesMore')}
            value={scopes}
            onChange={(event) => setScopes(event.currentTarget.value)}
          />
          <NumberInput label={t('me.days')} min={1} max={365} value={days} onChange={setDays} />
          {made.isError && <ProblemView error={made.error} />}
          <Button type="submit" loading={made.isPending}>
            {t('me.make')}
          </Button>
        </form>
      ) : (
        <>
          <p>{t('me.once')}</p>
          <p className="bar mono">
            {made.data.token} <CopyId text={made.data.token} />
          </p>
          <Button onClick={close}>{t('action.close')}</Button>
        </>
      )}
    </Modal>
  )
}
