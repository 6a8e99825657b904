/** What is given by a key of each, in the order of the first of each key. */
export function grouped<T>(all: readonly T[], key: (one: T) => string): Map<string, T[]> {
  const found = new Map<string, T[]>()
  for (const one of all) {
    const known = found.get(key(one))
    if (known === undefined) found.set(key(one), [one])
    else known.push(one)
  }
  return found
}
