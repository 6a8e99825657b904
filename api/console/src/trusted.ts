// The one policy of Trusted Types. Mantine sets the text of its `<style>` elements as HTML; text without a tag is all that
// passes, and scripts are loaded from our own files only.

interface Policy {
  createHTML(text: string): string
  createScriptURL(address: string): string
}

interface Factory {
  createPolicy(name: string, policy: Policy): unknown
}

export const policy: Policy = {
  createHTML(text) {
    if (text.includes('<')) throw new TypeError('HTML with tags is never set as text')
    return text
  },
  createScriptURL(address) {
    const own = new URL(address, globalThis.location.href)
    if (own.origin !== globalThis.location.origin || !own.pathname.startsWith('/assets/')) {
      throw new TypeError('scripts come from our own files only')
    }
    return address
  },
}

export function trust(): void {
  const factory = (globalThis as { trustedTypes?: Factory }).trustedTypes
  factory?.createPolicy('default', policy)
}
