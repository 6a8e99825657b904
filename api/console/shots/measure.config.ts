import base from '../playwright.config'

// `npm run measure`: the figures of BENCHMARKS.md. Not a test: nothing fails by a time.
export default { ...base, testDir: '.', testMatch: 'measure.ts', globalSetup: './big.ts', timeout: 600_000 }
