import { Checkbox } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import * as queries from '../api/queries'
import { Page } from '../components/Page'
import { Tokens } from '../components/Tokens'
import { t } from '../i18n'
import { paths } from '../util/paths'
import { prefer, usePreferences } from '../util/preferences'

export function Me() {
  const { data: me } = useQuery(queries.me)
  const tokens = useQuery(queries.tokens)
  const { keys, exact } = usePreferences()
  return (
    <Page tab={t('user.settings')} title={me?.name ?? t('user.settings')}>
      <section className="panel" aria-labelledby="prefer" style={{ marginBottom: 16 }}>
        <h2 id="prefer">{t('me.preferences')}</h2>
        <div style={{ padding: 12, display: 'grid', gap: 8 }}>
          <Checkbox label={t('me.keys')} checked={keys} onChange={(event) => prefer({ keys: event.currentTarget.checked })} />
          <Checkbox label={t('me.exact')} checked={exact} onChange={(event) => prefer({ exact: event.currentTarget.checked })} />
        </div>
      </section>
      <Tokens title={t('me.tokens')} of={tokens} queryKey={['tokens']} path={paths.myTokens} one={paths.myToken} />
    </Page>
  )
}
