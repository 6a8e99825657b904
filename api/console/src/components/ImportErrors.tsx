import { useQuery } from '@tanstack/react-query'
import * as queries from '../api/queries'
import { t } from '../i18n'
import { Icon } from './Icon'
import { TimeText } from './Time'
import css from './errors.module.css'

/** Files of DAGs that can't be used as they are; the DAGs that they had go on as they were. */
export function ImportErrors({ tenant }: { tenant: string }) {
  const { data } = useQuery(queries.importErrors(tenant))
  if (data === undefined || data.total_entries === 0) return null
  return (
    <details className={css['errors']}>
      <summary>
        <Icon name="alert" size={14} /> {t('errors.title', { n: data.total_entries })}
      </summary>
      <ul>
        {data.import_errors.map((error) => (
          <li key={error.import_error_id}>
            <strong>{error.filename}</strong>{' '}
            <span className="soft">
              <TimeText at={error.timestamp} />
            </span>
            <pre tabIndex={0} aria-label={error.filename}>
              {error.stack_trace}
            </pre>
          </li>
        ))}
      </ul>
    </details>
  )
}
