import { ActionIcon, Tabs, Tooltip } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, Outlet, useLocation, useNavigate, useParams } from '@tanstack/react-router'
import { useState } from 'react'
import { call } from '../../api/client'
import { live, useWatched } from '../../api/live'
import * as queries from '../../api/queries'
import { Act } from '../../components/Act'
import { CopyId } from '../../components/CopyId'
import { Icon } from '../../components/Icon'
import { Page } from '../../components/Page'
import { StateBadge } from '../../components/State'
import { TimeText } from '../../components/Time'
import { TriggerDrawer } from '../../components/Trigger'
import { Answer, ProblemView } from '../../components/Views'
import { type Key, t } from '../../i18n'
import { paths } from '../../util/paths'
import { usePreferences } from '../../util/preferences'
import { useKeys } from '../../util/useKeys'

const tabs: { path: string; name: Key }[] = [
  { path: 'grid', name: 'dag.grid' },
  { path: 'graph', name: 'dag.graph' },
  { path: 'calendar', name: 'dag.calendar' },
  { path: 'charts', name: 'dag.charts' },
  { path: 'schedule', name: 'dag.schedule' },
  { path: 'events', name: 'dag.events' },
  { path: 'backfills', name: 'dag.backfills' },
  { path: 'code', name: 'dag.code' },
  { path: 'details', name: 'dag.details' },
]

/** A DAG: what it is and how it fares, above its tabs. */
export function Dag() {
  const { tenant, dag } = useParams({ from: '/inside/t/$tenant/dags/$dag' })
  const client = useQueryClient()
  useWatched(live(client), dag)
  const details = useQuery(queries.dagDetails(tenant, dag))
  const { runs } = usePreferences()
  const grid = useQuery(queries.grid(tenant, dag, runs))
  const { data: allowed } = useQuery(queries.allowedOnDag(tenant, dag))
  const [triggers, trigger] = useState(false)
  const navigate = useNavigate()
  const path = useLocation({ select: (location) => location.pathname })
  const pause = useMutation({
    mutationFn: (paused: boolean) => call(paths.of(tenant).dag(dag), { method: 'PATCH', body: { is_paused: paused } }),
    onSettled: () => {
      void client.invalidateQueries({ queryKey: ['dags', tenant] })
      return client.invalidateQueries({ queryKey: ['dag', tenant, dag] })
    },
  })
  const paused = details.data?.is_paused ?? false
  useKeys({
    t: () => allowed?.['trigger']?.allowed && trigger(true),
    p: () => allowed?.['pause']?.allowed && pause.mutate(!paused),
  })
  const last = grid.data?.runs[0]
  const base = `/t/${encodeURIComponent(tenant)}/dags/${encodeURIComponent(dag)}`
  const tab = tabs.find((one) => path === `${base}/${one.path}`)?.path ?? 'grid'
  return (
    <Answer of={details}>
      {(data) => (
        <Page
          tab={`${last === undefined ? '' : `${last.state === 'failed' ? '✕ ' : last.state === 'running' ? '▶ ' : ''}`}${dag}`}
          title={
            <>
              <Link to="/t/$tenant/dags" params={{ tenant }} className="soft">
                {t('nav.dags')}
              </Link>
              <span className="soft">/</span>
              <span>{dag}</span>
              <CopyId text={dag} />
              {last !== undefined && <StateBadge state={last.state} />}
            </>
          }
        >
          <div className="bar" style={{ marginBottom: 8 }}>
            <span className="soft">{data.timetable_description ?? t('dags.byHand')}</span>
            {paused ? (
              <strong>{t('dags.isPaused')}</strong>
            ) : (
              data.next_dagrun_run_after && (
                <span>
                  {t('dag.next')} <TimeText at={data.next_dagrun_run_after} />
                </span>
              )
            )}
            {data.latest_dag_version && (
              <span className="soft">{t('dag.version', { n: data.latest_dag_version.version_number })}</span>
            )}
            <span className="push bar">
              <Act variant="filled" verdict={allowed?.['trigger']} onClick={() => trigger(true)}>
                {t('action.trigger')}
              </Act>
              <Tooltip
                label={allowed?.['pause']?.reason ?? (paused ? t('dags.resumeOne', { dag }) : t('dags.pauseOne', { dag }))}
                withinPortal
              >
                <ActionIcon
                  variant="default"
                  aria-label={paused ? t('dags.resumeOne', { dag }) : t('dags.pauseOne', { dag })}
                  loading={pause.isPending}
                  {...(allowed?.['pause']?.allowed === false ? { 'data-disabled': true } : {})}
                  onClick={() => allowed?.['pause']?.allowed && pause.mutate(!paused)}
                >
                  <Icon name={paused ? 'play' : 'pause'} />
                </ActionIcon>
              </Tooltip>
            </span>
          </div>
          {pause.isError && <ProblemView error={pause.error} />}
          {data.quarantined && <ProblemView error={new Error(t('dag.quarantined', { why: data.quarantined }))} />}
          <Tabs value={tab} onChange={(to) => void navigate({ to: to === 'grid' ? base : `${base}/${to}` })} keepMounted={false}>
            <Tabs.List aria-label={t('dag.tabs')} style={{ overflowX: 'auto', flexWrap: 'nowrap' }}>
              {tabs.map((one) => (
                <Tabs.Tab key={one.path} value={one.path} {...(one.path === tab ? {} : { 'aria-controls': undefined })}>
                  {t(one.name)}
                </Tabs.Tab>
              ))}
            </Tabs.List>
            <Tabs.Panel value={tab} pt={12}>
              <Outlet />
            </Tabs.Panel>
          </Tabs>
          {triggers && <TriggerDrawer tenant={tenant} dag={dag} close={() => trigger(false)} />}
        </Page>
      )}
    </Answer>
  )
}
