// What changed from one text to another, line by line, and from one model of a DAG to another, in words.

export interface DiffLine {
  kind: 'same' | 'gone' | 'new'
  text: string
  /** The number in the old text and in the new one, from 1. */
  old: number | null
  now: number | null
}

/** Steps that are searched before the rest is taken as replaced: a text that was written anew has no smallest difference to find. */
const STEPS_MAX = 2_000

/** The shortest way from one list of lines to the other. */
export function diff(before: string, after: string): DiffLine[] {
  const a = before.replace(/\n$/, '').split('\n')
  const b = after.replace(/\n$/, '').split('\n')
  let start = 0
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1
  let end = 0
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1
  const found: DiffLine[] = []
  let [old, now] = [0, 0]
  const push = (kind: DiffLine['kind'], text: string) => {
    if (kind !== 'new') old += 1
    if (kind !== 'gone') now += 1
    found.push({ kind, text, old: kind === 'new' ? null : old, now: kind === 'gone' ? null : now })
  }
  for (const text of a.slice(0, start)) push('same', text)
  for (const [kind, text] of middle(a.slice(start, a.length - end), b.slice(start, b.length - end))) push(kind, text)
  for (const text of a.slice(a.length - end)) push('same', text)
  return found
}

/** Myers' greedy search: how far each diagonal comes with so many changes, and the way back. */
function middle(a: readonly string[], b: readonly string[]): [DiffLine['kind'], string][] {
  const replaced = (): [DiffLine['kind'], string][] => [...a.map((text) => ['gone', text] as [DiffLine['kind'], string]), ...b.map((text) => ['new', text] as [DiffLine['kind'], string])]
  if (a.length === 0 || b.length === 0) return replaced()
  const trace: Map<number, number>[] = []
  let reach = new Map<number, number>([[1, 0]])
  const at = (map: Map<number, number>, k: number) => map.get(k) ?? -1
  const most = Math.min(a.length + b.length, STEPS_MAX)
  for (let d = 0; d <= most; d += 1) {
    trace.push(new Map(reach))
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && at(reach, k - 1) < at(reach, k + 1))
      let x = down ? at(reach, k + 1) : at(reach, k - 1) + 1
      let y = x - k
      while (x < a.length && y < b.length && a[x] === b[y]) [x, y] = [x + 1, y + 1]
      reach.set(k, x)
      if (x >= a.length && y >= b.length) return walk(a, b, trace, d)
    }
    reach = new Map(reach)
  }
  return replaced()
}

function walk(a: readonly string[], b: readonly string[], trace: readonly Map<number, number>[], d: number): [DiffLine['kind'], string][] {
  const back: [DiffLine['kind'], string][] = []
  let [x, y] = [a.length, b.length]
  for (let step = d; step >= 0; step -= 1) {
    const reach = trace[step] ?? new Map<number, number>()
    const at = (k: number) => reach.get(k) ?? -1
    const k = x - y
    const from = k === -step || (k !== step && at(k - 1) < at(k + 1)) ? k + 1 : k - 1
    const startX = step === 0 ? 0 : at(from)
    const startY = step === 0 ? 0 : startX - from
    while (x > startX && y > startY && x > 0 && y > 0) {
      x -= 1
      y -= 1
      back.push(['same', a[x] ?? ''])
    }
    if (step === 0) break
    if (from === k + 1) {
      y -= 1
      back.push(['new', b[y] ?? ''])
    } else {
      x -= 1
      back.push(['gone', a[x] ?? ''])
    }
  }
  return back.toReversed()
}

/** The lines that changed with some around them; null stands for lines that are left out. */
export function hunks(lines: readonly DiffLine[], around = 3): (DiffLine | null)[] {
  const near = new Set<number>()
  lines.forEach((line, index) => {
    if (line.kind === 'same') return
    for (let n = index - around; n <= index + around; n += 1) near.add(n)
  })
  const found: (DiffLine | null)[] = []
  lines.forEach((line, index) => {
    if (near.has(index)) found.push(line)
    else if (found.at(-1) !== null) found.push(null)
  })
  return found
}

export type ModelChange = { what: 'added' | 'removed' | 'changed'; task: string; fields: string[] } | { what: 'field'; field: string }

type Model = Record<string, unknown>

/** What changed of a DAG, in words: its tasks, then everything else by its field. */
export function changes(before: unknown, after: unknown): ModelChange[] {
  const [a, b] = [object(before), object(after)]
  const [old, now] = [tasksOf(a), tasksOf(b)]
  const found: ModelChange[] = []
  for (const task of now.keys()) if (!old.has(task)) found.push({ what: 'added', task, fields: [] })
  for (const task of old.keys()) if (!now.has(task)) found.push({ what: 'removed', task, fields: [] })
  for (const [task, model] of now) {
    const was = old.get(task)
    const fields = was === undefined ? [] : different(was, model)
    if (fields.length > 0) found.push({ what: 'changed', task, fields })
  }
  for (const field of different(a, b)) if (field !== 'tasks') found.push({ what: 'field', field })
  return found
}

function object(value: unknown): Model {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Model) : {}
}

function tasksOf(model: Model): Map<string, Model> {
  const tasks = Array.isArray(model['tasks']) ? (model['tasks'] as unknown[]).map(object) : []
  return new Map(tasks.map((task) => [String(task['task_id']), task]))
}

function different(a: Model, b: Model): string[] {
  const fields = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...fields].filter((field) => JSON.stringify(a[field]) !== JSON.stringify(b[field]))
}
