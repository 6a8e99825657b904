import { Alert, Button, Skeleton } from '@mantine/core'
import type { ReactNode } from 'react'
import { Problem } from '../api/client'
import { t } from '../i18n'
import { Icon } from './Icon'
import type { IconName } from '../theme/states'

/** What went wrong, what to do about it, and a way to try again. */
export function ProblemView({ error, retry }: { error: unknown; retry?: (() => void) | undefined }) {
  const problem = error instanceof Problem ? error : undefined
  const title =
    problem?.status === 403 ? t('problem.forbidden') : problem?.status === 404 ? t('problem.missing') : t('problem.title')
  const detail = error instanceof Error ? error.message : String(error)
  return (
    <Alert color="red" variant="light" title={title} icon={<Icon name="alert" />} role="alert">
      <p style={{ margin: '0 0 8px' }}>{detail}</p>
      {problem?.status === 403 && <p style={{ margin: '0 0 8px' }}>{t('problem.whoGrants')}</p>}
      {retry && (
        <Button size="compact-xs" variant="default" onClick={retry}>
          {t('action.retry')}
        </Button>
      )}
    </Alert>
  )
}

/** What a page looks like before it has anything to show. */
export function Waiting({ rows = 8 }: { rows?: number }) {
  return (
    <div role="status" aria-label={t('loading')} className="page">
      <Skeleton height={28} width={260} mb={16} />
      {Array.from({ length: rows }, (_, at) => (
        <Skeleton key={at} height={24} mb={8} />
      ))}
    </div>
  )
}

export function Empty({ icon = 'check', title, children }: { icon?: IconName; title: string; children?: ReactNode }) {
  return (
    <div style={{ padding: '28px 16px', textAlign: 'center' }}>
      <div className="soft">
        <Icon name={icon} size={24} />
      </div>
      <p style={{ margin: '8px 0 4px', fontWeight: 500 }}>{title}</p>
      {children && <div className="soft small">{children}</div>}
    </div>
  )
}

/** A query's answer: skeleton, problem or what is made of it. What was there stays while it is asked for again. */
export function Answer<T>({
  of,
  rows,
  children,
}: {
  of: { data: T | undefined; error: unknown; refetch: () => unknown }
  rows?: number
  children: (data: T) => ReactNode
}) {
  if (of.data !== undefined) return children(of.data)
  if (of.error !== null && of.error !== undefined) {
    return (
      <div className="page">
        <ProblemView error={of.error} retry={() => void of.refetch()} />
      </div>
    )
  }
  return <Waiting {...(rows === undefined ? {} : { rows })} />
}
