import type { Clock } from '../../core/clock.js'
import { InvalidOptionError } from '../../core/errors.js'
import { LeaseClock } from '../../core/lease-clock.js'
import { systemClock } from '../../core/system-clock.js'
import { oneOf, wholeNumber } from '../../core/validation.js'
import { givenRedis, type RedisSource } from '../../redis/source.js'

/** How many streams may be open. Numbers of streams unless said otherwise; 0: no limit. */
export interface StreamLimitsOptions {
  /**
   * Where the processes of a fleet count together: a URL, ioredis options, or an ioredis client, whose options are taken
   * over; in each case a connection of its own. Left out or empty: the limits hold in this process alone.
   */
  readonly redis?: RedisSource | undefined
  /** Of one user within its tenant. Without `req.auth` a stream has neither user nor tenant. @defaultValue 20 */
  readonly perUser?: number
  /** Of one tenant. @defaultValue 2000 */
  readonly perTenant?: number
  /**
   * Of one address (IPv6: of one /56), signed in or not. An office may well share one, and all requests without an address do (a server on a
   * Unix socket behind a proxy that is not trusted). @defaultValue 0
   */
  readonly perIp?: number
  /** Of this process. @defaultValue 0 */
  readonly perProcess?: number
  /**
   * How many streams a user, or an address that is not signed in, may open: so many at once after a rest, and as many a
   * minute. Streams that are refused do not count. @defaultValue 60
   */
  readonly opensPerMinute?: number
  /**
   * At the limit of a user: `false` refuses the new stream. `true` ends the oldest stream of that user, with the reason
   * `evicted`; its client must not come back, or the two would throw each other out for ever. At any other limit the new
   * stream is refused. @defaultValue false
   */
  readonly evictOldest?: boolean
  /**
   * How long the quotas of a process are kept that is gone without a word, in ms, from 1000. They are renewed after
   * 5/12 of it. A process that was stopped, or cut off from Redis, for longer takes its quotas again like any other; its
   * streams for which there is no room any more end with the reason `limited` (with `evictOldest`, at the limit of a user,
   * `evicted`). @defaultValue 60_000
   */
  readonly leaseMs?: number
  /**
   * What happens where Redis does not answer. `open`: the limits hold in each process by itself until it does. `closed`:
   * no stream is opened (503 `ERR_SSE_LIMITER_UNAVAILABLE`). Open streams go on in any case; when Redis answers again, they
   * compete for quotas as far as their leases have run out (see `leaseMs`). @defaultValue 'open'
   */
  readonly onError?: 'open' | 'closed'
  /** Comes before every key in Redis. @defaultValue 'sse:' */
  readonly prefix?: string
  /**
   * How long Redis may take to answer, in ms. After that it counts as away, and is not waited for until it is back.
   * @defaultValue 500
   */
  readonly timeoutMs?: number
  /** For tests. @defaultValue the process's clock */
  readonly clock?: Clock
}

export type ResolvedStreamLimits = Readonly<Required<Omit<StreamLimitsOptions, 'redis'>>> & {
  readonly redis: RedisSource | undefined
}

/** @throws InvalidOptionError */
export function resolveStreamLimits(options: StreamLimitsOptions): ResolvedStreamLimits {
  const { onError = 'open', prefix = 'sse:', evictOldest = false } = options
  oneOf('onError', onError, ['open', 'closed'])
  if (typeof prefix !== 'string') throw new InvalidOptionError('prefix must be a string')
  if (typeof evictOldest !== 'boolean') throw new InvalidOptionError('evictOldest must be true or false')
  const perUser = wholeNumber('perUser', options.perUser ?? 20, 0)
  if (evictOldest && perUser === 0) throw new InvalidOptionError('evictOldest needs a limit perUser')
  const { clock = systemClock } = options
  const redis = givenRedis(options.redis)
  return {
    redis,
    perUser,
    perTenant: wholeNumber('perTenant', options.perTenant ?? 2000, 0),
    perIp: wholeNumber('perIp', options.perIp ?? 0, 0),
    perProcess: wholeNumber('perProcess', options.perProcess ?? 0, 0),
    // Above it the time between two would be lost in rounding.
    opensPerMinute: wholeNumber('opensPerMinute', options.opensPerMinute ?? 60, 0, 60_000),
    evictOldest,
    leaseMs: wholeNumber('leaseMs', options.leaseMs ?? 60_000, 1000, 3_600_000),
    onError,
    prefix,
    timeoutMs: wholeNumber('timeoutMs', options.timeoutMs ?? 500, 1, 60_000),
    clock: redis === undefined ? clock : new LeaseClock(clock),
  }
}
