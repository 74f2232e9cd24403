/**
 * Where a request comes from, for request limits, stream limits, pacing and diagnostics. Owns the address and the key
 * under which it is counted.
 */
import { isIP, isIPv4 } from 'node:net'
import ipaddr from 'ipaddr.js'

/** The properties of Express's or Node's request that are read here. */
interface AddressedRequest {
  readonly ip?: unknown
  readonly socket?: { readonly remoteAddress?: string | undefined; readonly destroyed?: boolean } | null
}

/**
 * The address of a request's client: `req.ip` under Express, which knows the trusted proxies, otherwise the address of
 * the connection.
 * @returns `undefined` if the connection is closed, or if the server listens on a Unix socket and trusts no proxy. The
 * latter emits a process warning once.
 */
export function addressOf(req: object): string | undefined {
  const address = knownAddressOf(req)
  if (address === undefined && (req as AddressedRequest).socket?.destroyed === false) warnOnce()
  return address
}

/** Like `addressOf`, where nothing is counted by the address: without the warning. */
export function knownAddressOf(req: object): string | undefined {
  const { ip, socket } = req as AddressedRequest
  return typeof ip === 'string' && ip !== '' ? ip : socket?.remoteAddress
}

let warned = false

function warnOnce(): void {
  if (warned) return
  warned = true
  process.emitWarning(
    'Requests have no address (does the server listen on a Unix socket?). All of them count as one address in ' +
      "request limits, stream limits and pacing. Set Express's 'trust proxy' setting, so that X-Forwarded-For is used.",
    { code: 'SSE_NO_ADDRESS' },
  )
}

/** How Node writes the address of an IPv4 client of a server that listens on IPv6 (RFC 4291, 2.5.5.2). */
const MAPPED = '::ffff:'

/** The key of requests without an address, and of every text that is not an address. */
const UNKNOWN = 'unknown'

/**
 * The key under which an address is counted. An IPv4 address is its own key, also if it is embedded in an IPv6 address.
 * The key of an IPv6 address is its first 56 bits, because a customer can use at least all addresses of a /56 (RFC
 * 6177). Ports, brackets, quotes and zones, as some proxies write them into X-Forwarded-For, are ignored.
 */
export function addressKey(text: string | undefined): string {
  if (text === undefined) return UNKNOWN
  // Most addresses are in one of these two forms of Node. Parsing them is measurable (bench `join`).
  const plain = text.startsWith(MAPPED) ? text.slice(MAPPED.length) : text
  if (isIPv4(plain)) return plain
  const address = addressIn(text)
  if (address === undefined) return UNKNOWN
  const parsed = ipaddr.parse(address)
  if (parsed instanceof ipaddr.IPv4) return parsed.toString()
  if (embedsIPv4(parsed, address)) return new ipaddr.IPv4(parsed.toByteArray().slice(12)).toString()
  const [first = 0, second = 0, third = 0, fourth = 0] = parsed.parts
  return `${[first, second, third, fourth & 0xff00].map((part) => part.toString(16)).join(':')}::/56`
}

/** The address in what a proxy wrote: `203.0.113.7:50001`, `[2001:db8::1]:443`, `"[2001:db8::1]"`, `fe80::1%eth0`. */
function addressIn(text: string): string | undefined {
  const bare = text.trim().replace(/^"(.*)"$/, '$1')
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(bare)?.[1]
  const candidates = bracketed === undefined ? [bare, bare.replace(/:\d{1,5}$/, '')] : [bracketed]
  // `isIP` is strict. `ipaddr.parse` also accepts `10.1` and `0x7f000001`.
  return candidates.map((candidate) => candidate.replace(/%.*$/s, '')).find((candidate) => isIP(candidate) !== 0)
}

const NAT64 = ipaddr.IPv6.parseCIDR('64:ff9b::/96')

/**
 * Whether the last 32 bits are an IPv4 address: `::ffff:192.0.2.1` (RFC 4291, 2.5.5.2), the older `::192.0.2.1`
 * (2.5.5.1), and the `64:ff9b::192.0.2.1` of NAT64 (RFC 6052, 2.1).
 */
function embedsIPv4(parsed: ipaddr.IPv6, address: string): boolean {
  const isCompatible = address.includes('.') && parsed.parts.slice(0, 6).every((part) => part === 0)
  return parsed.isIPv4MappedAddress() || parsed.match(NAT64) || isCompatible
}
