/**
 * request ─► **charges** ─► limiter: which limits apply to a request, under which keys, and what it costs.
 */
import { createHash } from 'node:crypto'
import type { Request } from 'express'
import { answeredAtOnce } from '../../core/callbacks.js'
import { compositeKey } from '../../core/composite-key.js'
import { diagnostics, reportTo } from '../../core/diagnostics.js'
import { InvalidOptionError, SseError } from '../../core/errors.js'
import { addressKey, addressOf } from '../../http/address.js'
import { authOf, wasAuthenticated } from '../../http/auth-of.js'
import type { Charge } from './limiter.js'
import { checkedCost, checkedPoints, type ResolvedLimit } from './options.js'

/** Longer keys are hashed, because a client that chooses a key must not choose how much memory it takes. */
const MAX_KEY_LENGTH = 256

/**
 * @throws SseError `ERR_SSE_AUTH_FOREIGN`, `ERR_SSE_AUTH_ORDER`
 * @throws InvalidOptionError if a function of the limit returned an invalid value
 */
export function chargesOf(req: Request, limits: readonly ResolvedLimit[]): Charge[] {
  const charges: Charge[] = []
  for (const limit of limits) {
    if (limit.skip && atOnce('skip', limit.skip(req))) continue
    const key = keyOf(req, limit)
    if (key === undefined) continue
    const cost = limit.cost === undefined ? 1 : checkedCost(atOnce('cost', limit.cost(req)))
    if (cost === 0) continue
    const points = typeof limit.points === 'number' ? limit.points : checkedPoints(atOnce('points', limit.points(req)))
    charges.push({ limit, key, points, cost })
  }
  return charges
}

function keyOf(req: Request, limit: ResolvedLimit): string | undefined {
  const parts = partsOf(req, limit)
  if (parts === undefined) return undefined
  const key = compositeKey(...parts)
  if (key.length <= MAX_KEY_LENGTH) return key
  // No other key has three parts, so a client cannot choose a short key that equals the hash of another key.
  return compositeKey('sha256', createHash('sha256').update(key).digest('base64url'), '')
}

function partsOf(req: Request, { by, withoutUser, name }: ResolvedLimit): readonly [string, ...string[]] | undefined {
  if (typeof by === 'function') {
    const key = checkedKey(atOnce('by', by(req)))
    return key === undefined ? undefined : [key]
  }
  if (by === 'ip') return [addressKey(addressOf(req))]
  const auth = authOf(req)
  if (auth === undefined) {
    // Three parts, so it differs from the key of every user and tenant.
    if (withoutUser === 'ip') return ['ip', addressKey(addressOf(req)), '']
    if (withoutUser === undefined && !wasAuthenticated(req)) throw notAuthenticated(name)
    return undefined
  }
  return by === 'tenant' ? [auth.tenant] : [auth.tenant, auth.user]
}

/** @throws InvalidOptionError for a promise, because `skip` and `by` would then let every request pass */
function atOnce<T>(name: 'by' | 'skip' | 'cost' | 'points', value: T): T {
  return answeredAtOnce(name, value, (error) => reportTo(diagnostics.limiterError, name, error))
}

function notAuthenticated(name: string): SseError {
  return new SseError(
    'ERR_SSE_AUTH_ORDER',
    `The limit "${name}" counts by user or tenant, but authenticate() has not run. ` +
      'Mount authenticate() before rateLimit(), or set withoutUser to skip or ip',
  )
}

/** @throws InvalidOptionError */
function checkedKey(key: unknown): string | undefined {
  if (key === undefined || typeof key === 'string') return key
  throw new InvalidOptionError(`by must return a string, or undefined if the limit does not apply; got ${typeof key}`)
}
