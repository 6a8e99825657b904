import { Button, PasswordInput, TextInput } from '@mantine/core'
import { useDocumentTitle } from '@mantine/hooks'
import { useQueryClient } from '@tanstack/react-query'
import { useNavigate, useRouter, useSearch } from '@tanstack/react-router'
import { type FormEvent, useState } from 'react'
import { Problem, call } from '../api/client'
import * as queries from '../api/queries'
import { ProblemView } from '../components/Views'
import { t } from '../i18n'
import { paths } from '../util/paths'
import css from './login.module.css'

export function Login() {
  useDocumentTitle(`${t('login.title')} · Updraft`)
  const { next } = useSearch({ from: '/login' })
  const navigate = useNavigate()
  const router = useRouter()
  const client = useQueryClient()
  const [name, setName] = useState('')
  const [password, setPassword] = useState('')
  const [change, setChange] = useState<string>()
  const [error, setError] = useState<unknown>()
  const [busy, setBusy] = useState(false)

  const enter = async () => {
    client.removeQueries()
    const me = await client.fetchQuery(queries.me)
    if (me.must_change_password) {
      setChange('')
      return
    }
    await router.invalidate()
    if (next === undefined) await navigate({ to: '/' })
    else router.history.push(next)
  }
  const attempt = async (event: FormEvent) => {
    event.preventDefault()
    setBusy(true)
    setError(undefined)
    try {
      if (change !== undefined) {
        await call(paths.password, { method: 'POST', body: { old: password, new: change } })
        // Every session ended with the old password.
        await call(paths.session, { method: 'POST', body: { username: name, password: change }, anonymous: true })
        setPassword(change)
      } else {
        await call(paths.session, { method: 'POST', body: { username: name, password }, anonymous: true })
      }
      await enter()
    } catch (failed) {
      setError(failed)
    } finally {
      setBusy(false)
    }
  }
  const wrong = error instanceof Problem && error.status === 401 ? t('login.wrong') : undefined
  return (
    <main className={css['page']}>
      <form className={css['card']} onSubmit={(event) => void attempt(event)} aria-labelledby="login-title">
        <div className={css['logo']} aria-hidden="true" />
        <h1 id="login-title">{change === undefined ? t('login.title') : t('login.change')}</h1>
        {change === undefined ? (
          <>
            <TextInput
              label={t('login.name')}
              size="sm"
              autoComplete="username"
              autoFocus
              required
              withAsterisk={false}
              value={name}
              onChange={(event) => setName(event.currentTarget.value)}
            />
            <PasswordInput
              label={t('login.password')}
              autoComplete="current-password"
              required
              withAsterisk={false}
              value={password}
              error={wrong}
              visibilityToggleButtonProps={{ 'aria-label': t('login.show'), tabIndex: 0, 'aria-hidden': false }}
              onChange={(event) => setPassword(event.currentTarget.value)}
            />
          </>
        ) : (
          <>
            <p className="soft">{t('login.changeWhy')}</p>
            <PasswordInput
              label={t('login.new')}
              description={t('login.rules')}
              autoComplete="new-password"
              autoFocus
              required
              withAsterisk={false}
              value={change}
              onChange={(event) => setChange(event.currentTarget.value)}
            />
          </>
        )}
        {error !== undefined && wrong === undefined && <ProblemView error={error} />}
        <Button type="submit" size="sm" loading={busy} fullWidth>
          {change === undefined ? t('login.enter') : t('login.set')}
        </Button>
      </form>
    </main>
  )
}
