// Puts a brotli-compressed copy beside every file that gets smaller by it.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { brotliCompressSync, constants } from 'node:zlib'

rmSync('dist/manifest.json', { force: true })
for (const name of readdirSync('dist/assets')) {
  if (name.endsWith('.br')) continue
  const bytes = readFileSync(`dist/assets/${name}`)
  const packed = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } })
  if (packed.length < bytes.length) writeFileSync(`dist/assets/${name}.br`, packed)
}
