/** request ─► **claims** ─► limiter: which limits apply to a request, under which keys, and what it costs. */
import { createHash } from 'node:crypto'
import type { Request } from 'express'
import { SseError } from '../../core/errors.js'
import { addressOf } from '../../http/address.js'
import { authOf, wasAuthenticated } from '../../http/auth-of.js'
import { ipKey } from '../ip-key.js'
import type { Claim } from './limiter.js'
import { checkedCost, checkedPoints, type ResolvedLimit } from './options.js'

/** Longer keys count by their digest: whoever chooses a key must not choose how much memory it takes. */
const MAX_KEY_LENGTH = 256

/**
 * @throws SseError `ERR_SSE_AUTH_FOREIGN`, `ERR_SSE_AUTH_ORDER`
 * @throws InvalidOptionError if a function of the limit answered what cannot be meant
 */
export function claimsOf(req: Request, limits: readonly ResolvedLimit[]): Claim[] {
  const claims: Claim[] = []
  for (const limit of limits) {
    if (limit.skip?.(req)) continue
    const key = keyOf(req, limit)
    if (key === undefined) continue
    const cost = limit.cost === undefined ? 1 : checkedCost(limit.cost(req))
    if (cost === 0) continue
    const points = typeof limit.points === 'number' ? limit.points : checkedPoints(limit.points(req))
    claims.push({ limit, key, points, cost })
  }
  return claims
}

function keyOf(req: Request, limit: ResolvedLimit): string | undefined {
  const key = rawKey(req, limit)
  if (key === undefined || key.length <= MAX_KEY_LENGTH) return key
  return createHash('sha256').update(key).digest('base64url')
}

function rawKey(req: Request, { by, withoutUser, name }: ResolvedLimit): string | undefined {
  if (typeof by === 'function') return by(req)
  if (by === 'ip') return ipKey(addressOf(req))
  const auth = authOf(req)
  if (auth === undefined) {
    // Begins like no user's and no tenant's key.
    if (withoutUser === 'ip') return ` ${ipKey(addressOf(req))}`
    if (withoutUser === undefined && !wasAuthenticated(req)) throw notAuthenticated(name)
    return undefined
  }
  if (by === 'tenant') return encodeURIComponent(auth.tenant)
  // With its length, so that no other tenant and user make the same key.
  return `${auth.tenant.length}:${auth.tenant}:${auth.user}`
}

function notAuthenticated(name: string): SseError {
  return new SseError(
    'ERR_SSE_AUTH_ORDER',
    `The limit "${name}" counts by user or tenant, but authenticate() has not run: mount it before rateLimit(), ` +
      'or choose with withoutUser how requests without a user count',
  )
}
