// Lines of logs as pieces of text with a colour. Escapes that aren't colours are left out; nothing of a line is ever HTML.

export interface Piece {
  text: string
  colour?: string
  bold?: boolean
}

const names = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white']
// Control sequences (with `m` at the end those of colours), then operating system commands, then whatever else isn't text.
const escapes = /\u001B\[([0-9;]*)([A-Za-z])|\u001B\][^\u0007\u001B]*(?:\u0007|\u001B\\)|[\u0000-\u0008\u000B-\u001F\u007F]/g
// Characters that turn the direction of text around could make a line say something else than it does.
const turning = /[\u202A-\u202E\u2066-\u2069]/g

export function pieces(line: string): Piece[] {
  const shown = line.replace(turning, '\uFFFD')
  if (!shown.includes('\u001B')) return [{ text: shown.replaceAll(escapes, '') }]
  const found: Piece[] = []
  let style: Omit<Piece, 'text'> = {}
  let from = 0
  const add = (to: number) => {
    if (to > from) found.push({ text: shown.slice(from, to), ...style })
  }
  for (const match of shown.matchAll(escapes)) {
    add(match.index)
    from = match.index + match[0].length
    if (match[2] === 'm') style = styled(style, match[1] ?? '')
  }
  add(shown.length)
  return found
}

function styled(before: Omit<Piece, 'text'>, codes: string): Omit<Piece, 'text'> {
  let style = { ...before }
  for (const code of codes.split(';').map(Number)) {
    if (code === 0) style = {}
    else if (code === 1) style.bold = true
    else if (code === 22) delete style.bold
    else if (code === 39) delete style.colour
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) {
      const name = names[code % 10]
      if (name !== undefined) style.colour = name
    }
  }
  return style
}

export type Level = 'error' | 'warn' | 'info' | 'debug'

/** The level that a line claims near its begin. */
export function level(line: string): Level | null {
  const found = /\b(CRITICAL|FATAL|ERROR|WARN(?:ING)?|INFO|DEBUG|TRACE|Traceback|\w*(?:Error|Exception):)/.exec(line.slice(0, 160))
  switch (found?.[1]) {
    case undefined:
      return null
    case 'WARN':
    case 'WARNING':
      return 'warn'
    case 'INFO':
      return 'info'
    case 'DEBUG':
    case 'TRACE':
      return 'debug'
    default:
      return 'error'
  }
}
