import base from '../playwright.config'

// `npm run screenshots`: every page as somebody sees it, into docs/screenshots. Look at them before you commit them.
export default { ...base, testDir: '.', testMatch: 'screenshots.ts', globalSetup: '../e2e/service.ts' }
