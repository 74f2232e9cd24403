import { RequestError } from '../../core/errors.js'
import { ipKey } from '../ip-key.js'
import type { Paced } from '../pacing.js'
import type { ResolvedStreamLimits } from './options.js'

/** By what a stream is known: `{ auth, ip }`. */
export type StreamOwner = Pick<Paced, 'auth' | 'ip'>

/** What is counted: open streams of a user, a tenant, an address, the process; or how often a user or address opens one. */
export type StreamScope = 'user' | 'tenant' | 'ip' | 'process' | 'opens'

/** Where a stream takes up room. */
export interface Place {
  readonly scope: StreamScope
  /** Names whose it is, in Redis and in this process. */
  readonly key: string
  readonly cap: number
}

/** The places an owner's streams take. The user's comes first. */
export function placesOf({ auth, ip }: StreamOwner, limits: ResolvedStreamLimits): readonly Place[] {
  const { perUser, perTenant, perIp } = limits
  const places: Place[] = []
  if (auth !== undefined && perUser > 0) {
    places.push({ scope: 'user', key: keyOf(limits, 'user', auth.tenant, auth.user), cap: perUser })
  }
  if (auth !== undefined && perTenant > 0) {
    places.push({ scope: 'tenant', key: keyOf(limits, 'tenant', auth.tenant), cap: perTenant })
  }
  if (ip !== undefined && perIp > 0) places.push({ scope: 'ip', key: keyOf(limits, 'ip', ipKey(ip)), cap: perIp })
  return places
}

/** Under what an owner's openings are counted, if they are. */
export function opensOf({ auth, ip }: StreamOwner, limits: ResolvedStreamLimits): Place | undefined {
  const cap = limits.opensPerMinute
  if (cap === 0) return undefined
  if (auth !== undefined) return { scope: 'opens', key: keyOf(limits, 'opens', 'user', auth.tenant, auth.user), cap }
  return ip === undefined ? undefined : { scope: 'opens', key: keyOf(limits, 'opens', 'ip', ipKey(ip)), cap }
}

/** Escaped, so that no two owners ever share a key. The hash tag: see scripts.ts. */
function keyOf({ prefix }: ResolvedStreamLimits, kind: string, ...owner: readonly string[]): string {
  return `${prefix}{streams}:${[kind, ...owner.map(encodeURIComponent)].join(':')}`
}

/** When somebody's stream ends no one knows; a client that is refused should not come back at once. */
const RETRY_AFTER_MS = 10_000

const OF: Readonly<Record<Exclude<StreamScope, 'opens'>, string>> = {
  user: 'of this user',
  tenant: 'of this tenant',
  ip: 'from this address',
  process: 'on this server',
}

/** The answer to a stream for which there is no room. */
export function refusal(
  { scope, cap }: Pick<Place, 'scope' | 'cap'>,
  retryAfterMs: number = RETRY_AFTER_MS,
): RequestError {
  const message =
    scope === 'opens'
      ? `At most ${cap} streams a minute may be opened`
      : `At most ${cap} streams ${OF[scope]} may be open`
  return new RequestError('ERR_SSE_STREAM_LIMIT', message, {
    headers: { 'Retry-After': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) },
    members: { scope, cap },
  })
}
