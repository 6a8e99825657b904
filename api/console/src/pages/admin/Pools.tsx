import { Checkbox, NumberInput, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useParams } from '@tanstack/react-router'
import { useState } from 'react'
import * as queries from '../../api/queries'
import type { Pool } from '../../api/types'
import { Act } from '../../components/Act'
import { Page } from '../../components/Page'
import { PoolBar } from '../../components/PoolBar'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { paths } from '../../util/paths'
import { DeleteDialog, FormDialog } from './Form'

export function Pools() {
  const { tenant } = useParams({ from: '/inside/t/$tenant/admin/pools' })
  const found = useQuery(queries.pools(tenant))
  const { data: allowed } = useQuery(queries.allowed(tenant))
  const [edited, edit] = useState<Pool | 'new'>()
  const [gone, remove] = useState<string>()
  const verdict = allowed?.['edit_pools']
  return (
    <Page tab={t('nav.pools')} title={t('nav.pools')}>
      <div className="bar" style={{ marginBottom: 12 }}>
        <Act variant="filled" verdict={verdict} onClick={() => edit('new')}>
          {t('pools.new')}
        </Act>
      </div>
      <Answer of={found}>
        {(data) => (
          <div className="panel scroll">
            {data.pools.length === 0 ? (
              <Empty icon="gauge" title={t('pools.none')} />
            ) : (
              <table className="list">
                <thead>
                  <tr>
                    <th>{t('task.pool')}</th>
                    <th className="num">{t('pools.slots')}</th>
                    <th style={{ width: '35%' }}>{t('pools.use')}</th>
                    <th className="num">{t('pools.used')}</th>
                    <th>{t('dags.actions')}</th>
                  </tr>
                </thead>
                <tbody>
                  {data.pools.map((pool) => (
                    <tr key={pool.name}>
                      <td>{pool.name}</td>
                      <td className="num">{pool.slots < 0 ? '∞' : pool.slots}</td>
                      <td>
                        <PoolBar pool={pool} />
                      </td>
                      <td className="num">{pool.occupied_slots}</td>
                      <td>
                        <Act size="compact-xs" verdict={verdict} onClick={() => edit(pool)} aria-label={t('edit.one', { what: pool.name })}>
                          {t('action.edit')}
                        </Act>{' '}
                        <Act
                          size="compact-xs"
                          verdict={verdict}
                          why={pool.name === 'default_pool' ? t('pools.default') : undefined}
                          onClick={() => remove(pool.name)}
                          aria-label={t('delete.title', { what: pool.name })}
                        >
                          {t('action.delete')}
                        </Act>
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )}
          </div>
        )}
      </Answer>
      {edited !== undefined && <Edit tenant={tenant} pool={edited === 'new' ? undefined : edited} close={() => edit(undefined)} />}
      {gone !== undefined && (
        <DeleteDialog what={gone} path={paths.of(tenant).pool(gone)} queryKey={['pools', tenant]} close={() => remove(undefined)} />
      )}
    </Page>
  )
}

function Edit({ tenant, pool, close }: { tenant: string; pool: Pool | undefined; close: () => void }) {
  const [name, setName] = useState(pool?.name ?? '')
  const [slots, setSlots] = useState<number | string>(pool?.slots ?? 1)
  const [deferred, setDeferred] = useState(pool?.include_deferred ?? false)
  const of = paths.of(tenant)
  return (
    <FormDialog
      title={pool === undefined ? t('pools.new') : t('edit.one', { what: pool.name })}
      queryKey={['pools', tenant]}
      close={close}
      send={() => ({
        path: pool === undefined ? of.pools : of.pool(pool.name),
        method: pool === undefined ? 'POST' : 'PATCH',
        body: { ...(pool === undefined ? { name } : {}), slots: Number(slots), include_deferred: deferred },
      })}
    >
      <TextInput label={t('task.pool')} required disabled={pool !== undefined} value={name} onChange={(event) => setName(event.currentTarget.value)} />
      <NumberInput label={t('pools.slots')} description={t('pools.slotsMore')} min={-1} value={slots} onChange={setSlots} />
      <Checkbox label={t('pools.deferred')} checked={deferred} onChange={(event) => setDeferred(event.currentTarget.checked)} />
    </FormDialog>
  )
}
