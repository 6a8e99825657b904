import { Button, Modal, NumberInput, TextInput } from '@mantine/core'
import { type UseQueryResult, useMutation, useQueryClient } from '@tanstack/react-query'
import { type FormEvent, useState } from 'react'
import { call } from '../api/client'
import type { Items, Token, Verdict } from '../api/types'
import { t } from '../i18n'
import { Act } from './Act'
import { CopyId } from './CopyId'
import { TimeText } from './Time'
import { Answer, Empty, ProblemView } from './Views'

/** Somebody's tokens: made, shown once, and ended. */
export function Tokens({
  title,
  of,
  queryKey,
  path,
  one,
  verdict,
}: {
  title: string
  of: UseQueryResult<Items<Token>>
  queryKey: readonly unknown[]
  /** Where one is made. */
  path: string
  /** Where one is ended. */
  one: (id: string) => string
  verdict?: Verdict | undefined
}) {
  const client = useQueryClient()
  const [making, make] = useState(false)
  const end = useMutation({
    mutationFn: (id: string) => call(one(id), { method: 'DELETE' }),
    onSuccess: () => client.invalidateQueries({ queryKey }),
  })
  return (
    <>
      <section className="panel scroll" aria-labelledby="tokens">
        <h2 id="tokens" className="bar">
          {title}
          <Act className="push" size="compact-xs" variant="filled" verdict={verdict} onClick={() => make(true)}>
            {t('me.newToken')}
          </Act>
        </h2>
        {end.isError && <ProblemView error={end.error} />}
        <Answer of={of} rows={3}>
          {(data) => data.items.length === 0 ? <Empty icon="key" title={t('me.noTokens')} /> : (
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
                      <Act size="compact-xs" verdict={verdict} aria-label={t('me.endOne', { name: token.name })} onClick={() => end.mutate(token.id)}>
                        {t('me.end')}
                      </Act>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </Answer>
      </section>
      {making && <NewToken path={path} queryKey={queryKey} close={() => make(false)} />}
    </>
  )
}

function NewToken({ path, queryKey, close }: { path: string; queryKey: readonly unknown[]; close: () => void }) {
  const [name, setName] = useState('')
  const [scopes, setScopes] = useState('')
  const [days, setDays] = useState<number | string>(90)
  const client = useQueryClient()
  const made = useMutation({
    mutationFn: () =>
      call<{ token: string }>(path, {
        method: 'POST',
        body: {
          name,
          days: Number(days),
          ...(scopes.trim() === '' ? {} : { scopes: scopes.split(/[\s,]+/).filter(Boolean) }),
        },
      }),
    onSuccess: () => client.invalidateQueries({ queryKey }),
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
