import { Button, Modal } from '@mantine/core'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { call } from '../api/client'
import { t } from '../i18n'
import type { TaskState } from '../theme/states'
import { paths } from '../util/paths'
import { Counts, StateBadge } from './State'
import { ProblemView } from './Views'

function useMarked(tenant: string, close: () => void) {
  const client = useQueryClient()
  return () => {
    close()
    for (const key of ['grid', 'run', 'task', 'tries', 'home']) void client.invalidateQueries({ queryKey: [key, tenant] })
  }
}

/** Ends a run as success or failed. What isn't over is what changes. */
export function MarkRunDialog({
  tenant,
  dag,
  run,
  state,
  counts,
  close,
}: {
  tenant: string
  dag: string
  run: string
  state: 'success' | 'failed'
  counts: Partial<Record<TaskState, number>>
  close: () => void
}) {
  const done = useMarked(tenant, close)
  const mark = useMutation({
    mutationFn: () => call(paths.of(tenant).run(dag, run), { method: 'PATCH', body: { state } }),
    onSuccess: done,
  })
  const over = new Set<string>(['success', 'skipped', 'failed', 'upstream_failed', 'removed'])
  const open = Object.fromEntries(Object.entries(counts).filter(([name]) => !over.has(name)))
  const n = Object.values(open).reduce((sum, one) => sum + one, 0)
  return (
    <Modal opened onClose={close} title={t('mark.runTitle', { run })}>
      <p className="bar">
        {t('mark.becomes')} <StateBadge state={state} />
      </p>
      {n > 0 ? (
        <>
          <p>{t('mark.follows', { n })}</p>
          <Counts counts={open} />
        </>
      ) : (
        <p className="soft">{t('mark.onlyRun')}</p>
      )}
      {mark.isError && <ProblemView error={mark.error} />}
      <div className="bar" style={{ marginTop: 16 }}>
        <Button loading={mark.isPending} onClick={() => mark.mutate()}>
          {t('mark.do', { state })}
        </Button>
        <Button variant="default" onClick={close}>
          {t('action.cancel')}
        </Button>
      </div>
    </Modal>
  )
}

/** Gives a task instance another state; what waits for it goes on by that. */
export function MarkTaskDialog({
  tenant,
  dag,
  run,
  task,
  map,
  now,
  state,
  close,
}: {
  tenant: string
  dag: string
  run: string
  task: string
  map: number
  now: TaskState | null
  state: 'success' | 'failed' | 'skipped'
  close: () => void
}) {
  const done = useMarked(tenant, close)
  const mark = useMutation({
    mutationFn: () =>
      call(map < 0 ? paths.of(tenant).task(dag, run, task) : paths.of(tenant).mapped(dag, run, task, map), {
        method: 'PATCH',
        body: { new_state: state },
      }),
    onSuccess: done,
  })
  return (
    <Modal opened onClose={close} title={t('mark.taskTitle', { task })}>
      <p className="bar">
        <StateBadge state={now} /> → <StateBadge state={state} />
      </p>
      {now === 'running' && (
        <p style={{ color: 'var(--bad-ink)' }} role="alert">
          {t('clear.killed', { n: 1 })}
        </p>
      )}
      {mark.isError && <ProblemView error={mark.error} />}
      <div className="bar" style={{ marginTop: 16 }}>
        <Button loading={mark.isPending} onClick={() => mark.mutate()}>
          {t('mark.do', { state })}
        </Button>
        <Button variant="default" onClick={close}>
          {t('action.cancel')}
        </Button>
      </div>
    </Modal>
  )
}
