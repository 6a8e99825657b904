import { expect, test } from 'vitest'
import type { LogEvent } from '../../api/types'
import { joined } from './lines'

const line = (event: string, stream: LogEvent['stream'] = 'stdout', continues = false): LogEvent => ({ event, stream, continues })

test('parts of a long line become one, also over the border of two pieces', () => {
  const first = joined([], { content: [line('a'), line('lo', 'stdout', true)], continuation_token: '1.2' })
  const whole = joined(first, { content: [line('ng', 'stdout', true), line('!', 'stdout'), line('e', 'stderr')], continuation_token: null })
  expect(whole.map((one) => one.event)).toEqual(['a', 'long!', 'e'])
  expect(first.map((one) => one.event)).toEqual(['a', 'lo'])
})

test('a part of another stream is a line of its own', () => {
  const all = joined([line('out', 'stdout', true)], { content: [line('err', 'stderr')], continuation_token: null })
  expect(all.map((one) => one.event)).toEqual(['out', 'err'])
})
