import { useQuery } from '@tanstack/react-query'
import { useParams } from '@tanstack/react-router'
import * as queries from '../../api/queries'
import { Answer, Empty } from '../../components/Views'
import { familyClass } from '../../components/State'
import { t } from '../../i18n'
import { type RunState, looks } from '../../theme/states'
import { millis, now } from '../../util/time'
import css from './calendar.module.css'

const DAY = 86_400_000
const order: RunState[] = ['failed', 'running', 'queued', 'success']

/** A year of days: the worst of each, how many runs it had, and what the schedule plans. */
export function CalendarTab() {
  const { tenant, dag } = useParams({ from: '/inside/t/$tenant/dags/$dag/calendar' })
  const found = useQuery(queries.calendar(tenant, dag))
  const plan = useQuery(queries.schedule(tenant, dag))
  return (
    <Answer of={found} rows={6}>
      {(data) => {
        const days = new Map(data.days.map((day) => [Math.floor((millis(day.at) ?? 0) / DAY), day.runs]))
        const planned = new Map<number, number>()
        for (const run of plan.data?.runs ?? []) {
          const day = Math.floor((millis(run.run_after) ?? 0) / DAY)
          planned.set(day, (planned.get(day) ?? 0) + 1)
        }
        const today = Math.floor(now() / DAY)
        if (days.size === 0 && planned.size === 0) {
          return (
            <div className="panel">
              <Empty icon="calendar" title={t('calendar.none')} />
            </div>
          )
        }
        // Months, the present one first: as many as have runs, with one to come.
        const first = Math.min(...days.keys(), today)
        const months: Date[] = []
        for (let at = new Date(first * DAY); at.getTime() <= (today + 31) * DAY; ) {
          months.push(new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), 1)))
          at = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1))
        }
        return (
          <div className={css['months']}>
            {months.toReversed().map((month) => (
              <Month key={month.toISOString()} month={month} days={days} planned={planned} today={today} />
            ))}
          </div>
        )
      }}
    </Answer>
  )
}

function Month({
  month,
  days,
  planned,
  today,
}: {
  month: Date
  days: ReadonlyMap<number, Partial<Record<RunState, number>>>
  planned: ReadonlyMap<number, number>
  today: number
}) {
  const begin = month.getTime() / DAY
  const length = Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + 1, 1) / DAY - begin
  const lead = (month.getUTCDay() + 6) % 7
  const title = month.toISOString().slice(0, 7)
  return (
    <table className={css['month']}>
      <caption>{title}</caption>
      <tbody>
        {Array.from({ length: Math.ceil((lead + length) / 7) }, (_, week) => (
          <tr key={week}>
            {Array.from({ length: 7 }, (__, weekday) => {
              const day = week * 7 + weekday - lead
              if (day < 0 || day >= length) return <td key={weekday} />
              const runs = days.get(begin + day)
              const worst = order.find((state) => (runs?.[state] ?? 0) > 0)
              const n = Object.values(runs ?? {}).reduce((sum, one) => sum + one, 0)
              const coming = planned.get(begin + day) ?? 0
              const said = worst === undefined ? (coming > 0 ? t('calendar.planned', { n: coming }) : t('calendar.no')) : Object.entries(runs ?? {}).map(([state, count]) => `${count} ${state}`).join(', ')
              return (
                <td key={weekday}>
                  <span
                    className={`${css['day']} ${worst === undefined ? '' : familyClass(looks[worst].family)}`}
                    data-has={worst !== undefined || undefined}
                    data-planned={(worst === undefined && coming > 0) || undefined}
                    data-today={begin + day === today || undefined}
                    title={`${title}-${String(day + 1).padStart(2, '0')}: ${said}`}
                  >
                    <span className={css['date']}>{day + 1}</span>
                    {worst !== undefined && (
                      <span>
                        {worst === 'failed' ? '✕' : ''}
                        {n}
                      </span>
                    )}
                    {worst === undefined && coming > 0 && <span>{coming}</span>}
                  </span>
                </td>
              )
            })}
          </tr>
        ))}
      </tbody>
    </table>
  )
}
