import { SegmentedControl, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useNavigate, useParams } from '@tanstack/react-router'
import { useRef, useState } from 'react'
import * as queries from '../../api/queries'
import { Icon } from '../../components/Icon'
import { StateGrid } from '../../components/StateGrid'
import { StateMark } from '../../components/State'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { type TaskState } from '../../theme/states'
import { prefer, usePreferences } from '../../util/preferences'
import { useKeys } from '../../util/useKeys'

const legend: TaskState[] = ['success', 'running', 'failed', 'upstream_failed', 'queued', 'scheduled', 'up_for_retry', 'skipped']

export function GridTab() {
  const { tenant, dag } = useParams({ from: '/inside/t/$tenant/dags/$dag/' })
  const { runs } = usePreferences()
  const grid = useQuery(queries.grid(tenant, dag, runs))
  const navigate = useNavigate()
  const [text, type] = useState('')
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set())
  const field = useRef<HTMLInputElement>(null)
  useKeys({ '/': () => field.current?.focus() })
  const fold = (group: string) =>
    setFolded((old) => {
      const next = new Set(old)
      if (!next.delete(group)) next.add(group)
      return next
    })
  return (
    <>
      <div className="bar" style={{ marginBottom: 8 }}>
        <TextInput
          ref={field}
          aria-label={t('grid.filter')}
          placeholder={t('grid.filter')}
          leftSection={<Icon name="search" size={14} />}
          value={text}
          onChange={(event) => type(event.currentTarget.value)}
        />
        <SegmentedControl
          aria-label={t('grid.runs')}
          data={['30', '60', '100']}
          value={String(runs)}
          onChange={(n) => prefer({ runs: Number(n) })}
        />
        <ul className="bar wide small soft push" style={{ listStyle: 'none', margin: 0, padding: 0 }} aria-label={t('grid.legend')}>
          {legend.map((state) => (
            <li key={state} className="bar" style={{ gap: 4 }}>
              <StateMark state={state} label={false} /> {state}
            </li>
          ))}
        </ul>
      </div>
      <Answer of={grid} rows={12}>
        {(data) =>
          data.runs.length === 0 ? (
            <div className="panel">
              <Empty icon="calendar" title={t('grid.noRuns')}>
                {t('grid.noRunsMore')}
              </Empty>
            </div>
          ) : (
            <StateGrid
              grid={data}
              text={text}
              folded={folded}
              fold={fold}
              openRun={(run) => void navigate({ to: '/t/$tenant/dags/$dag/runs/$run', params: { tenant, dag, run } })}
              open={({ run, row, kind }) =>
                void navigate({
                  to: '/t/$tenant/dags/$dag/runs/$run/tasks/$task',
                  params: { tenant, dag, run, task: row },
                  search: kind === 'mapped' ? { tab: 'instances' } : {},
                })
              }
            />
          )
        }
      </Answer>
    </>
  )
}
