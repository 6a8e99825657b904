import { Button, Modal } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { call } from '../api/client'
import type { DagInList, TaskInstance } from '../api/types'
import { type Key, t } from '../i18n'
import { paths } from '../util/paths'
import { Act } from './Act'
import { Icon } from './Icon'
import { ProblemView, Waiting } from './Views'

type Verb = 'pause' | 'resume' | 'trigger' | 'clear'

const verbs: { verb: Verb; right: string; button: Key }[] = [
  { verb: 'pause', right: 'pause', button: 'bulk.pause' },
  { verb: 'resume', right: 'pause', button: 'bulk.resume' },
  { verb: 'trigger', right: 'trigger', button: 'bulk.trigger' },
  { verb: 'clear', right: 'clear', button: 'bulk.clear' },
]

/** What a verb does to a DAG: an address and a body for each request. */
interface Step {
  dag: string
  what: string
  send: () => Promise<unknown>
}

interface Outcome {
  done: number
  failed: { step: Step; error: unknown }[]
}

/** What can be done to all DAGs that are selected. */
export function BulkBar({ tenant, dags, leave }: { tenant: string; dags: readonly DagInList[]; leave: () => void }) {
  const [verb, choose] = useState<Verb>()
  return (
    <div className="bar panel" role="toolbar" aria-label={t('bulk.label')} style={{ padding: '6px 12px', marginBottom: 8 }}>
      <strong aria-live="polite">{t('bulk.selected', { n: dags.length })}</strong>
      {verbs.map((one) => {
        const refused = dags.find((dag) => dag.allowed[one.right]?.allowed === false)
        const fits = dags.some((dag) => (one.verb === 'pause' ? !dag.paused : one.verb === 'resume' ? dag.paused : true))
        const why = refused !== undefined ? `${refused.dag_id}: ${refused.allowed[one.right]?.reason ?? ''}` : fits ? undefined : t('bulk.nothing')
        return (
          <Act key={one.verb} size="compact-xs" why={why} onClick={() => choose(one.verb)}>
            {t(one.button)}
          </Act>
        )
      })}
      <Button size="compact-xs" variant="subtle" onClick={leave}>
        {t('bulk.leave')}
      </Button>
      {verb !== undefined && <BulkDialog tenant={tenant} dags={dags} verb={verb} close={() => choose(undefined)} />}
    </div>
  )
}

function BulkDialog({ tenant, dags, verb, close }: { tenant: string; dags: readonly DagInList[]; verb: Verb; close: () => void }) {
  const client = useQueryClient()
  const steps = useQuery({
    queryKey: ['bulk', tenant, verb, dags.map((dag) => dag.dag_id)],
    queryFn: ({ signal }) => plan(tenant, dags, verb, signal),
    gcTime: 0,
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  })
  const act = useMutation({
    mutationFn: async (todo: readonly Step[]): Promise<Outcome> => {
      const outcome: Outcome = { done: 0, failed: [] }
      // One after the other: what fails is told by name, and the rest is done all the same.
      for (const step of todo) {
        try {
          await step.send()
          outcome.done += 1
        } catch (error) {
          outcome.failed.push({ step, error })
        }
      }
      return outcome
    },
    onSuccess: (outcome) => {
      for (const key of ['dags', 'home', 'grid', 'runs']) void client.invalidateQueries({ queryKey: [key, tenant] })
      if (outcome.failed.length === 0) close()
    },
  })
  const todo = steps.data ?? []
  return (
    <Modal opened onClose={close} title={t(`bulk.title.${verb}` as Key)} size="lg">
      {steps.isPending && <Waiting rows={3} />}
      {steps.isError && <ProblemView error={steps.error} />}
      {steps.data !== undefined && (
        <div className="panel" style={{ maxHeight: 320, overflow: 'auto' }}>
          {todo.length === 0 && <p style={{ padding: '0 12px' }}>{t('bulk.nothing')}</p>}
          <ul style={{ margin: 0, padding: '6px 12px', listStyle: 'none' }}>
            {todo.map((step) => {
              const failed = act.data?.failed.find((one) => one.step === step)
              return (
                <li key={`${step.dag} ${step.what}`} style={{ padding: '3px 0' }}>
                  <strong>{step.dag}</strong> <span className="soft">{step.what}</span>
                  {failed !== undefined && (
                    <div style={{ color: 'var(--bad-ink)' }}>
                      <Icon name="alert" size={12} /> {failed.error instanceof Error ? failed.error.message : String(failed.error)}
                    </div>
                  )}
                </li>
              )
            })}
          </ul>
        </div>
      )}
      {act.data !== undefined && act.data.failed.length > 0 && (
        <p role="alert">{t('bulk.outcome', { done: act.data.done, failed: act.data.failed.length })}</p>
      )}
      <div className="bar" style={{ marginTop: 12 }}>
        <Button disabled={todo.length === 0 || act.data !== undefined} loading={act.isPending} onClick={() => act.mutate(todo)}>
          {t(`bulk.do.${verb}` as Key, { n: verb === 'clear' ? todo.length : new Set(todo.map((step) => step.dag)).size })}
        </Button>
        <Button variant="default" onClick={close}>
          {act.data === undefined ? t('action.cancel') : t('action.close')}
        </Button>
      </div>
    </Modal>
  )
}

/** What will be done, request by request. Clearing is asked for on trial first, so that its tasks are counted. */
async function plan(tenant: string, dags: readonly DagInList[], verb: Verb, signal: AbortSignal): Promise<Step[]> {
  const of = paths.of(tenant)
  switch (verb) {
    case 'pause':
    case 'resume': {
      const paused = verb === 'pause'
      const change = (dag: string) => () => call(of.dag(dag), { method: 'PATCH', body: { is_paused: paused } })
      return dags.filter((dag) => dag.paused !== paused).map((dag) => ({ dag: dag.dag_id, what: '', send: change(dag.dag_id) }))
    }
    case 'trigger': {
      const start = (dag: string) => () => call(of.trigger(dag), { method: 'POST', body: { logical_date: null, conf: {} } })
      return dags.map((dag) => ({ dag: dag.dag_id, what: dag.paused ? t('bulk.waits') : '', send: start(dag.dag_id) }))
    }
    case 'clear': {
      const steps: Step[] = []
      for (const dag of dags) {
        for (const run of dag.runs.filter((one) => one.state === 'failed')) {
          const clear = (dry: boolean, until?: AbortSignal) =>
            call<{ task_instances: TaskInstance[] }>(of.clear(dag.dag_id), {
              method: 'POST',
              body: { dry_run: dry, dag_run_id: run.id, only_failed: true },
              ...(until === undefined ? {} : { signal: until }),
            })
          const { task_instances: found } = await clear(true, signal)
          if (found.length === 0) continue
          steps.push({ dag: dag.dag_id, what: t('bulk.tasks', { run: run.id, n: found.length }), send: () => clear(false) })
        }
      }
      return steps
    }
  }
}
