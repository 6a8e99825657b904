import type { Pool } from '../api/types'
import { t } from '../i18n'

const WIDTH = 400

/** The slots of a pool: running, handed over, free, and what waits beyond them. The numbers beside it say the same. */
export function PoolBar({ pool }: { pool: Pool }) {
  const used = pool.running_slots + pool.queued_slots + (pool.include_deferred ? pool.deferred_slots : 0)
  const total = pool.slots < 0 ? Math.max(1, used + pool.scheduled_slots) : Math.max(1, pool.slots)
  const scale = WIDTH / Math.max(total, used + pool.scheduled_slots)
  const label = t('pools.bar', { pool: pool.name, used, total: pool.slots < 0 ? '∞' : pool.slots, wanted: pool.scheduled_slots })
  return (
    <svg viewBox={`0 0 ${WIDTH} 16`} width="100%" height="16" preserveAspectRatio="none" role="img" aria-label={label}>
      <rect x="0" y="3" width={total * scale} height="10" fill="var(--inert-tint)" />
      <rect x="0" y="3" width={pool.running_slots * scale} height="10" fill="var(--active-fill)" />
      <rect x={pool.running_slots * scale} y="3" width={pool.queued_slots * scale} height="10" fill="var(--waiting-fill)" />
      <rect
        x={Math.max(used, 0) * scale}
        y="6"
        width={pool.scheduled_slots * scale}
        height="4"
        fill="none"
        stroke="var(--waiting-fill)"
        strokeDasharray="4 2"
      />
      {pool.slots >= 0 && <line x1={total * scale - 0.75} x2={total * scale - 0.75} y1="0" y2="16" stroke="var(--soft)" strokeWidth="1.5" />}
    </svg>
  )
}
