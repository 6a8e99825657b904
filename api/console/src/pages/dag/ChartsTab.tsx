import { useQuery } from '@tanstack/react-query'
import { useParams } from '@tanstack/react-router'
import * as queries from '../../api/queries'
import type { GridRun } from '../../api/types'
import { StateBadge, familyClass } from '../../components/State'
import { Answer, Empty } from '../../components/Views'
import { TimeText } from '../../components/Time'
import { t } from '../../i18n'
import { looks } from '../../theme/states'
import { usePreferences } from '../../util/preferences'
import { duration, millis, now } from '../../util/time'
import css from './charts.module.css'

const WIDTH = 1000
const HEIGHT = 220
const LEFT = 64

const waited = (run: GridRun) => Math.max(0, ((millis(run.started_at) ?? now()) - (millis(run.run_after) ?? now())) / 1000)
const worked = (run: GridRun) => (run.started_at === null ? 0 : ((millis(run.ended_at) ?? now()) - (millis(run.started_at) ?? now())) / 1000)

/** How long after it was due a run was done; null while it isn't. */
function landed(run: GridRun): number | null {
  const [due, end] = [millis(run.run_after), millis(run.ended_at)]
  return due === null || end === null ? null : Math.max(0, (end - due) / 1000)
}

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0
}

/** How long runs waited and how long they took, the oldest first. */
export function ChartsTab() {
  const { tenant, dag } = useParams({ from: '/inside/t/$tenant/dags/$dag/charts' })
  const { runs: many } = usePreferences()
  const found = useQuery(queries.grid(tenant, dag, many))
  return (
    <Answer of={found} rows={6}>
      {(grid) => {
        const runs = grid.runs.toReversed()
        if (runs.length === 0) {
          return (
            <div className="panel">
              <Empty icon="gauge" title={t('grid.noRuns')} />
            </div>
          )
        }
        const took = runs.filter((run) => run.state === 'success').map(worked).toSorted((a, b) => a - b)
        const [median, high] = [quantile(took, 0.5), quantile(took, 0.95)]
        const most = Math.max(1, ...runs.map((run) => waited(run) + worked(run))) * 1.05
        const y = (seconds: number) => HEIGHT - (seconds / most) * HEIGHT
        const step = (WIDTH - LEFT) / Math.max(runs.length, 30)
        return (
          <>
            <section className="panel" aria-labelledby="durations">
              <h2 id="durations">{t('charts.durations')}</h2>
              <svg viewBox={`0 0 ${WIDTH} ${HEIGHT + 12}`} className={css['chart']} role="img" aria-label={t('charts.label', { n: runs.length, median: duration(median), high: duration(high) })}>
                {[0.25, 0.5, 0.75, 1].map((share) => (
                  <g key={share}>
                    <line x1={LEFT} x2={WIDTH} y1={y(most * share)} y2={y(most * share)} className={css['rule']} />
                    <text x={LEFT - 8} y={y(most * share) + 12} textAnchor="end" className={css['text']}>
                      {duration(most * share)}
                    </text>
                  </g>
                ))}
                {runs.map((run, at) => {
                  const [wait, work] = [waited(run), worked(run)]
                  const x = LEFT + at * step + 1
                  return (
                    <g key={run.id} className={familyClass(looks[run.state].family)}>
                      <title>{`${run.id} · ${run.state} · ${duration(wait)} + ${duration(work)}`}</title>
                      <rect x={x} width={Math.max(2, step - 2)} y={y(wait + work)} height={HEIGHT - y(work)} className={css['work']} />
                      <rect x={x} width={Math.max(2, step - 2)} y={y(wait)} height={HEIGHT - y(wait)} className={css['wait']} />
                    </g>
                  )
                })}
                {took.length > 0 && (
                  <>
                    <line x1={LEFT} x2={WIDTH} y1={y(median)} y2={y(median)} className={css['median']} />
                    <text x={WIDTH} y={y(median) - 4} textAnchor="end" className={css['text']}>
                      {t('charts.median', { time: duration(median) })}
                    </text>
                    {high > median * 1.1 && (
                      <>
                        <line x1={LEFT} x2={WIDTH} y1={y(high)} y2={y(high)} className={css['median']} />
                        <text x={WIDTH} y={y(high) - 4} textAnchor="end" className={css['text']}>
                          {t('charts.high', { time: duration(high) })}
                        </text>
                      </>
                    )}
                  </>
                )}
              </svg>
            </section>
            <Landing runs={runs} />
            <details style={{ marginTop: 12 }}>
              <summary>{t('charts.table')}</summary>
              <div className="panel scroll" style={{ marginTop: 8 }}>
                <table className="list">
                  <thead>
                    <tr>
                      <th>{t('runs.run')}</th>
                      <th>{t('task.state')}</th>
                      <th>{t('run.startedHead')}</th>
                      <th className="num">{t('charts.waited')}</th>
                      <th className="num">{t('task.took')}</th>
                      <th className="num">{t('charts.landed')}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {runs.toReversed().map((run) => (
                      <tr key={run.id}>
                        <td>{run.id}</td>
                        <td>
                          <StateBadge state={run.state} />
                        </td>
                        <td>
                          <TimeText at={run.started_at} />
                        </td>
                        <td className="num">{duration(waited(run))}</td>
                        <td className="num">{duration(worked(run))}</td>
                        <td className="num">{duration(landed(run))}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            </details>
          </>
        )
      }}
    </Answer>
  )
}

/** How long after they were due runs were done: a line of dots, and what half and 95 % of them stay below. */
function Landing({ runs }: { runs: readonly GridRun[] }) {
  const ended = runs.flatMap((run, at) => {
    const seconds = landed(run)
    return seconds === null ? [] : [{ run, at, seconds }]
  })
  if (ended.length === 0) return null
  const sorted = ended.map((one) => one.seconds).toSorted((a, b) => a - b)
  const [median, high] = [quantile(sorted, 0.5), quantile(sorted, 0.95)]
  const most = Math.max(1, sorted.at(-1) ?? 1) * 1.08
  const y = (seconds: number) => HEIGHT - (seconds / most) * HEIGHT
  const step = (WIDTH - LEFT) / Math.max(runs.length, 30)
  const x = (at: number) => LEFT + at * step + step / 2
  return (
    <section className="panel" aria-labelledby="landing" style={{ marginTop: 16 }}>
      <h2 id="landing">{t('charts.landing')}</h2>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT + 12}`} className={css['chart']} role="img" aria-label={t('charts.landingLabel', { n: ended.length, median: duration(median), high: duration(high) })}>
        {[0.25, 0.5, 0.75, 1].map((share) => (
          <g key={share}>
            <line x1={LEFT} x2={WIDTH} y1={y(most * share)} y2={y(most * share)} className={css['rule']} />
            <text x={LEFT - 8} y={y(most * share) + 12} textAnchor="end" className={css['text']}>
              {duration(most * share)}
            </text>
          </g>
        ))}
        <polyline points={ended.map(({ at, seconds }) => `${x(at)},${y(seconds)}`).join(' ')} className={css['path']} />
        {ended.map(({ run, at, seconds }) => (
          <g key={run.id} className={familyClass(looks[run.state].family)}>
            <title>{`${run.id} · ${run.state} · ${duration(seconds)}`}</title>
            {run.state === 'success' ? (
              <circle cx={x(at)} cy={y(seconds)} r="4" className={css['work']} />
            ) : (
              <rect x={x(at) - 4} y={y(seconds) - 4} width="8" height="8" className={css['work']} />
            )}
          </g>
        ))}
        <line x1={LEFT} x2={WIDTH} y1={y(median)} y2={y(median)} className={css['median']} />
        <text x={WIDTH} y={y(median) - 4} textAnchor="end" className={css['text']}>
          {t('charts.median', { time: duration(median) })}
        </text>
      </svg>
    </section>
  )
}
