// Every key of the console: one table, which `?` shows.

import type { Key } from '../i18n'

export interface Shortcut {
  keys: string
  says: Key
}

export const shortcuts: { title: Key; keys: Shortcut[] }[] = [
  {
    title: 'keys.everywhere',
    keys: [
      { keys: 'Ctrl+K', says: 'keys.palette' },
      { keys: '?', says: 'keys.help' },
      { keys: 'g h', says: 'keys.home' },
      { keys: 'g d', says: 'keys.dags' },
      { keys: 'g r', says: 'keys.runs' },
      { keys: 'g t', says: 'keys.tasks' },
      { keys: 'g a', says: 'keys.approvals' },
      { keys: 'g c', says: 'keys.capacity' },
      { keys: 'z', says: 'keys.zone' },
      { keys: '.', says: 'keys.exact' },
      { keys: 'y', says: 'keys.copy' },
    ],
  },
  {
    title: 'keys.lists',
    keys: [
      { keys: '/', says: 'keys.filter' },
      { keys: 'j k', says: 'keys.rows' },
      { keys: 'x', says: 'keys.select' },
    ],
  },
  {
    title: 'keys.grid',
    keys: [
      { keys: '← → ↑ ↓', says: 'keys.move' },
      { keys: 'Enter', says: 'keys.open' },
      { keys: 'f', says: 'keys.fold' },
      { keys: 'n N', says: 'keys.failure' },
    ],
  },
  {
    title: 'keys.dag',
    keys: [
      { keys: 't', says: 'keys.trigger' },
      { keys: 'p', says: 'keys.pause' },
      { keys: 'c', says: 'keys.clear' },
      { keys: 'l', says: 'keys.log' },
      { keys: 'w', says: 'keys.why' },
    ],
  },
]

/** Whether keys typed there are text. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  return target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName)
}
