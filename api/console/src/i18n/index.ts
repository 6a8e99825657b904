// Texts by key, with values and plurals. English is in the first chunk; other languages are loaded when they are chosen.
//
// A text has `{name}` for a value and `{n, plural, one {# run} other {# runs}}` for a number.

import { useSyncExternalStore } from 'react'
import en from './en.json'

export type Key = keyof typeof en
export type Language = 'en' | 'zh-CN'
type Catalogue = Record<string, string>

export const languages: Record<Language, string> = { en: 'English', 'zh-CN': '简体中文' }

let language: Language = 'en'
let texts: Catalogue = en
const listeners = new Set<() => void>()

export function locale(): string {
  return language
}

export async function speak(wanted: Language): Promise<void> {
  texts = wanted === 'en' ? en : ((await import('./zh-CN.json')).default as Catalogue)
  language = wanted
  document.documentElement.lang = wanted
  for (const heard of listeners) heard()
}

/** Renders again when the language changes. */
export function useLanguage(): Language {
  return useSyncExternalStore(
    (heard) => {
      listeners.add(heard)
      return () => listeners.delete(heard)
    },
    () => language,
  )
}

export type Values = Record<string, string | number | null | undefined>

const plural = /\{(\w+), plural,((?:\s*(?:=\d+|\w+)\s*\{[^{}]*\})+)\s*\}/g
const form = /(=\d+|\w+)\s*\{([^{}]*)\}/g

export function fill(text: string, values: Values, inLocale: string): string {
  const counted = text.replace(plural, (_, name: string, forms: string) => {
    const n = Number(values[name])
    const rule = new Intl.PluralRules(inLocale).select(n)
    const all = new Map([...forms.matchAll(form)].map((found) => [found[1] ?? '', found[2] ?? '']))
    const chosen = all.get(`=${n}`) ?? all.get(rule) ?? all.get('other') ?? ''
    return chosen.replaceAll('#', new Intl.NumberFormat(inLocale).format(n))
  })
  return counted.replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? '–'))
}

export function t(key: Key, values: Values = {}): string {
  return fill(texts[key] ?? en[key], values, language)
}
