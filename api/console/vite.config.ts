import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

const service = process.env['UPDRAFT_URL'] ?? 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: 'dist',
    // The folder is tracked, what is in it isn't: `scripts/clean.mjs` empties it.
    emptyOutDir: false,
    target: 'es2023',
    // What is inlined can't be kept by a browser, and a polyfill would be an inline script.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1600,
    manifest: 'manifest.json',
    rolldownOptions: {
      output: {
        // What every page needs is one file; the graph's library stays with the graph.
        codeSplitting: { groups: [{ name: 'base', test: /node_modules[\\/](?!@xyflow|elkjs|d3-|classcat|zustand)/ }] },
      },
    },
  },
  worker: { format: 'es' },
  server: { proxy: { '/api': service, '/auth': service, '^/t/[^/]+/api': service } },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
})
