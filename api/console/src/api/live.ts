// The one stream of a tab: what happens reaches what is on the screen. Nothing is asked for by the clock.

import type { QueryClient } from '@tanstack/react-query'
import { useEffect, useSyncExternalStore } from 'react'
import { paths, query } from '../util/paths'
import { type Grid, patched } from './grid'
import type { ChangedRun, Items, LogPiece, QuotaView } from './types'

/** How long a hidden tab keeps its stream, in milliseconds. */
const HIDDEN_FOR = 30_000
/** The least time between two questions about the same summary, in milliseconds. */
const SUMMARY_EVERY = 1_000
const WAIT_MIN = 500
const WAIT_MAX = 15_000

export type Health = { state: 'off' | 'live' } | { state: 'broken'; since: number }

interface Follow {
  of: string
  token: string | null
  hear(piece: LogPiece | null): void
}

export class Live {
  private source: EventSource | undefined
  private last: string | undefined
  private tenant: string | undefined
  private readonly dags = new Map<string, number>()
  private follow: Follow | undefined
  private quotas: 'own' | 'all' | undefined
  private wait = WAIT_MIN
  private retry: ReturnType<typeof setTimeout> | undefined
  private hidden: ReturnType<typeof setTimeout> | undefined
  private frame = 0
  private waiting: ChangedRun[] = []
  private summary: ReturnType<typeof setTimeout> | undefined
  private summarised = 0
  private health: Health = { state: 'off' }
  private readonly listeners = new Set<() => void>()

  constructor(private readonly client: QueryClient) {
    document.addEventListener('visibilitychange', () => this.seen())
  }

  /** The tenant whose events are heard; none when nobody is signed in. */
  of(tenant: string | undefined): void {
    if (tenant === this.tenant) return
    this.tenant = tenant
    this.last = undefined
    this.connect()
  }

  /** Also hears the cells of a DAG, until what it returns is called. */
  watch(dag: string): () => void {
    this.dags.set(dag, (this.dags.get(dag) ?? 0) + 1)
    if (this.dags.get(dag) === 1) this.connect()
    return () => {
      const left = (this.dags.get(dag) ?? 1) - 1
      if (left > 0) this.dags.set(dag, left)
      // The stream is left as it is: what comes for nothing costs less than a new connection.
      else this.dags.delete(dag)
    }
  }

  /** Follows a log from a token on, until what it returns is called. */
  read(follow: Follow): () => void {
    this.follow = follow
    this.connect()
    return () => {
      if (this.follow !== follow) return
      this.follow = undefined
      this.connect()
    }
  }

  /** Also hears how quotas are used, of the tenant or of everybody, until what it returns is called. */
  measure(whose: 'own' | 'all'): () => void {
    this.quotas = whose
    this.connect()
    return () => {
      this.quotas = undefined
      this.connect()
    }
  }

  subscribe = (heard: () => void): (() => void) => {
    this.listeners.add(heard)
    return () => this.listeners.delete(heard)
  }

  now = (): Health => this.health

  private say(health: Health): void {
    if (health.state === this.health.state) return
    this.health = health
    for (const heard of this.listeners) heard()
  }

  private seen(): void {
    clearTimeout(this.hidden)
    if (document.hidden) {
      this.hidden = setTimeout(() => this.close(), HIDDEN_FOR)
    } else if (this.source === undefined) {
      this.connect()
    }
  }

  private close(): void {
    this.source?.close()
    this.source = undefined
    clearTimeout(this.retry)
    this.say({ state: 'off' })
  }

  private connect(): void {
    this.source?.close()
    this.source = undefined
    clearTimeout(this.retry)
    if (this.tenant === undefined) {
      this.say({ state: 'off' })
      return
    }
    // Several changes of what is watched in one turn are one connection.
    this.retry = setTimeout(() => this.open(), 0)
  }

  private open(): void {
    if (this.tenant === undefined) return
    const { follow, quotas } = this
    const address = paths.of(this.tenant).events + query({
      dag: [...this.dags.keys()].slice(-20),
      log: follow?.of,
      from: follow?.token,
      after: this.last,
      quotas,
    })
    const source = new EventSource(address)
    this.source = source
    const on = (name: string, hear: (data: unknown) => void) =>
      source.addEventListener(name, (event) => {
        const { data, lastEventId } = event as MessageEvent<string>
        if (lastEventId !== '') this.last = lastEventId
        hear(JSON.parse(data))
      })
    on('hello', () => this.well())
    on('resync', () => {
      this.well()
      void this.client.invalidateQueries()
    })
    on('change', (data) => this.changed((data as { runs: ChangedRun[] }).runs))
    on('quotas', (data) => this.client.setQueryData(['quotas', quotas === 'all' ? '*' : this.tenant], data as Items<QuotaView>))
    on('log', (data) => {
      const piece = data as LogPiece
      if (follow !== undefined) follow.token = piece.continuation_token
      follow?.hear(piece)
    })
    on('log_end', () => follow?.hear(null))
    on('end', (data) => {
      this.close()
      if ((data as { reason: string }).reason === 'broken') this.again()
      else void this.client.invalidateQueries()
    })
    source.addEventListener('error', () => {
      source.close()
      if (this.source === source) this.again()
    })
  }

  private well(): void {
    this.wait = WAIT_MIN
    this.say({ state: 'live' })
  }

  /** Connects again, later each time, and not together with everybody else. */
  private again(): void {
    this.source = undefined
    this.say({ state: 'broken', since: Date.now() })
    clearTimeout(this.retry)
    this.retry = setTimeout(() => this.open(), this.wait * (0.5 + Math.random() / 2))
    this.wait = Math.min(this.wait * 2, WAIT_MAX)
    // A stream doesn't say that the session is over; an ordinary question does, and leads to the sign-in.
    if (this.wait > 4 * WAIT_MIN) void this.client.invalidateQueries({ queryKey: ['me'] })
  }

  private changed(runs: ChangedRun[]): void {
    this.waiting.push(...runs)
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.apply())
  }

  private apply(): void {
    this.frame = 0
    const runs = this.waiting
    this.waiting = []
    const { client, tenant } = this
    if (tenant === undefined) return
    for (const change of runs) {
      const { dag_id: dag, run } = change
      for (const cached of client.getQueryCache().findAll({ queryKey: ['grid', tenant, dag] })) {
        const asked = cached.queryKey[3] as { runs?: number; run?: string }
        if (asked.run !== undefined && asked.run !== run.id) continue
        client.setQueryData<Grid>(cached.queryKey, (grid) => grid && patched(grid, change, asked.runs ?? 1))
      }
      for (const key of ['run', 'task', 'tries', 'instances', 'waiting', 'results']) {
        void client.invalidateQueries({ queryKey: [key, tenant, dag, run.id] })
      }
    }
    this.summarise()
  }

  /** Summaries are asked for again, once a second at most, and only if they are on the screen. */
  private summarise(): void {
    if (this.summary !== undefined) return
    const due = Math.max(0, this.summarised + SUMMARY_EVERY - Date.now())
    this.summary = setTimeout(() => {
      this.summary = undefined
      this.summarised = Date.now()
      for (const key of ['home', 'dags', 'runs', 'open-tasks', 'backfills', 'pools', 'questions', 'dag', 'assets', 'history']) {
        void this.client.invalidateQueries({ queryKey: [key, this.tenant] })
      }
    }, due)
  }
}

let one: Live | undefined

export function live(client: QueryClient): Live {
  one ??= new Live(client)
  return one
}

export function useHealth(of: Live): Health {
  return useSyncExternalStore(of.subscribe, of.now)
}

/** Hears the cells of a DAG while the component is there. */
export function useWatched(of: Live, dag: string): void {
  // A subscription to something outside of React.
  useEffect(() => of.watch(dag), [of, dag])
}

/** Hears how quotas are used while the component is there. */
export function useMeasured(of: Live, whose: 'own' | 'all'): void {
  // A subscription to something outside of React.
  useEffect(() => of.measure(whose), [of, whose])
}
