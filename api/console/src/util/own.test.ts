import { expect, test } from 'vitest'
import { ownPath } from './own'

test('only own paths are gone to after signing in', () => {
  expect(ownPath('/t/default/dags?name=x')).toBe('/t/default/dags?name=x')
  for (const address of ['//evil.example', '/\\evil.example', 'https://evil.example', 'javascript:alert(1)', '', undefined]) {
    expect(ownPath(address)).toBeUndefined()
  }
})
