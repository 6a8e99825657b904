import { NumberInput, Select, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useParams } from '@tanstack/react-router'
import { useState } from 'react'
import { call } from '../../api/client'
import * as queries from '../../api/queries'
import { Act } from '../../components/Act'
import { TimeText } from '../../components/Time'
import { Answer, Empty, ProblemView } from '../../components/Views'
import { t } from '../../i18n'
import { paths } from '../../util/paths'
import { FormDialog } from '../admin/Form'

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

function NewBackfill({ tenant, dag, close }: { tenant: string; dag: string; close: () => void }) {
  const [from, setFrom] = useState('')
  const [to, setTo] = useState('')
  const [most, setMost] = useState<number | string>(4)
  const [again, setAgain] = useState('none')
  const [order, setOrder] = useState('forwards')
  return (
    <FormDialog
      title={t('backfills.new')}
      queryKey={['backfills', tenant, dag]}
      close={close}
      send={() => ({
        path: paths.of(tenant).backfills,
        method: 'POST',
        body: {
          dag_id: dag,
          from_date: `${from}T00:00:00Z`,
          to_date: `${to}T23:59:59Z`,
          max_active_runs: Number(most),
          reprocess_behavior: again,
          run_backwards: order === 'backwards',
        },
      })}
    >
      <TextInput type="date" label={t('backfills.from')} required value={from} onChange={(event) => setFrom(event.currentTarget.value)} />
      <TextInput type="date" label={t('backfills.to')} required value={to} onChange={(event) => setTo(event.currentTarget.value)} />
      <Select
        label={t('backfills.again')}
        data={[
          { value: 'none', label: t('backfills.againNone') },
          { value: 'failed', label: t('backfills.againFailed') },
          { value: 'completed', label: t('backfills.againAll') },
        ]}
        value={again}
        allowDeselect={false}
        onChange={(value) => setAgain(value ?? 'none')}
      />
      <Select
        label={t('backfills.order')}
        data={[
          { value: 'forwards', label: t('backfills.forwards') },
          { value: 'backwards', label: t('backfills.backwards') },
        ]}
        value={order}
        allowDeselect={false}
        onChange={(value) => setOrder(value ?? 'forwards')}
      />
      <NumberInput label={t('backfills.atOnce')} min={1} value={most} onChange={setMost} />
    </FormDialog>
  )
}
