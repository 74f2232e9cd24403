/**
 * The key under which an address counts. IPv4 as it is, also where it comes mapped into IPv6 (RFC 4291, 2.5.5.2); IPv6 by
 * its first 56 bits, because a customer has at least as many addresses to change between (RFC 6177).
 */
export function ipKey(address: string): string {
  const bare = (address.split('%')[0] ?? '').toLowerCase()
  const mapped = /^(?:0*:)*:?(?:ffff:)?(\d+\.\d+\.\d+\.\d+)$/.exec(bare)?.[1]
  if (mapped !== undefined || !bare.includes(':')) return mapped ?? bare
  const groups = expand(bare)
  // ::ffff:c000:0201 is the mapped 192.0.2.1 in hexadecimal.
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    const [high = 0, low = 0] = groups.slice(6)
    return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.')
  }
  const [first = 0, second = 0, third = 0, fourth = 0] = groups
  return `${[first, second, third, fourth & 0xff00].map((group) => group.toString(16)).join(':')}::/56`
}

/** The eight groups of an address with or without `::`. */
function expand(address: string): readonly number[] {
  const [head = '', tail] = address.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? [] : Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0')
  return [...before, ...zeros, ...after].map((group) => Number.parseInt(group, 16))
}
