import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import type { TaskRef } from '../api/queries'
import * as queries from '../api/queries'
import type { Hold } from '../api/types'
import { t } from '../i18n'
import { StateBadge } from './State'
import { Answer, Empty } from './Views'
import css from './wait.module.css'

/** How deep chains of chains are opened. */
const DEPTH_MAX = 5

/** Why a task instance isn't running: what holds it, the most general cause first, and what would free it. */
export function WaitChain({ of, depth = 0, seen = [] }: { of: TaskRef; depth?: number; seen?: readonly string[] }) {
  const waiting = useQuery(queries.waiting(of))
  return (
    <Answer of={waiting} rows={3}>
      {(data) => {
        const holds = data.waiting?.holds ?? []
        if (holds.length === 0) {
          return (
            <Empty icon={data.state === 'running' ? 'play' : 'check'} title={t(data.waiting === null ? 'wait.notWaiting' : 'wait.moving')}>
              <StateBadge state={data.state} />
            </Empty>
          )
        }
        return (
          <ol className={css['chain']}>
            {holds.map((hold, at) => (
              <Step key={at} hold={hold} of={of} depth={depth} seen={seen} first={at === 0} />
            ))}
          </ol>
        )
      }}
    </Answer>
  )
}

function Step({ hold, of, depth, seen, first }: { hold: Hold; of: TaskRef; depth: number; seen: readonly string[]; first: boolean }) {
  const [opened, open] = useState<string>()
  const blockers = hold.limit.waits_for ?? []
  const path = [...seen, of.task]
  const says = hold.says.charAt(0).toUpperCase() + hold.says.slice(1)
  return (
    <li className={css['step']} data-first={first || undefined}>
      <p className={css['says']}>
        <Said text={says} />
      </p>
      <p className="soft">
        {t('wait.frees')} <Said text={hold.frees} />
      </p>
      {blockers.length > 0 && (
        <ul className={css['blockers']}>
          {blockers.map((blocker) => (
            <li key={blocker.task}>
              <Link
                to="/t/$tenant/dags/$dag/runs/$run/tasks/$task"
                params={{ tenant: of.tenant, dag: of.dag, run: of.run, task: blocker.task }}
                search={blocker.total > 1 ? { tab: 'instances' } : {}}
              >
                {blocker.task}
              </Link>
              {blocker.total > 1 && <span className="soft"> {t('wait.of', { n: blocker.open, total: blocker.total })}</span>}
              {depth < DEPTH_MAX && !path.includes(blocker.task) && blocker.total <= 1 && (
                <Button
                  variant="subtle"
                  size="compact-xs"
                  aria-expanded={opened === blocker.task}
                  aria-label={t('wait.whyOf', { task: blocker.task })}
                  onClick={() => open(opened === blocker.task ? undefined : blocker.task)}
                >
                  {t('task.why')}
                </Button>
              )}
              {opened === blocker.task && (
                <WaitChain of={{ ...of, task: blocker.task, map: -1 }} depth={depth + 1} seen={path} />
              )}
            </li>
          ))}
        </ul>
      )}
    </li>
  )
}

/** A sentence of the server: names are between backticks. */
function Said({ text }: { text: string }) {
  return text.split('`').map((part, at) => (at % 2 === 1 ? <code key={at}>{part}</code> : part))
}
