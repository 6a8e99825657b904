import { locale } from '../i18n'

/** 1,234 up to 99,999, then 123 k. */
export function count(n: number | null | undefined): string {
  if (n === null || n === undefined) return '–'
  if (n < 100_000) return new Intl.NumberFormat(locale()).format(n)
  return `${new Intl.NumberFormat(locale()).format(Math.floor(n / 1000))} k`
}

/** `orders…_final_v2`: both ends of a long name tell more than its begin. */
export function middle(text: string, most: number): string {
  if (text.length <= most) return text
  const tail = Math.floor((most - 1) / 2)
  return `${text.slice(0, most - 1 - tail)}…${text.slice(text.length - tail)}`
}
