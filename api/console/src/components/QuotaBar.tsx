import { t } from '../i18n'
import { amount } from '../util/numbers'
import type { QuotaRow } from '../util/quotas'
import css from './quota.module.css'

const WIDTH = 400

/**
 * What somebody uses of what they are guaranteed, what they borrow beyond it, what of theirs is lent, and where their limit is. All
 * bars of a table have one scale. The numbers beside it say the same.
 */
export function QuotaBar({ row, most, unit, waiting }: { row: QuotaRow; most: number; unit: 'cpu' | 'bytes' | 'plain'; waiting: number }) {
  const x = (n: number) => (n / Math.max(1, most)) * WIDTH
  const free = Math.max(0, row.guaranteed - row.own)
  const used = row.own + row.borrowed
  const label = t('quotas.bar', {
    own: amount(row.own, unit),
    guaranteed: amount(row.guaranteed, unit),
    borrowed: amount(row.borrowed, unit),
    lent: amount(row.lent, unit),
  })
  return (
    <svg viewBox={`0 0 ${WIDTH} 18`} width="100%" height="18" preserveAspectRatio="none" role="img" aria-label={label} className={css['bar']}>
      <rect x="0" y="4" width={x(row.guaranteed)} height="10" className={css['room']} />
      <rect x="0" y="4" width={x(row.own)} height="10" className={css['own']} />
      <rect x={x(row.own + free - row.lent)} y="4" width={x(row.lent)} height="10" fill="url(#quota-lent)" />
      <rect x={x(row.guaranteed)} y="4" width={x(row.borrowed)} height="10" fill="url(#quota-borrowed)" />
      {waiting > 0 && <rect x={x(Math.max(used, row.guaranteed))} y="6.5" width={Math.min(x(waiting), WIDTH)} height="5" className={css['waiting']} />}
      {row.guaranteed > 0 && <line x1={x(row.guaranteed)} x2={x(row.guaranteed)} y1="0" y2="18" className={css['nominal']} />}
      {row.limit !== null && row.limit > row.guaranteed && row.limit <= most && <line x1={x(row.limit)} x2={x(row.limit)} y1="2" y2="16" className={css['limit']} />}
    </svg>
  )
}

/** What the marks of a bar mean. */
export function QuotaLegend() {
  return (
    <p className={`${css['legend']} soft small`}>
      <Mark of="own">{t('quotas.own')}</Mark>
      <Mark fill="url(#quota-borrowed)">{t('quotas.borrowed')}</Mark>
      <Mark fill="url(#quota-lent)">{t('quotas.lent')}</Mark>
      <Mark of="room">{t('quotas.free')}</Mark>
      <Mark of="waiting">{t('quotas.waiting')}</Mark>
      <span>│ {t('quotas.nominal')}</span>
      <span>┆ {t('quotas.limit')}</span>
    </p>
  )
}

function Mark({ of, fill, children }: { of?: string; fill?: string; children: string }) {
  return (
    <span>
      <svg width="18" height="10" aria-hidden="true" className={css['bar']}>
        <rect x="0.5" y="0.5" width="17" height="9" className={of === undefined ? undefined : css[of]} fill={fill} />
      </svg>{' '}
      {children}
    </span>
  )
}

/** The patterns of bars, once in a page: what is borrowed and lent is told apart without colours. */
export function QuotaPatterns() {
  return (
    <svg width="0" height="0" aria-hidden="true" style={{ position: 'absolute' }}>
      <defs>
        <pattern id="quota-borrowed" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
          <rect width="6" height="6" className={css['ground']} />
          <rect width="3" height="6" className={css['own']} />
        </pattern>
        <pattern id="quota-lent" width="5" height="5" patternUnits="userSpaceOnUse">
          <rect width="5" height="5" className={css['room']} />
          <circle cx="2.5" cy="2.5" r="1.3" className={css['dot']} />
        </pattern>
      </defs>
    </svg>
  )
}
