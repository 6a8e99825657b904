import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from '@playwright/test'

const chromium = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path))

// One real service for all tests: they run one after the other, and each makes what it needs.
export default defineConfig({
  testDir: 'e2e',
  fullyParallel: false,
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: [['list']],
  outputDir: join(import.meta.dirname, '../../target/console/e2e'),
  globalSetup: './e2e/service.ts',
  use: {
    launchOptions: {
      ...(chromium === undefined ? {} : { executablePath: chromium }),
      // A container has no user namespaces for Chromium's own sandbox, and little shared memory.
      args: ['--no-sandbox', '--disable-dev-shm-usage'],
    },
    viewport: { width: 1440, height: 900 },
    trace: 'retain-on-failure',
    reducedMotion: 'reduce',
  },
})
