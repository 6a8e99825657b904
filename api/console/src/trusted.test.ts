import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { policy } from './trusted'

beforeAll(() => vi.stubGlobal('location', { href: 'https://updraft.example/t/x', origin: 'https://updraft.example' }))
afterAll(() => vi.unstubAllGlobals())

test('styles pass, tags do not', () => {
  expect(policy.createHTML('.a{color:red}')).toBe('.a{color:red}')
  expect(() => policy.createHTML('<img src=x onerror=alert(1)>')).toThrow(TypeError)
})

test('only own files are scripts', () => {
  expect(policy.createScriptURL('/assets/elk-1.js')).toBe('/assets/elk-1.js')
  expect(policy.createScriptURL('https://updraft.example/assets/a.js')).toContain('/assets/a.js')
  for (const address of ['https://other.example/assets/a.js', '/api/v2/x.js', 'data:text/javascript,1', 'blob:x']) {
    expect(() => policy.createScriptURL(address)).toThrow(TypeError)
  }
})
