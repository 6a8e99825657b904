// What somebody prefers. Kept by the browser until the server keeps it for each account.

import { useSyncExternalStore } from 'react'

export interface Preferences {
  zone: string
  exact: boolean
  language: 'en' | 'zh-CN'
  keys: boolean
  runs: number
}

const PLACE = 'updraft-preferences'
const usual: Preferences = { zone: 'local', exact: false, language: 'en', keys: true, runs: 60 }
const listeners = new Set<() => void>()

function read(): Preferences {
  try {
    return { ...usual, ...(JSON.parse(localStorage.getItem(PLACE) ?? '{}') as Partial<Preferences>) }
  } catch {
    return usual
  }
}

let kept = read()

export function preferences(): Preferences {
  return kept
}

export function prefer(change: Partial<Preferences>): void {
  kept = { ...kept, ...change }
  localStorage.setItem(PLACE, JSON.stringify(kept))
  for (const heard of listeners) heard()
}

export function usePreferences(): Preferences {
  return useSyncExternalStore(
    (heard) => {
      listeners.add(heard)
      return () => listeners.delete(heard)
    },
    () => kept,
  )
}
