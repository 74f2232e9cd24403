import { isIP } from 'node:net'

/** The key of everything that is no address, and of requests without one. */
const UNKNOWN = 'unknown'

/**
 * The key under which an address counts. IPv4 as it is, also where it comes mapped into IPv6 (RFC 4291, 2.5.5.2); IPv6 by its first 56
 * bits, because a customer has at least as many addresses to change between (RFC 6177). Ports, brackets and zones, as some
 * proxies write them into X-Forwarded-For, are not part of it. Everything else has one key.
 */
export function ipKey(text: string | undefined): string {
  const address = text === undefined ? undefined : addressIn(text)
  if (address === undefined) return UNKNOWN
  if (isIP(address) === 4) return address
  const groups = expand(address)
  if (isMapped(groups, address)) {
    const [high = 0, low = 0] = groups.slice(6)
    return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.')
  }
  const [first = 0, second = 0, third = 0, fourth = 0] = groups
  return `${[first, second, third, fourth & 0xff00].map((group) => group.toString(16)).join(':')}::/56`
}

/** The address in what a proxy wrote: `203.0.113.7:50001`, `[2001:db8::1]:443`, `"[2001:db8::1]"`, `fe80::1%eth0`. */
function addressIn(text: string): string | undefined {
  const bare = text.trim().replace(/^"(.*)"$/, '$1')
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(bare)?.[1]
  const candidates = bracketed === undefined ? [bare, bare.replace(/:\d{1,5}$/, '')] : [bracketed]
  return candidates.map((candidate) => candidate.replace(/%.*$/s, '')).find((candidate) => isIP(candidate) !== 0)
}

/** `::ffff:192.0.2.1`; `::192.0.2.1`, which is older; `64:ff9b::192.0.2.1`, as NAT64 writes it (RFC 6052, 2.1). */
function isMapped(groups: readonly number[], address: string): boolean {
  const [first, second, ...rest] = groups.slice(0, 6)
  if (first === 0x64 && second === 0xff9b) return rest.every((group) => group === 0)
  return groups.slice(0, 5).every((group) => group === 0) && (groups[5] === 0xffff || address.includes('.'))
}

/** The eight groups of an IPv6 address. */
function expand(address: string): readonly number[] {
  const [head = '', tail] = address.split('::')
  const before = groupsOf(head)
  const after = groupsOf(tail ?? '')
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length)
  return [...before, ...Array<number>(zeros).fill(0), ...after]
}

/** An IPv4 address at the end stands for two groups. */
function groupsOf(part: string): readonly number[] {
  if (part === '') return []
  return part.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)]
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number)
    return [(a << 8) | b, (c << 8) | d]
  })
}
