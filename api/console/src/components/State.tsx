import { type Family, type RunState, type TaskState, looks } from '../theme/states'
import { Icon } from './Icon'
import css from './state.module.css'

export function familyClass(family: Family): string {
  return css[family] ?? ''
}

/** A state by colour, shape, icon and name. */
export function StateBadge({ state }: { state: TaskState | RunState | null }) {
  const name = state ?? 'none'
  const look = looks[name]
  return (
    <span className={`${css['badge']} ${familyClass(look.family)}`}>
      <Icon name={look.icon} size={13} />
      {name}
    </span>
  )
}

/** A state without its name, for lists that say it otherwise. */
export function StateMark({ state, label = true }: { state: TaskState | RunState | null; label?: boolean }) {
  const name = state ?? 'none'
  const look = looks[name]
  const said = label ? { role: 'img', 'aria-label': name, title: name } : { 'aria-hidden': true }
  return (
    <span className={`${css['mark']} ${familyClass(look.family)}`} data-fill={look.fill} {...said}>
      <Icon name={look.icon} size={11} />
    </span>
  )
}

/** How many instances are in each state, the most telling first. */
export function Counts({ counts }: { counts: Partial<Record<TaskState, number>> }) {
  const found = (Object.entries(counts) as [TaskState, number][]).filter(([, n]) => n > 0)
  if (found.length === 0) return <span className="soft">–</span>
  return (
    <span className="bar" style={{ gap: 6 }}>
      {found.map(([state, n]) => (
        <span key={state} className={`${css['badge']} ${familyClass(looks[state].family)}`} title={state}>
          <Icon name={looks[state].icon} size={12} />
          {n}
          <span className="wide">{state}</span>
        </span>
      ))}
    </span>
  )
}
