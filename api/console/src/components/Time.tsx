import { Tooltip } from '@mantine/core'
import { usePreferences } from '../util/preferences'
import { absolute, duration, millis, now, relative, useTick } from '../util/time'

/** An instant: how far away, and in full on hover; the other way round if that is preferred. */
export function TimeText({ at, full = false }: { at: string | null | undefined; full?: boolean }) {
  useTick()
  const { zone, exact } = usePreferences()
  const instant = millis(at)
  if (instant === null) return <span className="soft">–</span>
  const exactly = absolute(instant, zone)
  const roughly = relative(instant, now())
  if (full) {
    return (
      <time dateTime={at ?? ''}>
        {exactly} <span className="soft">({roughly})</span>
      </time>
    )
  }
  return (
    <Tooltip label={exact ? roughly : exactly} openDelay={150} withinPortal>
      <time dateTime={at ?? ''}>{exact ? exactly : roughly}</time>
    </Tooltip>
  )
}

/** How long something took, or takes already. */
export function Took({ from, to }: { from: string | null | undefined; to?: string | null | undefined }) {
  useTick()
  const began = millis(from)
  if (began === null) return <span className="soft">–</span>
  return <span>{duration(((millis(to) ?? now()) - began) / 1000)}</span>
}
