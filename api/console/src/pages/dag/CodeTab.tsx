import { useQuery } from '@tanstack/react-query'
import { useParams } from '@tanstack/react-router'
import * as queries from '../../api/queries'
import { CopyId } from '../../components/CopyId'
import { Answer } from '../../components/Views'
import { t } from '../../i18n'

/** The model of the newest version, as the engine reads it. */
export function CodeTab() {
  const { tenant, dag } = useParams({ from: '/inside/t/$tenant/dags/$dag/code' })
  const found = useQuery(queries.model(tenant, dag))
  return (
    <Answer of={found} rows={8}>
      {(data) => {
        const text = JSON.stringify(data.model, null, 2)
        return (
          <section className="panel" aria-labelledby="model">
            <h2 id="model" className="bar">
              {t('code.model')} <span className="soft mono">{data.version.slice(0, 16)}</span>
              <CopyId text={text} />
            </h2>
            <pre style={{ margin: 0, padding: 12, overflow: 'auto', maxHeight: 'calc(100vh - 320px)' }} tabIndex={0} aria-label={t('code.model')}>
              {text}
            </pre>
          </section>
        )
      }}
    </Answer>
  )
}
