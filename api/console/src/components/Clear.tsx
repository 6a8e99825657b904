import { Button, Checkbox, Modal } from '@mantine/core'
import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { call } from '../api/client'
import type { TaskInstance } from '../api/types'
import { t } from '../i18n'
import { grouped } from '../util/grouped'
import { paths } from '../util/paths'
import { StateBadge } from './State'
import { ProblemView, Waiting } from './Views'

interface Reach {
  failed: boolean
  downstream: boolean
  upstream: boolean
  future: boolean
  past: boolean
}

/** What is run again, seen before it is. The button carries the number. */
export function ClearDialog({
  tenant,
  dag,
  run,
  task,
  map,
  close,
}: {
  tenant: string
  dag: string
  run: string
  task?: string
  map?: number
  close: () => void
}) {
  const [reach, setReach] = useState<Reach>({
    failed: task === undefined,
    downstream: task !== undefined,
    upstream: false,
    future: false,
    past: false,
  })
  const client = useQueryClient()
  const body = (dry: boolean) => ({
    dry_run: dry,
    dag_run_id: run,
    only_failed: reach.failed,
    include_downstream: task !== undefined && reach.downstream,
    include_upstream: task !== undefined && reach.upstream,
    include_future: reach.future,
    include_past: reach.past,
    ...(task === undefined ? {} : { task_ids: [map === undefined || map < 0 ? task : [task, map]] }),
  })
  const ask = (dry: boolean, signal?: AbortSignal) =>
    call<{ task_instances: TaskInstance[] }>(paths.of(tenant).clear(dag), {
      method: 'POST',
      body: body(dry),
      ...(signal === undefined ? {} : { signal }),
    })
  const preview = useQuery({
    queryKey: ['clear', tenant, dag, run, task, map, reach],
    queryFn: ({ signal }) => ask(true, signal),
    placeholderData: keepPreviousData,
    gcTime: 0,
    retry: false,
  })
  const clear = useMutation({
    mutationFn: () => ask(false),
    onSuccess: async () => {
      close()
      for (const key of ['grid', 'run', 'task', 'tries', 'home', 'instances']) {
        void client.invalidateQueries({ queryKey: [key, tenant] })
      }
    },
  })
  const found = preview.data?.task_instances ?? []
  const running = found.filter((one) => one.state === 'running').length
  const byRun = grouped(found, (one) => one.dag_run_id)
  const toggle = (key: keyof Reach, label: string) => (
    <Checkbox
      label={label}
      checked={reach[key]}
      onChange={(event) => {
        const { checked } = event.currentTarget
        setReach((old) => ({ ...old, [key]: checked }))
      }}
    />
  )
  return (
    <Modal opened onClose={close} title={t('clear.title', { what: task ?? run })} size="lg">
      <div className="bar" style={{ gap: 16, marginBottom: 12 }}>
        {toggle('failed', t('clear.failed'))}
        {task !== undefined && toggle('downstream', t('clear.downstream'))}
        {task !== undefined && toggle('upstream', t('clear.upstream'))}
        {toggle('future', t('clear.future'))}
        {toggle('past', t('clear.past'))}
      </div>
      {preview.isError && <ProblemView error={preview.error} />}
      {preview.isPending && !preview.isError && <Waiting rows={3} />}
      {preview.data !== undefined && !preview.isError && (
        <div className="panel" style={{ maxHeight: 320, overflow: 'auto', opacity: preview.isFetching ? 0.6 : 1 }} aria-live="polite">
          {found.length === 0 && <p style={{ padding: '0 12px' }}>{t('clear.nothing')}</p>}
          {[...byRun.entries()].map(([name, tasks]) => (
            <section key={name}>
              <h2 style={{ padding: '6px 12px', fontSize: 13 }}>
                {name} <span className="soft">{tasks.length}</span>
              </h2>
              <ul style={{ margin: 0, padding: '0 12px 8px', listStyle: 'none' }}>
                {tasks.slice(0, 200).map((one) => (
                  <li key={`${one.task_id} ${one.map_index}`} className="bar" style={{ padding: '2px 0' }}>
                    <StateBadge state={one.state} /> {one.task_id}
                    {one.map_index >= 0 && ` [${one.map_index}]`}
                  </li>
                ))}
                {tasks.length > 200 && <li className="soft">{t('clear.more', { n: tasks.length - 200 })}</li>}
              </ul>
            </section>
          ))}
        </div>
      )}
      {running > 0 && (
        <p style={{ color: 'var(--bad-ink)', fontWeight: 500 }} role="alert">
          {t('clear.killed', { n: running })}
        </p>
      )}
      {clear.isError && <ProblemView error={clear.error} />}
      <div className="bar" style={{ marginTop: 12 }}>
        <Button
          disabled={found.length === 0 || preview.isFetching || preview.isError}
          loading={clear.isPending}
          onClick={() => clear.mutate()}
        >
          {t('clear.do', { n: found.length })}
        </Button>
        <Button variant="default" onClick={close}>
          {t('action.cancel')}
        </Button>
      </div>
    </Modal>
  )
}
