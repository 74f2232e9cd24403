import type { Request, Response } from 'express'
import type { Clock } from '../../core/clock.js'
import { InvalidOptionError } from '../../core/errors.js'
import { systemClock } from '../../core/system-clock.js'
import { oneOf, wholeNumber } from '../../core/validation.js'
import { givenRedis, type RedisSource } from '../../redis/source.js'

/** Above it numbers lose digits on their way through Lua. */
const MAX_POINTS = 1_000_000_000
/** 24.8 days: beyond 2³¹−1 ms timers elsewhere fire at once. */
const MAX_DURATION_S = 2_147_483
const NAME = /^[a-z0-9_-]{1,64}$/
const SCOPES: readonly ('user' | 'tenant' | 'ip')[] = ['user', 'tenant', 'ip']

/** One limit. A request over it is answered 429 with `Retry-After`. */
export interface RequestLimit {
  /**
   * Whose requests count together: those of a `user` within its tenant, of a `tenant` (both of `req.auth`; for a request without
   * see `withoutUser`), of an address (`ip`: `req.ip`, IPv6 by /56; all without an address together), or of what a function answers
   * (`undefined`: the limit does not apply to this request). Addresses are only as good as Express's `trust proxy`. All functions of a
   * limit answer at once: a promise is an error.
   */
  readonly by: 'user' | 'tenant' | 'ip' | ((req: Request) => string | undefined)
  /**
   * For limits by `user` or `tenant`: how a request counts for which nobody is signed in. `skip`: the limit does not apply to it.
   * `ip`: its address counts in place of the user. Left out: as `skip` where `authenticate({ optional: true })` has run; where it has
   * not, the request fails with `ERR_SSE_AUTH_ORDER`, because the limit would never apply. @defaultValue none
   */
  readonly withoutUser?: 'skip' | 'ip'
  /**
   * Names the limit in headers, in the problem document and in Redis: limits of one name, algorithm and duration count
   * together wherever they are mounted. Characters `a-z 0-9 _ -`. Needed where `by` is a function. @defaultValue `by`
   */
  readonly name?: string
  /**
   * How many requests (or what they cost) may pass in a `duration`; for a token bucket at once after a rest. Whole, from 1. A
   * function answers for the request's key, such as from its tenant's plan; another answer while a window runs counts from
   * then on, together with what was admitted before.
   */
  readonly points: number | ((req: Request) => number)
  /** The window's length in seconds, whole, from 1 to 2,147,483 (24.8 days). */
  readonly duration: number
  /**
   * `fixed-window`: `points` in each window; around a window's turn twice that may pass in a short time. `token-bucket`: over
   * any span at most `points` + refill × span. @defaultValue 'fixed-window'
   */
  readonly algorithm?: 'fixed-window' | 'token-bucket'
  /** How fast a token bucket fills up, in points per second, above 0. @defaultValue points / duration */
  readonly refillPerSecond?: number
  /** What a request costs, in points, whole. 0: it is not counted. More than `points`: always refused. @defaultValue 1 */
  readonly cost?: (req: Request) => number
  /** `true`: the limit does not apply to this request. */
  readonly skip?: (req: Request) => boolean
  /**
   * Only answers for which this holds count, such as failures. A request takes its points when it comes, and gets them back
   * after its answer if it does not count; so of requests under way at the same time at most `points` pass. It is called when
   * the exchange is over, with an answer of which at least status and headers have been sent: decide by those. A request
   * whose client left before that counts, and a stream has its points as long as it is open. If it fails, the answer counts,
   * and the error is on diagnostics (`limiterError`). Left out: every request counts.
   */
  readonly countWhen?: (res: Response) => boolean
  /**
   * What one process admits of a key in a `duration` while Redis does not answer, with `onError: 'open'`, whatever its `points`
   * are. Whole, from 1. A token bucket fills up as much slower as it is smaller. @defaultValue points
   */
  readonly localPoints?: number
}

/** One limit, or several of which a request must pass all; it counts against all of them or none. */
export type RateLimitOptions = {
  /**
   * Where the processes of a fleet count together. A URL or ioredis options: a connection of its own. An ioredis client: that
   * very client, left open. Left out or empty: each process counts by itself.
   */
  readonly redis?: RedisSource | undefined
  /**
   * `hybrid`: each process leases points from Redis and grants from them without asking; never more than `points` over all
   * processes. What one leased and does not use is given back after 2 s at most; until then others may be refused
   * (`Retry-After: 1`). `exact`: `RateLimiterRedis` of rate-limiter-flexible asks Redis at every request; windows begin with a key's
   * first request. @defaultValue 'hybrid'
   */
  readonly mode?: 'hybrid' | 'exact'
  /**
   * While Redis does not answer: `open` admits up to `localPoints` in each process, `closed` answers 503 with `Retry-After`. What
   * a process still holds on lease is granted either way. @defaultValue 'open'
   */
  readonly onError?: 'open' | 'closed'
  /**
   * How long a request may wait for Redis, in ms, from 1 to 60,000. After that Redis counts as away, and no request waits
   * until it has answered again. @defaultValue 200
   */
  readonly timeoutMs?: number
  /** Comes before every key in Redis. @defaultValue 'sse:limit:' */
  readonly prefix?: string
  /** For tests. @defaultValue the process's clock */
  readonly clock?: Clock
} & (
  | (RequestLimit & {
      /** Left out with a single limit. */
      readonly limits?: undefined
    })
  | {
      /** Several limits; a request must pass all of them. */
      readonly limits: readonly RequestLimit[]
      /** Each limit has its own. */
      readonly by?: undefined
    }
)

/** The options that all limits of one `rateLimit` share. */
export type SharedLimitOptions = Pick<RateLimitOptions, 'redis' | 'mode' | 'onError' | 'timeoutMs' | 'prefix' | 'clock'>

export interface ResolvedLimit {
  readonly by: RequestLimit['by']
  readonly withoutUser: RequestLimit['withoutUser']
  readonly name: string
  readonly points: RequestLimit['points']
  readonly durationMs: number
  readonly bucket: boolean
  /** `undefined`: points / duration. */
  readonly refillPerSecond: number | undefined
  readonly cost: RequestLimit['cost']
  readonly skip: RequestLimit['skip']
  readonly countWhen: RequestLimit['countWhen']
  readonly localPoints: number | undefined
  /** Comes before the key in Redis. */
  readonly prefix: string
}

export interface ResolvedRateLimit {
  readonly limits: readonly ResolvedLimit[]
  readonly redis: RedisSource | undefined
  readonly mode: 'local' | 'hybrid' | 'exact'
  readonly failOpen: boolean
  readonly timeoutMs: number
  readonly clock: Clock
}

/** @throws InvalidOptionError */
export function resolveRateLimit(options: RateLimitOptions): ResolvedRateLimit {
  const { mode = 'hybrid', onError = 'open', prefix = 'sse:limit:', clock = systemClock } = options
  const redis = givenRedis(options.redis)
  oneOf('mode', mode, ['hybrid', 'exact'])
  if (options.mode !== undefined && redis === undefined) throw new InvalidOptionError('mode needs redis')
  oneOf('onError', onError, ['open', 'closed'])
  if (typeof prefix !== 'string') throw new InvalidOptionError('prefix must be a string')
  const given: readonly RequestLimit[] = options.limits ?? [options as RequestLimit]
  if (!Array.isArray(given) || given.length === 0) throw new InvalidOptionError('limits must have one at least')
  const limits = given.map((limit) => resolveLimit(limit, prefix))
  const twice = limits.find(({ name }, i) => limits.findIndex((other) => other.name === name) !== i)
  if (twice !== undefined) throw new InvalidOptionError(`Two limits are called ${twice.name}: give one another name`)
  if (mode === 'exact' && limits.some(({ bucket }) => bucket)) {
    throw new InvalidOptionError('mode exact has fixed windows only')
  }
  return {
    limits,
    redis,
    mode: redis === undefined ? 'local' : mode,
    failOpen: onError === 'open',
    timeoutMs: wholeNumber('timeoutMs', options.timeoutMs ?? 200, 1, 60_000),
    clock,
  }
}

function resolveLimit(limit: RequestLimit, prefix: string): ResolvedLimit {
  const { by, points, algorithm = 'fixed-window', refillPerSecond, localPoints } = limit
  const name = resolveName(limit)
  if (typeof points !== 'function') checkedPoints(points)
  if (algorithm !== 'fixed-window' && algorithm !== 'token-bucket') {
    throw new InvalidOptionError('algorithm must be fixed-window or token-bucket')
  }
  const bucket = algorithm === 'token-bucket'
  if (refillPerSecond !== undefined && !(bucket && refillPerSecond > 0 && refillPerSecond <= MAX_POINTS)) {
    throw new InvalidOptionError('refillPerSecond must be above 0, and is for a token-bucket')
  }
  const { withoutUser } = limit
  if (withoutUser !== undefined && (!['skip', 'ip'].includes(withoutUser) || (by !== 'user' && by !== 'tenant'))) {
    throw new InvalidOptionError('withoutUser must be skip or ip, and is for limits by user or tenant')
  }
  for (const option of ['cost', 'skip', 'countWhen'] as const) {
    if (limit[option] !== undefined && typeof limit[option] !== 'function') {
      throw new InvalidOptionError(`${option} must be a function`)
    }
  }
  if (localPoints !== undefined) wholeNumber('localPoints', localPoints, 1, MAX_POINTS)
  const duration = wholeNumber('duration (in seconds)', limit.duration, 1, MAX_DURATION_S)
  return {
    by,
    withoutUser,
    name,
    points,
    durationMs: duration * 1000,
    bucket,
    refillPerSecond,
    cost: limit.cost,
    skip: limit.skip,
    countWhen: limit.countWhen,
    localPoints,
    prefix: `${prefix}${bucket ? 'b' : 'w'}${duration}:${name}:`,
  }
}

function resolveName({ by, name }: RequestLimit): string {
  if (typeof by !== 'function' && !SCOPES.includes(by)) {
    throw new InvalidOptionError(`by must be ${SCOPES.join(', ')} or a function, got ${String(by)}`)
  }
  if (typeof by === 'function' && name === undefined) throw new InvalidOptionError('by a function needs a name')
  const resolved = name ?? String(by)
  if (typeof resolved !== 'string' || !NAME.test(resolved)) {
    throw new InvalidOptionError('name must have 1 to 64 of the characters a-z 0-9 _ -')
  }
  return resolved
}

/** @throws InvalidOptionError also at a request, for what a function answered */
export function checkedPoints(points: number): number {
  return wholeNumber('points', points, 1, MAX_POINTS)
}

/** @throws InvalidOptionError */
export function checkedCost(cost: number): number {
  return wholeNumber('cost', cost, 0, MAX_POINTS)
}
