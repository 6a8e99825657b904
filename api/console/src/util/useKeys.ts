import { useEffect, useRef } from 'react'
import { isTyping } from './keys'
import { preferences } from './preferences'

const CHORD = 1000
let first: { key: string; at: number } | undefined

/** Hears single keys and two in a row (`g h`), but while somebody types or a dialog is open. */
export function useKeys(keys: Record<string, (event: KeyboardEvent) => void>): void {
  const known = useRef(keys)
  // What is heard is what the last render said.
  useEffect(() => {
    known.current = keys
  })
  // A listener of the document.
  useEffect(() => {
    const hear = (event: KeyboardEvent) => {
      if (!preferences().keys || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return
      if (document.querySelector('[role=dialog]') !== null) return
      const chord = first !== undefined && Date.now() - first.at < CHORD ? `${first.key} ${event.key}` : undefined
      const found = (chord === undefined ? undefined : known.current[chord]) ?? known.current[event.key]
      if (found !== undefined && (chord === undefined || known.current[chord] !== undefined)) {
        event.preventDefault()
        found(event)
      }
    }
    document.addEventListener('keydown', hear)
    return () => document.removeEventListener('keydown', hear)
  }, [])
}

/** Remembers the first key of two; heard once for the whole console. */
export function hearChords(): void {
  document.addEventListener('keydown', (event) => {
    if (isTyping(event.target)) return
    // After everybody has heard this key.
    setTimeout(() => {
      first = { key: event.key, at: Date.now() }
    }, 0)
  })
}
