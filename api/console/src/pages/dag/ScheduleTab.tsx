import { useQuery } from '@tanstack/react-query'
import { useParams } from '@tanstack/react-router'
import * as queries from '../../api/queries'
import { Answer, Empty } from '../../components/Views'
import { TimeText } from '../../components/Time'
import { type Key, t } from '../../i18n'
import { absolute, millis, offsetAt } from '../../util/time'

export function ScheduleTab() {
  const { tenant, dag } = useParams({ from: '/inside/t/$tenant/dags/$dag/schedule' })
  const found = useQuery(queries.schedule(tenant, dag))
  const details = useQuery(queries.dagDetails(tenant, dag))
  return (
    <Answer of={found} rows={6}>
      {(data) => {
        const zone = data.schedule.timezone
        return (
          <>
            <p>
              {details.data?.timetable_description ?? '–'}. {t(`schedule.missed.${data.schedule.missed}` as Key)}{' '}
              {t(`schedule.gap.${data.schedule.on_gap}` as Key)} {t(`schedule.overlap.${data.schedule.on_overlap}` as Key)}
            </p>
            {data.paused && <p className="soft">{t('schedule.paused')}</p>}
            <div className="panel scroll">
              {data.runs.length === 0 ? (
                <Empty icon="calendar" title={t('schedule.none')} />
              ) : (
                <table className="list">
                  <thead>
                    <tr>
                      <th className="num">#</th>
                      <th>{t('schedule.due', { zone })}</th>
                      <th>{t('schedule.in')}</th>
                      <th className="wide">{t('run.interval')}</th>
                      <th>{t('schedule.note')}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.runs.map((run, at) => {
                      const due = millis(run.run_after) ?? 0
                      const before = data.runs[at - 1]
                      const shift = before === undefined ? 0 : offsetAt(due, zone) - offsetAt(millis(before.run_after) ?? 0, zone)
                      return (
                        <tr key={run.run_after}>
                          <td className="num soft">{at + 1}</td>
                          <td>{absolute(due, zone)}</td>
                          <td>
                            <TimeText at={run.run_after} />
                          </td>
                          <td className="soft wide">
                            {run.interval_start !== null && run.interval_start !== run.interval_end
                              ? `${absolute(millis(run.interval_start) ?? 0, zone)} – ${absolute(millis(run.interval_end) ?? 0, zone)}`
                              : '–'}
                          </td>
                          <td>{shift !== 0 && <strong>{t('schedule.dst', { minutes: shift })}</strong>}</td>
                        </tr>
                      )
                    })}
                  </tbody>
                </table>
              )}
            </div>
          </>
        )
      }}
    </Answer>
  )
}
