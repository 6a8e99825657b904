// Instants and durations as people read them. Instants of the API are UTC text.

import { useSyncExternalStore } from 'react'
import { clockOffset } from '../api/client'
import { locale } from '../i18n'

/** Now, by the server's clock, in milliseconds. */
export function now(): number {
  return Date.now() + clockOffset()
}

const listeners = new Set<() => void>()
let second = 0
let ticker: ReturnType<typeof setInterval> | undefined

function listen(heard: () => void): () => void {
  listeners.add(heard)
  ticker ??= setInterval(() => {
    if (document.hidden) return
    second += 1
    for (const one of listeners) one()
  }, 1000)
  return () => {
    listeners.delete(heard)
    if (listeners.size === 0 && ticker !== undefined) {
      clearInterval(ticker)
      ticker = undefined
    }
  }
}

/** Renders again each second: one clock for the whole page. */
export function useTick(): void {
  useSyncExternalStore(listen, () => second, () => 0)
}

/** `0.4 s`, `12 s`, `3:12`, `1 h 04`, `2 d 3 h`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return '–'
  const whole = Math.max(0, seconds)
  if (whole < 1) return `${whole.toFixed(1)} s`
  if (whole < 60) return `${Math.floor(whole)} s`
  const two = (n: number) => String(Math.floor(n)).padStart(2, '0')
  if (whole < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)}`
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${two((whole % 3600) / 60)}`
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`
}

const distances = new Map<string, Intl.RelativeTimeFormat>()

/** `in 42 s`, `18 min ago`. */
export function relative(at: number, from: number): string {
  const seconds = Math.round((at - from) / 1000)
  const size = Math.abs(seconds)
  const language = locale()
  const format = distances.get(language) ?? new Intl.RelativeTimeFormat(language, { style: 'short', numeric: 'always' })
  distances.set(language, format)
  if (size < 60) return format.format(seconds, 'second')
  if (size < 3600) return format.format(Math.trunc(seconds / 60), 'minute')
  if (size < 86_400) return format.format(Math.trunc(seconds / 3600), 'hour')
  return format.format(Math.trunc(seconds / 86_400), 'day')
}

export type Zone = 'UTC' | 'local'

// Making a format takes far longer than using one.
const formats = new Map<string, Intl.DateTimeFormat>()

function formatOf(zone: string): Intl.DateTimeFormat {
  const known = formats.get(zone)
  if (known !== undefined) return known
  const made = new Intl.DateTimeFormat('en-CA', {
    timeZone: zone === 'local' ? undefined : zone,
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
    timeZoneName: 'longOffset',
  })
  formats.set(zone, made)
  return made
}

/** `2026-11-22 02:00:00` and the zone's offset. */
export function absolute(at: number, zone: string): string {
  const parts = formatOf(zone).formatToParts(at)
  const part = (type: Intl.DateTimeFormatPartTypes) => parts.find((one) => one.type === type)?.value ?? ''
  const offset = part('timeZoneName').replace('GMT', '')
  const place = offset === '' || offset === '+00:00' ? 'UTC' : offset
  return `${part('year')}-${part('month')}-${part('day')} ${part('hour')}:${part('minute')}:${part('second')} ${place}`
}

/** The offset of a zone at an instant, in minutes. */
export function offsetAt(at: number, zone: string): number {
  const text = absolute(at, zone).split(' ').at(-1) ?? 'UTC'
  const found = /^([+-])(\d\d):(\d\d)$/.exec(text)
  if (!found) return 0
  const [, sign, hours, minutes] = found
  return (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes))
}

export function millis(text: string | null | undefined): number | null {
  if (!text) return null
  const at = Date.parse(text)
  return Number.isNaN(at) ? null : at
}
