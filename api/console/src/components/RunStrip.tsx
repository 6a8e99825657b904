import { Link } from '@tanstack/react-router'
import type { RunBar } from '../api/types'
import { looks } from '../theme/states'
import { t } from '../i18n'
import { duration, millis, now } from '../util/time'
import { familyClass } from './State'
import css from './state.module.css'

const WIDTH = 7
const PITCH = 9
const HEIGHT = 24
const SLOTS = 25

/** The last runs as bars: height is duration, colour is state; what failed also reaches below the line. */
export function RunStrip({ tenant, dag, runs }: { tenant: string; dag: string; runs: readonly RunBar[] }) {
  const took = (run: RunBar) => run.seconds ?? ((now() - (millis(run.started_at) ?? now())) / 1000)
  const longest = Math.max(1, ...runs.map(took))
  const last = runs.at(-1)
  const failed = runs.filter((run) => run.state === 'failed').length
  const label = t('strip.label', { n: runs.length, failed, last: last?.state ?? '–' })
  return (
    <svg className={css['strip']} width={SLOTS * PITCH} height={HEIGHT} role="group" aria-label={label}>
      <line x1="0" x2={SLOTS * PITCH} y1={HEIGHT - 4.5} y2={HEIGHT - 4.5} stroke="var(--line)" />
      {runs.map((run, at) => {
        const tall = Math.max(3, Math.round((took(run) / longest) * (HEIGHT - 8)))
        const x = (SLOTS - runs.length + at) * PITCH + 1
        const isBad = run.state === 'failed'
        const title = `${run.id} · ${run.state} · ${duration(run.started_at === null ? null : took(run))}`
        return (
          <Link
            key={run.id}
            to="/t/$tenant/dags/$dag/runs/$run"
            params={{ tenant, dag, run: run.id }}
            aria-label={title}
            tabIndex={-1}
          >
            <rect x={x - 1} y={0} width={PITCH} height={HEIGHT} style={{ fill: 'transparent' }}>
              <title>{title}</title>
            </rect>
            <g className={familyClass(looks[run.state].family)} pointerEvents="none">
              <rect x={x} y={HEIGHT - 5 - tall} width={WIDTH} height={tall + (isBad ? 5 : 0)} rx="1" />
            </g>
          </Link>
        )
      })}
    </svg>
  )
}
