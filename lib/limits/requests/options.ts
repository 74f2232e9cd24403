import type { Request, Response } from 'express'
import type { Clock } from '../../core/clock.js'
import { InvalidOptionError } from '../../core/errors.js'
import { systemClock } from '../../core/system-clock.js'
import { oneOf, wholeNumber } from '../../core/validation.js'
import { givenRedis, type RedisSource } from '../../redis/source.js'

/** Larger numbers would lose digits in Lua. */
const MAX_POINTS = 1_000_000_000
/** 24.8 days. Timers with a longer delay than 2³¹−1 ms fire at once. */
const MAX_DURATION_S = 2_147_483
const NAME = /^[a-z0-9_-]{1,64}$/
const SCOPES: readonly ('user' | 'tenant' | 'ip')[] = ['user', 'tenant', 'ip']

/** One limit. A request over it is answered 429 with `Retry-After`. */
export interface RequestLimit {
  /**
   * Which requests count together: those of a `user` within its tenant, of a `tenant` (both from `req.auth`; see
   * `withoutUser` for requests without it), of an address (`ip`: `req.ip`, IPv6 by /56; all requests without an address
   * together), or those for which a function returns the same string (`undefined`: the limit does not apply). Addresses
   * are only as reliable as the `trust proxy` setting of Express. All functions of a limit must return their result,
   * not a promise.
   */
  readonly by: 'user' | 'tenant' | 'ip' | ((req: Request) => string | undefined)
  /**
   * For limits by `user` or `tenant`: how requests without a user count. `skip`: the limit does not apply. `ip`: the
   * address counts instead of the user. Unset: as `skip` after `authenticate({ optional: true })`; without
   * `authenticate()` the request fails with `ERR_SSE_AUTH_ORDER`, because the limit would never apply. @defaultValue
   * none
   */
  readonly withoutUser?: 'skip' | 'ip'
  /**
   * The name of the limit in headers, in the problem document and in Redis. Limits with the same name, algorithm and
   * duration count together, wherever they are mounted. 1 to 64 of the characters `a-z 0-9 _ -`. Required if `by` is a
   * function. @defaultValue `by`
   */
  readonly name?: string
  /**
   * How many points requests may take in a `duration`; the capacity of a token bucket. A whole number from 1 to
   * 1,000,000,000. A function returns the points of a request, for example from the plan of its tenant. Another result
   * during a window applies at once, and what was admitted before counts.
   */
  readonly points: number | ((req: Request) => number)
  /** The length of the window in seconds. A whole number from 1 to 2,147,483 (24.8 days). */
  readonly duration: number
  /**
   * `fixed-window`: `points` in each window; twice as many may pass in a short time at the end of a window.
   * `token-bucket`: over any span at most `points` + refill × span. @defaultValue 'fixed-window'
   */
  readonly algorithm?: 'fixed-window' | 'token-bucket'
  /** Tokens that are added to a token bucket per second, above 0. @defaultValue points / duration */
  readonly refillPerSecond?: number
  /**
   * The points that a request takes, a whole number. 0: it is not counted. More than `points`: it is always refused.
   * @defaultValue 1
   */
  readonly cost?: (req: Request) => number
  /** Returns `true` for requests that the limit does not apply to. @defaultValue none */
  readonly skip?: (req: Request) => boolean
  /**
   * Returns whether a response counts, for example only failures. A request takes its points when it arrives and gets
   * them back after its response if it does not count, so at most `points` requests are in progress at the same time.
   * The function is called when the exchange is over; at least status and headers have been sent, so decide by those. A
   * request whose client leaves before that counts, and a stream keeps its points as long as it is open. If the
   * function throws, the response counts and the error is published to diagnostics (`limiterError`). @defaultValue
   * every request counts
   */
  readonly countWhen?: (res: Response) => boolean
  /**
   * How many points one process admits for a key in a `duration` while Redis does not answer and `onError` is `open`,
   * whatever `points` returns. A whole number from 1. A token bucket refills proportionally more slowly. @defaultValue
   * points
   */
  readonly localPoints?: number
}

/**
 * Options of `rateLimit`: one limit, or several. A request must pass all limits, and counts against all of them or
 * none.
 */
export type RateLimitOptions = {
  /**
   * Where all processes count together. A URL or ioredis options open a new connection. An ioredis client is used and
   * stays open. Unset or empty: each process counts alone.
   */
  readonly redis?: RedisSource | undefined
  /**
   * `hybrid`: each process leases points from Redis and grants them without a command; all processes together never
   * grant more than `points`. Leased points that are not used are returned after at most 2 s; until then requests
   * elsewhere may be refused (`Retry-After: 1`). `exact`: `RateLimiterRedis` of rate-limiter-flexible sends a command
   * for each request; a window begins with the first request of a key. @defaultValue 'hybrid'
   */
  readonly mode?: 'hybrid' | 'exact'
  /**
   * What happens while Redis does not answer. `open`: each process admits up to `localPoints`. `closed`: 503 with
   * `Retry-After`. Points that a process has leased are granted in both cases. @defaultValue 'open'
   */
  readonly onError?: 'open' | 'closed'
  /**
   * How long a request may wait for Redis, in ms, from 1 to 60,000. After that no request waits for Redis until it
   * answers again. @defaultValue 200
   */
  readonly timeoutMs?: number
  /** Prefix of every key in Redis. @defaultValue 'sse:limit:' */
  readonly prefix?: string
  /** For tests. @defaultValue the clock of the process */
  readonly clock?: Clock
} & (
  | (RequestLimit & {
      /** Unset with a single limit. */
      readonly limits?: undefined
    })
  | {
      /** Several limits; a request must pass all of them. */
      readonly limits: readonly RequestLimit[]
      /** Each limit has its own `by`. */
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
  if (twice !== undefined)
    throw new InvalidOptionError(`Two limits have the name ${twice.name}. Give each limit its own name.`)
  if (mode === 'exact' && limits.some(({ bucket }) => bucket)) {
    throw new InvalidOptionError('mode exact supports only fixed-window: use mode hybrid for a token-bucket')
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
    throw new InvalidOptionError('refillPerSecond must be a number above 0, and needs algorithm token-bucket')
  }
  const { withoutUser } = limit
  if (withoutUser !== undefined && (!['skip', 'ip'].includes(withoutUser) || (by !== 'user' && by !== 'tenant'))) {
    throw new InvalidOptionError('withoutUser must be skip or ip, and needs a limit by user or tenant')
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
  if (typeof by === 'function' && name === undefined)
    throw new InvalidOptionError('A limit whose by is a function needs a name')
  const resolved = name ?? String(by)
  if (typeof resolved !== 'string' || !NAME.test(resolved)) {
    throw new InvalidOptionError('name must have 1 to 64 of the characters a-z 0-9 _ -')
  }
  return resolved
}

/** Also checks what a function returned at a request. @throws InvalidOptionError */
export function checkedPoints(points: number): number {
  return wholeNumber('points', points, 1, MAX_POINTS)
}

/** @throws InvalidOptionError */
export function checkedCost(cost: number): number {
  return wholeNumber('cost', cost, 0, MAX_POINTS)
}
