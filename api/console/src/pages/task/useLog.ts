import { useQueryClient } from '@tanstack/react-query'
import { useEffect, useRef, useState } from 'react'
import { live } from '../../api/live'
import { type TaskRef, logPiece } from '../../api/queries'
import type { LogEvent } from '../../api/types'
import { joined } from './lines'

/** Lines that are read before somebody asks for more. */
const LINES_AT_ONCE = 50_000

export interface Lines {
  lines: LogEvent[]
  state: 'reading' | 'following' | 'paused' | 'over'
  error: unknown
  more: () => void
}


/** The log of a try: what is there, piece by piece, then what is written, as it is written. */
export function useLog(of: TaskRef, attempt: number, running: boolean): Lines {
  const client = useQueryClient()
  const [lines, setLines] = useState<LogEvent[]>([])
  const [state, setState] = useState<Lines['state']>('reading')
  const [error, setError] = useState<unknown>(null)
  const [budget, setBudget] = useState(LINES_AT_ONCE)
  const place = useRef<{ key: string; token: string | null; read: number }>({ key: '', token: null, read: 0 })
  const { tenant, dag, run, task, map } = of
  // Reads a stream from outside of React, and stops when another log is looked at.
  useEffect(() => {
    const key = [tenant, dag, run, task, map, attempt].join('\n')
    if (place.current.key !== key) {
      place.current = { key, token: null, read: 0 }
      setLines([])
    }
    const stop = new AbortController()
    let leave = () => {}
    setState('reading')
    setError(null)
    const read = async () => {
      const ref = { tenant, dag, run, task, map }
      for (;;) {
        const piece = await logPiece(ref, attempt, place.current.token, stop.signal)
        if (stop.signal.aborted) return
        place.current.read += piece.content.length
        if (piece.content.length > 0) setLines((old) => joined(old, piece))
        const { token } = place.current
        place.current.token = piece.continuation_token ?? token
        if (piece.continuation_token === null) {
          setState('over')
          return
        }
        // Nothing new and the try goes on: from here the live stream tells.
        if (piece.content.length === 0) break
        if (place.current.read >= budget) {
          setState('paused')
          return
        }
      }
      if (!running) {
        setState('over')
        return
      }
      setState('following')
      leave = live(client).read({
        of: [dag, run, task, map, attempt].join('/'),
        token: place.current.token,
        hear: (piece) => {
          if (piece === null) {
            setState('over')
            leave()
            return
          }
          place.current.token = piece.continuation_token ?? place.current.token
          setLines((old) => joined(old, piece))
        },
      })
    }
    read().catch((failed: unknown) => {
      if (!stop.signal.aborted) {
        setError(failed)
        setState('over')
      }
    })
    return () => {
      stop.abort()
      leave()
    }
  }, [client, tenant, dag, run, task, map, attempt, running, budget])
  return { lines, state, error, more: () => setBudget((old) => old + LINES_AT_ONCE) }
}
