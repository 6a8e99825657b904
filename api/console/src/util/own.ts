/** The address if it is one of ours: a path with one slash at its begin. Anything else would lead to another site. */
export function ownPath(address: string | undefined): string | undefined {
  if (address === undefined || !/^\/(?![/\\])/.test(address) || address.includes('\\')) return undefined
  return address
}
