import { useQuery } from '@tanstack/react-query'
import { useNavigate, useParams, useSearch } from '@tanstack/react-router'
import * as queries from '../../api/queries'
import { TaskGraph } from '../../components/TaskGraph'
import { Answer, Empty } from '../../components/Views'
import { t } from '../../i18n'
import { usePreferences } from '../../util/preferences'

/** Tasks and what they wait for, with the states of a run: the one that is named, otherwise the newest. */
export function GraphTab() {
  const { tenant, dag } = useParams({ from: '/inside/t/$tenant/dags/$dag/graph' })
  const { run } = useSearch({ from: '/inside/t/$tenant/dags/$dag/graph' })
  const { runs } = usePreferences()
  const whole = useQuery({ ...queries.grid(tenant, dag, runs), enabled: run === undefined })
  const one = useQuery({ ...queries.runGrid(tenant, dag, run ?? ''), enabled: run !== undefined })
  const navigate = useNavigate()
  return (
    <Answer of={run === undefined ? whole : one} rows={8}>
      {(grid) =>
        grid.rows.length === 0 ? (
          <div className="panel">
            <Empty icon="dags" title={t('graph.none')} />
          </div>
        ) : (
          <>
            <p className="soft small" style={{ margin: '0 0 8px' }}>
              {grid.runs[0] === undefined ? t('graph.noRun') : t('graph.of', { run: grid.runs[0].id })}
            </p>
            <TaskGraph
              grid={grid}
              open={(task, mapped) => {
                const of = grid.runs[0]
                if (of === undefined) return
                void navigate({
                  to: '/t/$tenant/dags/$dag/runs/$run/tasks/$task',
                  params: { tenant, dag, run: of.id, task },
                  search: mapped ? { tab: 'instances' } : {},
                })
              }}
            />
          </>
        )
      }
    </Answer>
  )
}
