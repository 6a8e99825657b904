import type { LogEvent, LogPiece } from '../../api/types'

/** The lines with a piece at their end. A part of a long line goes on where the last one of its stream ended. */
export function joined(lines: readonly LogEvent[], piece: LogPiece): LogEvent[] {
  const all = [...lines]
  for (const event of piece.content) {
    const last = all.at(-1)
    if (last?.continues === true && last.stream === event.stream) {
      all[all.length - 1] = { ...last, event: last.event + event.event, continues: event.continues ?? false }
    } else all.push(event)
  }
  return all
}
