import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import * as queries from '../api/queries'
import type { TaskInstance } from '../api/types'
import { t } from '../i18n'
import { looks } from '../theme/states'
import { middle } from '../util/numbers'
import { duration, millis, now, useTick } from '../util/time'
import { StateMark, familyClass } from './State'
import { Answer, Empty } from './Views'
import css from './timeline.module.css'

/** When each task of a run waited and when it ran. */
export function Timeline({ tenant, dag, run }: { tenant: string; dag: string; run: string }) {
  const found = useQuery(queries.allInstances(tenant, dag, run))
  useTick()
  return (
    <Answer of={found} rows={6}>
      {(all) => {
        const begun = all.filter((one) => waitedFrom(one) !== null).toSorted((a, b) => (waitedFrom(a) ?? 0) - (waitedFrom(b) ?? 0))
        if (begun.length === 0) return <Empty icon="clock" title={t('timeline.none')} />
        const from = Math.min(...begun.map((one) => waitedFrom(one) ?? now()))
        const to = Math.max(...begun.map((one) => millis(one.end_date) ?? now()), from + 1000)
        const part = (at: number) => `${((at - from) / (to - from)) * 100}%`
        const waited = begun.reduce((sum, one) => sum + ((millis(one.start_date) ?? millis(one.end_date) ?? now()) - (waitedFrom(one) ?? now())), 0)
        const worked = begun.reduce((sum, one) => sum + (one.start_date === null ? 0 : (millis(one.end_date) ?? now()) - (millis(one.start_date) ?? now())), 0)
        return (
          <>
            <p className="soft">
              {t('timeline.sum', { whole: duration((to - from) / 1000), worked: duration(worked / 1000), waited: duration(waited / 1000) })}
            </p>
            <table className={css['lines']}>
              <thead>
                <tr>
                  <th>{t('task.task')}</th>
                  <th>{t('timeline.when')}</th>
                  <th>{t('task.took')}</th>
                </tr>
              </thead>
              <tbody>
                {begun.map((one) => {
                  const begin = millis(one.start_date)
                  const end = millis(one.end_date) ?? now()
                  const state = one.state ?? 'none'
                  const wait = (begin ?? end) - (waitedFrom(one) ?? end)
                  return (
                    <tr key={`${one.task_id} ${one.map_index}`}>
                      <td>
                        <StateMark state={one.state} />{' '}
                        <Link
                          to="/t/$tenant/dags/$dag/runs/$run/tasks/$task"
                          params={{ tenant, dag, run, task: one.task_id }}
                          search={one.map_index < 0 ? {} : { map: one.map_index }}
                          title={one.task_id}
                        >
                          {middle(one.task_id, 28)}
                          {one.map_index >= 0 && ` [${one.map_index}]`}
                        </Link>
                      </td>
                      <td>
                        <div className={css['track']} title={t('timeline.one', { waited: duration(wait / 1000), worked: duration(begin === null ? null : (end - begin) / 1000) })}>
                          <span className={css['wait']} style={{ left: part(waitedFrom(one) ?? end), width: part(from + wait) }} />
                          {begin !== null && (
                            <span className={`${css['work']} ${familyClass(looks[state].family)}`} style={{ left: part(begin), width: part(from + end - begin) }} />
                          )}
                        </div>
                      </td>
                      <td className={css['took']}>{duration(begin === null ? null : (end - begin) / 1000)}</td>
                    </tr>
                  )
                })}
              </tbody>
            </table>
          </>
        )
      }}
    </Answer>
  )
}

function waitedFrom(one: TaskInstance): number | null {
  return millis(one.scheduled_when) ?? millis(one.queued_when) ?? millis(one.start_date)
}
