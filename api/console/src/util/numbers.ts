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

/** `2.5`, `16 GiB`, `4`: what a quota counts, in the unit that people read. */
export function amount(n: number, unit: 'cpu' | 'bytes' | 'plain'): string {
  const written = (value: number, digits: number) => new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value)
  if (unit === 'cpu') return written(n / 1000, 2)
  if (unit === 'plain') return count(n)
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = n < 1 ? 0 : Math.min(names.length - 1, Math.floor(Math.log2(n) / 10))
  return `${written(n / 2 ** (10 * power), 1)} ${names[power]}`
}
