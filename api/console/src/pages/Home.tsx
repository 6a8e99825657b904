import { useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import * as queries from '../api/queries'
import type { Home as HomeAnswer, OpenRun } from '../api/types'
import { Icon } from '../components/Icon'
import { Page } from '../components/Page'
import { StateMark } from '../components/State'
import { TimeText } from '../components/Time'
import { Answer, Empty } from '../components/Views'
import { t } from '../i18n'
import type { TaskState } from '../theme/states'
import { type FailureGroup, failures } from '../util/failures'
import { count } from '../util/numbers'
import { duration, millis, now, useTick } from '../util/time'
import css from './home.module.css'

const waits: TaskState[] = ['scheduled', 'queued', 'up_for_retry', 'up_for_reschedule', 'deferred']

export function Home() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/' })
  const home = useQuery(queries.home(tenant))
  return (
    <Answer of={home} rows={10}>
      {(data) => <Filled tenant={tenant} home={data} />}
    </Answer>
  )
}

function Filled({ tenant, home }: { tenant: string; home: HomeAnswer }) {
  const found = failures(home.failed, (code) => t('exit', { code }))
  const late = home.running.filter((run) => risk(run) !== null)
  const needs = found.length + home.asked.length + late.length
  const waiting = waits.reduce((sum, state) => sum + (home.open[state] ?? 0), 0)
  const runs = home.running.filter((run) => run.state === 'running').length
  return (
    <Page
      tab={needs > 0 ? t('home.tab', { n: needs }) : t('nav.home')}
      title={needs > 0 ? t('home.needs', { n: needs }) : t('home.calm')}
    >
      <div className={css['numbers']}>
        <Figure n={home.failed.length} label={t('home.failed')} kind="bad" />
        <Figure n={home.asked.length} label={t('home.asked', { n: home.asked.length })} kind="human" />
        <Figure n={home.open.running ?? 0} label={t('home.running')} kind="active" />
        <Figure n={waiting} label={t('home.waiting')} kind="waiting" />
        {late.length > 0 && <Figure n={late.length} label={t('home.late')} kind="bad" />}
        <span className={css['health']} data-well={(home.scheduler.owned && home.workers.lost === 0) || undefined}>
          {home.scheduler.owned ? t('home.well') : t('home.noScheduler')}
          {!home.scheduler.owned && <TimeText at={home.scheduler.until} />}
          {home.workers.present > 0 && <span>· {t('home.workers', { n: home.workers.present })}</span>}
          {home.workers.lost > 0 && <strong>· {t('home.lost', { n: home.workers.lost })}</strong>}
        </span>
      </div>
      <div className={css['columns']}>
        <section className="panel" aria-labelledby="needs">
          <h2 id="needs">{t('home.needsYou')}</h2>
          {needs === 0 ? (
            <Empty title={t('home.nothing')}>{t('home.nothingMore')}</Empty>
          ) : (
            <ul className={css['rows']}>
              {home.asked.map((asked) => (
                <li key={`${asked.dag_id} ${asked.run_id} ${asked.task_id} ${asked.map_index}`}>
                  <StateMark state="awaiting_input" />
                  <div>
                    <Link to="/t/$tenant/approvals" params={{ tenant }}>
                      {asked.subject}
                    </Link>
                    <p className="soft small cut">
                      {asked.dag_id} / {asked.task_id}
                    </p>
                  </div>
                  <span className="soft small">
                    {asked.respond_by === null ? <TimeText at={asked.created_at} /> : <TimeText at={asked.respond_by} />}
                  </span>
                </li>
              ))}
              {late.map((run) => (
                <Late key={`${run.dag_id} ${run.run_id}`} tenant={tenant} run={run} />
              ))}
              {found.map((group) => (
                <Failed key={group.runs.map((run) => `${run.dag_id} ${run.run_id}`).join(' ')} tenant={tenant} group={group} />
              ))}
            </ul>
          )}
        </section>
        <section className="panel" aria-labelledby="now">
          <h2 id="now">
            {t('home.now')} <span className="soft">{count(home.running_total)}</span>
          </h2>
          {home.running.length === 0 ? (
            <Empty icon="moon" title={t('home.idle')} />
          ) : (
            <ul className={css['rows']}>
              {home.running.map((run) => (
                <Running key={`${run.dag_id} ${run.run_id}`} tenant={tenant} run={run} />
              ))}
            </ul>
          )}
          {(waiting > 0 || runs > 0) && (
            <p className={css['foot']}>
              <Link to="/t/$tenant/tasks" params={{ tenant }} search={{ state: 'waiting' }}>
                {t('home.seeWaiting', { n: waiting })}
              </Link>
            </p>
          )}
        </section>
        <section className="panel" aria-labelledby="next">
          <h2 id="next">{t('home.next')}</h2>
          {home.coming.length === 0 ? (
            <Empty icon="calendar" title={t('home.noNext')}>
              {t('home.noNextMore')}
            </Empty>
          ) : (
            <ul className={css['rows']}>
              {home.coming.slice(0, 12).map((next) => (
                <li key={next.dag_id}>
                  <span className="soft">
                    <Icon name="clock" />
                  </span>
                  <Link to="/t/$tenant/dags/$dag" params={{ tenant, dag: next.dag_id }} className="cut">
                    {next.dag_id}
                  </Link>
                  <span className="soft small">
                    <TimeText at={next.run_after} />
                  </span>
                </li>
              ))}
            </ul>
          )}
        </section>
      </div>
    </Page>
  )
}

/** When a run should be done, and when it will be as far as its DAG's last runs tell; null if that is in time. */
function risk(run: OpenRun): { due: number; likely: number | null } | null {
  const due = millis(run.deadline)
  if (due === null) return null
  const began = millis(run.started_at)
  const likely = began === null || run.usual_seconds === null ? null : began + run.usual_seconds * 1000
  return due < now() || (likely !== null && likely > due) ? { due, likely } : null
}

function Figure({ n, label, kind }: { n: number; label: string; kind: string }) {
  return (
    <span className={css['figure']} data-kind={n > 0 ? kind : undefined}>
      <strong>{count(n)}</strong> {label}
    </span>
  )
}

function Late({ tenant, run }: { tenant: string; run: OpenRun }) {
  useTick()
  const found = risk(run)
  return (
    <li>
      <span className={css['lateMark']}>
        <Icon name="clock" />
      </span>
      <div>
        <Link to="/t/$tenant/dags/$dag/runs/$run" params={{ tenant, dag: run.dag_id, run: run.run_id }}>
          {run.dag_id}
        </Link>
        <p className="small cut">
          {found !== null && found.due < now()
            ? t('home.missed', { time: duration((now() - found.due) / 1000) })
            : t('home.atRisk', { time: duration(((found?.likely ?? 0) - (found?.due ?? 0)) / 1000) })}
        </p>
      </div>
      <span className="soft small">
        {t('home.due')} <TimeText at={run.deadline} />
      </span>
    </li>
  )
}

function Failed({ tenant, group }: { tenant: string; group: FailureGroup }) {
  const { cause, runs, dags } = group
  const [run] = runs
  if (run === undefined) return null
  const { task } = run
  return (
    <li>
      <StateMark state="failed" />
      <div>
        <Link to="/t/$tenant/dags/$dag/runs/$run" params={{ tenant, dag: run.dag_id, run: run.run_id }}>
          {run.dag_id}
        </Link>
        {runs.length > 1 && dags.length === 1 && (
          <Link to="/t/$tenant/runs" params={{ tenant }} search={{ dag: run.dag_id, state: 'failed' }} className={css['times']}>
            {t('home.times', { n: runs.length })}
          </Link>
        )}
        {dags.length > 1 && (
          <details className={css['alike']}>
            <summary>{t('home.alike', { n: runs.length, dags: dags.length })}</summary>
            {dags.map((dag) => (
              <Link key={dag} to="/t/$tenant/runs" params={{ tenant }} search={{ dag, state: 'failed' }}>
                {dag}
              </Link>
            ))}
          </details>
        )}
        <p className="small cut" title={cause ?? undefined}>
          {task !== null && <strong>{task.task_id}</strong>} {cause !== null && <span className="soft">{cause}</span>}
          {run.failed_tasks > 1 && <span className="soft"> · {t('home.moreFailed', { n: run.failed_tasks })}</span>}
        </p>
      </div>
      <span className={css['end']}>
        <span className="soft small">
          <TimeText at={run.ended_at} />
        </span>
        {task !== null && (
          <Link
            to="/t/$tenant/dags/$dag/runs/$run/tasks/$task"
            params={{ tenant, dag: run.dag_id, run: run.run_id, task: task.task_id }}
            search={{ tab: 'log', ...(task.map_index < 0 ? {} : { map: task.map_index }) }}
            aria-label={t('home.logOf', { dag: run.dag_id, task: task.task_id })}
            className="small"
          >
            {t('task.log')}
          </Link>
        )}
      </span>
    </li>
  )
}

function Running({ tenant, run }: { tenant: string; run: OpenRun }) {
  useTick()
  const tasks = Object.entries(run.tasks) as [TaskState, number][]
  const all = tasks.reduce((sum, [, n]) => sum + n, 0)
  const done = tasks
    .filter(([state]) => ['success', 'failed', 'skipped', 'upstream_failed', 'removed'].includes(state))
    .reduce((sum, [, n]) => sum + n, 0)
  const began = millis(run.started_at)
  const took = began === null ? null : (now() - began) / 1000
  const left = took === null || run.usual_seconds === null ? null : run.usual_seconds - took
  const share = all === 0 ? 0 : Math.round((done / all) * 100)
  return (
    <li>
      <StateMark state={run.state} />
      <div>
        <Link to="/t/$tenant/dags/$dag/runs/$run" params={{ tenant, dag: run.dag_id, run: run.run_id }}>
          {run.dag_id}
        </Link>
        <div
          className={css['progress']}
          role="progressbar"
          aria-valuenow={share}
          aria-valuemin={0}
          aria-valuemax={100}
          aria-label={t('home.progress', { dag: run.dag_id })}
        >
          <div style={{ width: `${share}%` }} />
        </div>
      </div>
      <span className="soft small">
        {t('home.done', { done, all })} · {duration(took)}
        {left !== null && left > 0 && ` · ${t('home.left', { time: duration(left) })}`}
        {left !== null && left <= 0 && ` · ${t('home.longer', { time: duration(-left) })}`}
      </span>
    </li>
  )
}
