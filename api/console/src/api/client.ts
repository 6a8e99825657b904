// Requests to the service. Errors are problems with what to do; a session that is over leads to the sign-in.

export class Problem extends Error {
  readonly status: number
  readonly code: string | undefined
  readonly fields: { at: string; detail: string }[]

  constructor(status: number, detail: string, code?: string, fields: { at: string; detail: string }[] = []) {
    super(detail)
    this.name = 'Problem'
    this.status = status
    this.code = code
    this.fields = fields
  }
}

let offset = 0
let measured = false

/** How far the server's clock is ahead of this machine's, in milliseconds. */
export function clockOffset(): number {
  return offset
}

function hear(response: Response, sent: number): void {
  const date = response.headers.get('date')
  if (date === null) return
  // The header has whole seconds: a small difference is none.
  const theirs = Date.parse(date) + 500
  const ours = (sent + Date.now()) / 2
  const found = Math.abs(theirs - ours) < 1500 ? 0 : theirs - ours
  if (!measured || Math.abs(found - offset) > 2000) offset = found
  measured = true
}

type Signed = () => void
let signedOut: Signed = () => {}

/** What to do when a session is over. */
export function onSignedOut(what: Signed): void {
  signedOut = what
}

interface Body {
  detail?: unknown
  code?: string
  errors?: { pointer?: string; parameter?: string; detail?: string }[]
}

function problem(status: number, body: Body): Problem {
  // The compatible API lists what is wrong with a body where ours has `errors`.
  if (Array.isArray(body.detail)) {
    const fields = (body.detail as { loc?: unknown[]; msg?: string }[]).map((one) => ({
      at: (one.loc ?? []).slice(1).join('/'),
      detail: one.msg ?? '',
    }))
    return new Problem(status, fields.map((one) => `${one.at}: ${one.detail}`).join('; '), body.code, fields)
  }
  const fields = (body.errors ?? []).map((one) => ({ at: one.pointer ?? one.parameter ?? '', detail: one.detail ?? '' }))
  const said = typeof body.detail === 'string' ? body.detail : `HTTP ${status}`
  const detail = fields.length > 0 ? fields.map((one) => `${one.at}: ${one.detail}`).join('; ') : said
  return new Problem(status, detail, body.code, fields)
}

export async function call<T>(
  path: string,
  options: { method?: string; body?: unknown; signal?: AbortSignal; anonymous?: boolean } = {},
): Promise<T> {
  const { method = 'GET', body, signal, anonymous = false } = options
  const sent = Date.now()
  const response = await fetch(path, {
    method,
    credentials: 'same-origin',
    ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    ...(signal === undefined ? {} : { signal }),
  })
  hear(response, sent)
  if (response.status === 204) return undefined as T
  const text = await response.text()
  let read: unknown
  try {
    read = text === '' ? undefined : JSON.parse(text)
  } catch {
    throw new Problem(response.status, `the answer is no JSON: ${text.slice(0, 200)}`)
  }
  if (!response.ok) {
    if (response.status === 401 && !anonymous) signedOut()
    throw problem(response.status, (read ?? {}) as Body)
  }
  return read as T
}
