import { compositeKey } from '../../core/composite-key.js'
import { RequestError } from '../../core/errors.js'
import { addressKey } from '../../http/address.js'
import { authOf } from '../../http/auth-of.js'
import type { Requester } from '../../http/requester.js'
import type { ResolvedStreamLimits } from './options.js'

/**
 * What a limit counts: open streams of a user, a tenant, an address or the process; or how often a user or address
 * opens one.
 */
export type StreamScope = 'user' | 'tenant' | 'ip' | 'process' | 'opens'

/** How many streams of one owner may be open, or may be opened per minute. */
export interface Quota {
  readonly scope: StreamScope
  /** The owner, in Redis and in this process. */
  readonly key: string
  readonly cap: number
}

/** The quotas that a stream needs. */
export interface RequiredQuotas {
  /** The quota of the user is the first. */
  readonly quotas: readonly Quota[]
  /** The quota that counts the opening. */
  readonly opens: Quota | undefined
}

export function requiredQuotas(requester: Requester, limits: ResolvedStreamLimits): RequiredQuotas {
  const { perUser, perTenant, perIp, opensPerMinute } = limits
  const auth = authOf(requester)
  const counted = perIp > 0 || (opensPerMinute > 0 && auth === undefined)
  // Looked up once and only here, because the lookup costs more than all the rest.
  const ip = counted ? addressKey(requester.ip) : undefined
  const quotas: Quota[] = []
  if (auth !== undefined && perUser > 0) {
    quotas.push({ scope: 'user', key: keyOf(limits, 'user', auth.tenant, auth.user), cap: perUser })
  }
  if (auth !== undefined && perTenant > 0) {
    quotas.push({ scope: 'tenant', key: keyOf(limits, 'tenant', auth.tenant), cap: perTenant })
  }
  if (ip !== undefined && perIp > 0) quotas.push({ scope: 'ip', key: keyOf(limits, 'ip', ip), cap: perIp })
  const opener = auth !== undefined ? ['user', auth.tenant, auth.user] : ip !== undefined ? ['ip', ip] : undefined
  if (opensPerMinute === 0 || opener === undefined) return { quotas, opens: undefined }
  return { quotas, opens: { scope: 'opens', key: keyOf(limits, 'opens', ...opener), cap: opensPerMinute } }
}

/** See scripts.ts for the hash tag. */
function keyOf({ prefix }: ResolvedStreamLimits, kind: string, ...owner: readonly string[]): string {
  return `${prefix}{streams}:${compositeKey(kind, ...owner)}`
}

/** Nobody knows when a stream ends. A refused client should not retry at once. */
const RETRY_AFTER_MS = 10_000

const OF: Readonly<Record<Exclude<StreamScope, 'opens'>, string>> = {
  user: 'of this user',
  tenant: 'of this tenant',
  ip: 'from this address',
  process: 'on this server',
}

/** The error of a stream that exceeds a limit. */
export function refusal(
  { scope, cap }: Pick<Quota, 'scope' | 'cap'>,
  retryAfterMs: number = RETRY_AFTER_MS,
): RequestError {
  const message =
    scope === 'opens'
      ? `The limit of ${cap} new streams per minute is reached`
      : `The limit of ${cap} open streams ${OF[scope]} is reached`
  return new RequestError('ERR_SSE_STREAM_LIMIT', message, {
    headers: { 'Retry-After': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) },
    members: { scope, cap },
  })
}
