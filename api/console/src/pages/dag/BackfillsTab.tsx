import { Button, Modal, NumberInput, Select, TextInput } from '@mantine/core'
import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useParams } from '@tanstack/react-router'
import { useState } from 'react'
import { call } from '../../api/client'
import * as queries from '../../api/queries'
import type { DryRun } from '../../api/types'
import { Act } from '../../components/Act'
import { StateBadge } from '../../components/State'
import { TimeText } from '../../components/Time'
import { Answer, Empty, ProblemView } from '../../components/Views'
import { t } from '../../i18n'
import { paths } from '../../util/paths'

/** Dates that are listed; the rest is a number. */
const LISTED = 200

/** Runs for past dates, made together. */
export function BackfillsTab() {
  const { tenant, dag } = useParams({ from: '/inside/t/$tenant/dags/$dag/backfills' })
  const found = useQuery(queries.backfills(tenant, dag))
  const { data: allowed } = useQuery(queries.allowedOnDag(tenant, dag))
  const [making, make] = useState(false)
  const client = useQueryClient()
  const change = useMutation({
    mutationFn: ({ id, verb }: { id: number; verb: 'pause' | 'unpause' | 'cancel' }) =>
      call(paths.of(tenant).backfill(id, verb), { method: 'PUT' }),
    onSuccess: () => client.invalidateQueries({ queryKey: ['backfills', tenant, dag] }),
  })
  return (
    <>
      <div className="bar" style={{ marginBottom: 12 }}>
        <Act variant="filled" verdict={allowed?.['backfill']} onClick={() => make(true)}>
          {t('backfills.new')}
        </Act>
      </div>
      {change.isError && <ProblemView error={change.error} />}
      <Answer of={found} rows={4}>
        {(data) => (
          <div className="panel scroll">
            {data.backfills.length === 0 ? (
              <Empty icon="calendar" title={t('backfills.none')}>
                {t('backfills.noneMore')}
              </Empty>
            ) : (
              <table className="list">
                <thead>
                  <tr>
                    <th className="num">#</th>
                    <th>{t('backfills.range')}</th>
                    <th>{t('backfills.state')}</th>
                    <th className="num">{t('backfills.made')}</th>
                    <th className="num">{t('backfills.atOnce')}</th>
                    <th>{t('users.made')}</th>
                    <th>{t('dags.actions')}</th>
                  </tr>
                </thead>
                <tbody>
                  {data.backfills.map((one) => (
                    <tr key={one.id}>
                      <td className="num">{one.id}</td>
                      <td>
                        {one.from_date.slice(0, 16)} – {one.to_date.slice(0, 16)}
                      </td>
                      <td>
                        {one.completed_at === null ? t(one.is_paused ? 'backfills.paused' : 'backfills.going') : t('backfills.over')}
                      </td>
                      <td className="num">{one.runs_made}</td>
                      <td className="num">{one.max_active_runs}</td>
                      <td>
                        <TimeText at={one.created_at} />
                      </td>
                      <td className="bar">
                        {one.completed_at === null && (
                          <>
                            <Act
                              size="compact-xs"
                              verdict={allowed?.['backfill']}
                              onClick={() => change.mutate({ id: one.id, verb: one.is_paused ? 'unpause' : 'pause' })}
                            >
                              {t(one.is_paused ? 'backfills.resume' : 'backfills.pause')}
                            </Act>
                            <Act size="compact-xs" verdict={allowed?.['backfill']} onClick={() => change.mutate({ id: one.id, verb: 'cancel' })}>
                              {t('action.cancel')}
                            </Act>
                          </>
                        )}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )}
          </div>
        )}
      </Answer>
      {making && <NewBackfill tenant={tenant} dag={dag} close={() => make(false)} />}
    </>
  )
}

type Reprocess = 'none' | 'failed' | 'completed'

/** A backfill is seen date by date before it is made. The button carries the number of its runs. */
function NewBackfill({ tenant, dag, close }: { tenant: string; dag: string; close: () => void }) {
  const client = useQueryClient()
  const [from, setFrom] = useState('')
  const [to, setTo] = useState('')
  const [most, setMost] = useState<number | string>(4)
  const [again, setAgain] = useState<Reprocess>('none')
  const [backwards, setBackwards] = useState(false)
  const body = {
    dag_id: dag,
    from_date: `${from}T00:00:00Z`,
    to_date: `${to}T23:59:59Z`,
    max_active_runs: Number(most),
    reprocess_behavior: again,
    run_backwards: backwards,
  }
  const isWhole = from !== '' && to !== '' && Number(most) > 0
  const preview = useQuery({
    queryKey: ['dry-run', tenant, body],
    queryFn: ({ signal }) => call<DryRun>(paths.of(tenant).backfillsDryRun, { method: 'POST', body, signal }),
    enabled: isWhole,
    placeholderData: keepPreviousData,
    gcTime: 0,
    retry: false,
  })
  const make = useMutation({
    mutationFn: () => call(paths.of(tenant).backfills, { method: 'POST', body }),
    onSuccess: () => {
      close()
      return client.invalidateQueries({ queryKey: ['backfills', tenant, dag] })
    },
  })
  const dates = preview.data?.backfills ?? []
  const runs = dates.filter((one) => one.effect !== 'skip').length
  return (
    <Modal opened onClose={close} title={t('backfills.new')} size="lg">
      <div className="bar" style={{ alignItems: 'end', gap: 12 }}>
        <TextInput type="date" label={t('backfills.from')} required value={from} onChange={(event) => setFrom(event.currentTarget.value)} />
        <TextInput type="date" label={t('backfills.to')} required value={to} onChange={(event) => setTo(event.currentTarget.value)} />
        <NumberInput label={t('backfills.atOnce')} min={1} value={most} onChange={setMost} w={110} />
        <Select
          label={t('backfills.again')}
          data={[
            { value: 'none', label: t('backfills.againNone') },
            { value: 'failed', label: t('backfills.againFailed') },
            { value: 'completed', label: t('backfills.againAll') },
          ]}
          value={again}
          allowDeselect={false}
          onChange={(value) => setAgain((value ?? 'none') as Reprocess)}
        />
        <Select
          label={t('backfills.order')}
          data={[
            { value: 'forwards', label: t('backfills.forwards') },
            { value: 'backwards', label: t('backfills.backwards') },
          ]}
          value={backwards ? 'backwards' : 'forwards'}
          allowDeselect={false}
          onChange={(value) => setBackwards(value === 'backwards')}
        />
      </div>
      <div style={{ marginTop: 12 }} aria-live="polite">
        {!isWhole && <p className="soft">{t('backfills.choose')}</p>}
        {isWhole && preview.isError && <ProblemView error={preview.error} />}
        {isWhole && preview.data !== undefined && !preview.isError && (
          <>
            <p>
              {t('backfills.will', {
                create: dates.filter((one) => one.effect === 'create').length,
                rerun: dates.filter((one) => one.effect === 'rerun').length,
                skip: dates.filter((one) => one.effect === 'skip').length,
              })}
              {preview.data.truncated && ` ${t('backfills.truncated', { n: dates.length })}`}
            </p>
            <div className="panel" style={{ maxHeight: 280, overflow: 'auto', opacity: preview.isFetching ? 0.6 : 1 }} tabIndex={0} role="region" aria-label={t('backfills.preview')}>
              <table className="list">
                <thead>
                  <tr>
                    <th className="num">#</th>
                    <th>{t('run.date')}</th>
                    <th>{t('backfills.effect')}</th>
                    <th>{t('backfills.there')}</th>
                  </tr>
                </thead>
                <tbody>
                  {dates.slice(0, LISTED).map((one, at) => (
                    <tr key={one.logical_date}>
                      <td className="num soft">{at + 1}</td>
                      <td>{one.logical_date.slice(0, 16).replace('T', ' ')} UTC</td>
                      <td>{one.effect === 'skip' ? <span className="soft">{t('backfills.skip')}</span> : <strong>{t(`backfills.${one.effect}`)}</strong>}</td>
                      <td>{one.state === null ? <span className="soft">–</span> : <><StateBadge state={one.state} /> <span className="soft small">{one.dag_run_id}</span></>}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
              {dates.length > LISTED && <p className="soft" style={{ padding: '0 10px' }}>{t('clear.more', { n: dates.length - LISTED })}</p>}
            </div>
          </>
        )}
      </div>
      {make.isError && <ProblemView error={make.error} />}
      <div className="bar" style={{ marginTop: 12 }}>
        <Button disabled={!isWhole || runs === 0 || preview.isFetching || preview.isError} loading={make.isPending} onClick={() => make.mutate()}>
          {t('backfills.do', { n: runs })}
        </Button>
        <Button variant="default" onClick={close}>
          {t('action.cancel')}
        </Button>
      </div>
    </Modal>
  )
}
