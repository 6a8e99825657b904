import { Select } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { live, useMeasured } from '../api/live'
import * as queries from '../api/queries'
import { t } from '../i18n'
import { amount, count } from '../util/numbers'
import { resources, rowsOf, unitOf } from '../util/quotas'
import { QuotaBar, QuotaLegend, QuotaPatterns } from './QuotaBar'
import { Answer, Empty } from './Views'
import css from './quota.module.css'

/** Who uses whose quota, as it changes. Who administers the platform sees everybody, others their tenant and the rest as a sum. */
export function Quotas({
  tenant,
  whose,
  resource,
  choose,
}: {
  tenant: string
  whose: 'own' | 'all'
  resource: string | undefined
  choose: (resource: string) => void
}) {
  const found = useQuery(queries.quotas(tenant, whose))
  useMeasured(live(useQueryClient()), whose)
  return (
    <section className="panel" aria-labelledby="quotas" style={{ marginBottom: 16 }}>
      <h2 id="quotas">{t('capacity.quotas')}</h2>
      <Answer of={found} rows={3}>
        {({ items }) => {
          const all = resources(items)
          const shown = resource !== undefined && all.includes(resource) ? resource : all[0]
          if (items.length === 0 || shown === undefined) {
            return (
              <Empty icon="gauge" title={t('quotas.none')}>
                {t('quotas.noneMore')}
              </Empty>
            )
          }
          const unit = unitOf(shown)
          const rows = rowsOf(items, shown, whose === 'all')
          const countsTasks = shown.endsWith(' members')
          const most = Math.max(1, ...rows.map((row) => Math.max(row.guaranteed, row.own + row.borrowed)))
          return (
            <>
              <QuotaPatterns />
              <div className="bar" style={{ padding: '10px 12px 4px' }}>
                <Select aria-label={t('quotas.resource')} data={all} value={shown} allowDeselect={false} w={220} onChange={(one) => choose(one ?? shown)} />
              </div>
              <div className="scroll">
                <table className={`list ${css['table']}`}>
                  <thead>
                    <tr>
                      <th>{t('quotas.who')}</th>
                      <th className={css['wide']}>{t('pools.use')}</th>
                      <th className="num">{t('pools.used')}</th>
                      <th className="num">{t('quotas.nominal')}</th>
                      <th className="num">{t('quotas.borrowed')}</th>
                      <th className="num">{t('quotas.lent')}</th>
                      <th className="num">{t('quotas.waiting')}</th>
                      <th className="num wide">{t('quotas.share')}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {rows.map((row) => (
                      <tr key={`${row.kind} ${row.name} ${row.depth}`} data-kind={row.kind}>
                        <th scope="row" style={{ paddingLeft: 10 + 16 * row.depth }}>
                          {row.kind === 'others' ? t('quotas.others') : row.name}
                          {row.kind === 'cohort' && <span className="soft small"> {t('quotas.cohort')}</span>}
                        </th>
                        <td>
                          <QuotaBar row={row} most={most} unit={unit} waiting={countsTasks && row.kind !== 'cohort' ? row.waiting : 0} />
                        </td>
                        <td className="num">{amount(row.own + row.borrowed, unit)}</td>
                        <td className="num">{row.kind === 'others' ? '–' : amount(row.guaranteed, unit)}</td>
                        <td className="num">{row.kind === 'others' ? '–' : amount(row.borrowed, unit)}</td>
                        <td className="num">{row.kind === 'others' ? '–' : amount(row.lent, unit)}</td>
                        <td className="num">{count(row.waiting)}</td>
                        <td className="num wide">{row.share === null ? '–' : `${(row.share / 10).toFixed(1)} %`}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
              <QuotaLegend />
            </>
          )
        }}
      </Answer>
    </section>
  )
}
