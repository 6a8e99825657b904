// States, their families, colours, shapes and icons: the one place that decides how a state looks.
//
// Colour tells the family only; fill and icon tell the state, and its name is always there as text.

export type Family = 'good' | 'active' | 'bad' | 'waiting' | 'human' | 'inert'

export type TaskState =
  | 'none'
  | 'scheduled'
  | 'queued'
  | 'running'
  | 'restarting'
  | 'up_for_retry'
  | 'up_for_reschedule'
  | 'deferred'
  | 'awaiting_input'
  | 'success'
  | 'failed'
  | 'skipped'
  | 'upstream_failed'
  | 'removed'

export type RunState = 'queued' | 'running' | 'success' | 'failed'

export type Fill = 'solid' | 'striped' | 'outline' | 'dotted' | 'half' | 'dashed'

export interface Look {
  family: Family
  fill: Fill
  icon: IconName
}

export interface Colours {
  fill: string
  ink: string
  tint: string
}

export const surface = { light: '#FFFFFF', dark: '#1A1B1E' } as const
export const glyph = { light: '#FFFFFF', dark: '#101113' } as const
export const accent = { light: '#1448D1', dark: '#7FA7FA' } as const

export const families: Record<Family, { light: Colours; dark: Colours }> = {
  good: {
    light: { fill: '#0B9B77', ink: '#077456', tint: '#E7F5F1' },
    dark: { fill: '#3DD39A', ink: '#3DD39A', tint: '#203832' },
  },
  active: {
    light: { fill: '#1448D1', ink: '#1448D1', tint: '#E8EDFA' },
    dark: { fill: '#5B8DF6', ink: '#7FA7FA', tint: '#242D41' },
  },
  bad: {
    light: { fill: '#A50E26', ink: '#A50E26', tint: '#F6E7E9' },
    dark: { fill: '#FF4D57', ink: '#FF7A81', tint: '#3F2327' },
  },
  waiting: {
    light: { fill: '#B87A00', ink: '#7F5300', tint: '#F8F2E6' },
    dark: { fill: '#FDAA3A', ink: '#FDAA3A', tint: '#3E3222' },
  },
  human: {
    light: { fill: '#A864D6', ink: '#7E37B4', tint: '#F6F0FB' },
    dark: { fill: '#DD93F7', ink: '#DD93F7', tint: '#392E41' },
  },
  inert: {
    light: { fill: '#5F6772', ink: '#555C66', tint: '#EFF0F1' },
    dark: { fill: '#D0D6DF', ink: '#C3CAD4', tint: '#37393D' },
  },
}

export const looks: Record<TaskState, Look> = {
  none: { family: 'inert', fill: 'outline', icon: 'blank' },
  scheduled: { family: 'waiting', fill: 'outline', icon: 'clock' },
  queued: { family: 'waiting', fill: 'solid', icon: 'hourglass' },
  running: { family: 'active', fill: 'solid', icon: 'play' },
  restarting: { family: 'active', fill: 'striped', icon: 'again' },
  up_for_retry: { family: 'waiting', fill: 'striped', icon: 'retry' },
  up_for_reschedule: { family: 'waiting', fill: 'dotted', icon: 'calendar' },
  deferred: { family: 'waiting', fill: 'half', icon: 'moon' },
  awaiting_input: { family: 'human', fill: 'solid', icon: 'hand' },
  success: { family: 'good', fill: 'solid', icon: 'check' },
  failed: { family: 'bad', fill: 'solid', icon: 'cross' },
  skipped: { family: 'inert', fill: 'outline', icon: 'skip' },
  upstream_failed: { family: 'bad', fill: 'outline', icon: 'crossArrow' },
  removed: { family: 'inert', fill: 'dashed', icon: 'minus' },
}

/** Outlines of a 16 by 16 square; strokes of 1.75 with round ends, `!` before a path that is filled. */
export const icons = {
  blank: '',
  again: 'M13 5V2.5M13 5h-2.5M13 5A6 6 0 1 0 14 8.5',
  alert: 'M8 2.5 14.5 13.5h-13zM8 6.5v3M8 11.6v.1',
  arrow: 'M3 8h10M9.5 4.5 13 8l-3.5 3.5',
  calendar: 'M3 4h10v9H3zM3 7h10M6 2.5V5M10 2.5V5',
  check: 'M3.5 8.5 6.5 11.5 12.5 5',
  chevron: 'M6 4l4 4-4 4',
  clock: 'M8 2.5a5.5 5.5 0 1 0 .01 0zM8 5v3.2l2.2 1.4',
  code: 'M5.5 5 2.5 8l3 3M10.5 5l3 3-3 3',
  copy: 'M6 6h7v7H6zM10 6V3H3v7h3',
  cross: 'M4.5 4.5l7 7M11.5 4.5l-7 7',
  crossArrow: 'M3 5.5l4.5 4.5M7.5 5.5 3 10M9.5 8H14M12 6l2 2-2 2',
  dags: 'M3 3.5h3v3H3zM10 9.5h3v3h-3zM3 9.5h3v3H3zM6 5h2.5v6H10M6 11h2.5',
  dot: '!M8 5a3 3 0 1 0 .01 0z',
  down: 'M8 3v9M4.5 8.5 8 12l3.5-3.5',
  gauge: 'M2.5 11.5a5.5 5.5 0 1 1 11 0M8 11l2.5-4',
  globe: 'M8 2.5a5.5 5.5 0 1 0 .01 0zM2.5 8h11M8 2.5c-3.5 3.5-3.5 7.5 0 11 3.5-3.5 3.5-7.5 0-11',
  hand: 'M5 8V4.5a1 1 0 0 1 2 0V7M7 7V3.3a1 1 0 0 1 2 0V7M9 7V4.3a1 1 0 0 1 2 0V9M5 8 4 7.2c-1-.8-2 .3-1.2 1.2l2.4 3.4c1 1.3 2 1.9 3.4 1.9 1.6 0 2.6-1.2 2.4-3.2V9',
  home: 'M2.5 8 8 3l5.5 5M4 7v6h8V7',
  hourglass: 'M4.5 2.5h7M4.5 13.5h7M5.5 2.5v2.2L8 8l-2.5 3.3v2.2M10.5 2.5v2.2L8 8l2.5 3.3v2.2',
  key: 'M5.5 8a2.5 2.5 0 1 0 .01 0zM7.5 8.7 13 3.2M11 5.2l1.8 1.8',
  layers: 'M8 2.5 14 6 8 9.5 2 6zM2 9.5 8 13l6-3.5',
  list: 'M3 4.5h10M3 8h10M3 11.5h10',
  log: 'M4 2.5h8v11H4zM6 5.5h4M6 8h4M6 10.5h2.5',
  menu: 'M2.5 4.5h11M2.5 8h11M2.5 11.5h11',
  minus: 'M4 8h8',
  moon: 'M12.5 9.5A5 5 0 0 1 6.5 3.5a5 5 0 1 0 6 6z',
  more: '!M3 8a1.2 1.2 0 1 0 .01 0zM7 8a1.2 1.2 0 1 0 .01 0zM11 8a1.2 1.2 0 1 0 .01 0z',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  play: '!M5 3.2v9.6L13 8z',
  plug: 'M6 2.5v3M10 2.5v3M4.5 5.5h7V8a3.5 3.5 0 0 1-7 0zM8 11.5v2',
  plus: 'M8 3v10M3 8h10',
  retry: 'M3 6.5h7.5a2.5 2.5 0 0 1 0 5H6M5.5 4 3 6.5 5.5 9',
  search: 'M7 2.5a4.5 4.5 0 1 0 .01 0zM10.3 10.3l3.2 3.2',
  settings: 'M8 5.7a2.3 2.3 0 1 0 .01 0zM8 2v2M8 12v2M2 8h2M12 8h2M3.8 3.8l1.4 1.4M10.8 10.8l1.4 1.4M3.8 12.2l1.4-1.4M10.8 5.2l1.4-1.4',
  skip: 'M3.5 4l4 4-4 4M8.5 4l4 4-4 4',
  sun: 'M8 5.2a2.8 2.8 0 1 0 .01 0zM8 1.5v1.7M8 12.8v1.7M1.5 8h1.7M12.8 8h1.7M3.4 3.4l1.2 1.2M11.4 11.4l1.2 1.2M3.4 12.6l1.2-1.2M11.4 4.6l1.2-1.2',
  user: 'M8 3a2.5 2.5 0 1 0 .01 0zM3 13.5c.5-3 2.5-4 5-4s4.500 1 5 4',
} as const

export type IconName = keyof typeof icons

export const taskStates = Object.keys(looks) as TaskState[]

export const families_of_work: Family[] = ['good', 'active', 'bad', 'waiting', 'human']

/** The icon as a mask for CSS, from the same outlines. */
export function mask(name: IconName): string {
  const outline = icons[name]
  const path = outline.startsWith('!')
    ? `<path d='${outline.slice(1)}'/>`
    : `<path d='${outline}' fill='none' stroke='black' stroke-width='2' stroke-linecap='round' stroke-linejoin='round'/>`
  const svg = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>${path}</svg>`
  return `url("data:image/svg+xml,${encodeURIComponent(svg)}")`
}
