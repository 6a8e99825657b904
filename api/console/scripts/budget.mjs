// Fails if what a browser must load before the first page is larger than it may be.
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'

// Bytes after brotli.
const INITIAL_SCRIPT_MAX = 260_000
const INITIAL_STYLE_MAX = 24_000
const LAZY_MAX = 60_000
// The layout engine is a file of its own, loaded by the graph only.
const LAYOUT_MAX = 380_000

const size = (name) => {
  const packed = `dist/assets/${name}.br`
  return statSync(existsSync(packed) ? packed : `dist/assets/${name}`).size
}
const names = readdirSync('dist/assets').filter((name) => !name.endsWith('.br'))
const page = readFileSync('dist/index.html', 'utf8')
const initial = names.filter((name) => page.includes(name))
const wrong = []
const check = (what, bytes, most) => {
  console.log(`${what.padEnd(40)} ${String(bytes).padStart(8)} of ${most}`)
  if (bytes > most) wrong.push(what)
}
const sum = (end) => initial.filter((name) => name.endsWith(end)).reduce((all, name) => all + size(name), 0)
check('initial script', sum('.js'), INITIAL_SCRIPT_MAX)
check('initial style', sum('.css'), INITIAL_STYLE_MAX)
for (const name of names.filter((one) => one.endsWith('.js') && !initial.includes(one))) {
  check(name, size(name), name.startsWith('elk') ? LAYOUT_MAX : LAZY_MAX)
}
if (/<script(?![^>]*src=)/.test(page)) wrong.push('the page has an inline script')
if (wrong.length > 0) {
  console.error(`over the budget: ${wrong.join(', ')}`)
  process.exit(1)
}
