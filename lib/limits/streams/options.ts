import type { Clock } from '../../core/clock.js'
import { InvalidOptionError } from '../../core/errors.js'
import { LeaseClock } from '../../core/lease-clock.js'
import { systemClock } from '../../core/system-clock.js'
import { oneOf, wholeNumber } from '../../core/validation.js'
import { givenRedis, type RedisSource } from '../../redis/source.js'

/** Options of `createStreamLimits`. Limits are numbers of open streams; 0 turns a limit off. */
export interface StreamLimitsOptions {
  /**
   * Where all processes count together: a URL, ioredis options, or an ioredis client whose options are copied. Each
   * opens its own connection. Unset or empty: each process counts alone.
   */
  readonly redis?: RedisSource | undefined
  /** Of one user within its tenant. Without `req.auth` a stream has neither a user nor a tenant. @defaultValue 20 */
  readonly perUser?: number
  /** Of one tenant. @defaultValue 2000 */
  readonly perTenant?: number
  /**
   * Of one address (IPv6: of one /56), with or without a user. Several clients may share an address, such as an office.
   * All requests without an address count as one address (a server on a Unix socket behind a proxy that is not
   * trusted). @defaultValue 0
   */
  readonly perIp?: number
  /** Of this process. @defaultValue 0 */
  readonly perProcess?: number
  /**
   * How many streams a user may open per minute, or an address without a user; also the size of a burst. Refused
   * streams do not count. 0: no limit. @defaultValue 60
   */
  readonly opensPerMinute?: number
  /**
   * What happens at the limit of a user. `false`: the new stream is refused. `true`: the oldest stream of the user ends
   * with the reason `evicted`. Its client must not reconnect, otherwise the two clients would evict each other
   * repeatedly. At any other limit the new stream is refused. @defaultValue false
   */
  readonly evictOldest?: boolean
  /**
   * How long the leases of a crashed process are kept, in ms, from 1000 to 3,600,000. Leases are renewed after 5/12 of
   * this time. A process that was suspended, or could not reach Redis, for longer acquires its leases again. Its
   * streams that exceed a limit by then end with the reason `limited` (with `evictOldest`, at the limit of a user,
   * `evicted`). @defaultValue 60_000
   */
  readonly leaseMs?: number
  /**
   * What happens while Redis does not answer. `open`: each process applies the limits alone. `closed`: no stream is
   * opened (503 `ERR_SSE_LIMITER_UNAVAILABLE`). Open streams stay open in both cases. When Redis answers again, streams
   * whose leases have expired acquire them again (see `leaseMs`). @defaultValue 'open'
   */
  readonly onError?: 'open' | 'closed'
  /** Prefix of every key in Redis. @defaultValue 'sse:' */
  readonly prefix?: string
  /**
   * How long Redis may take to answer, in ms, from 1 to 60,000. After that no command waits for Redis until it answers
   * again. @defaultValue 500
   */
  readonly timeoutMs?: number
  /** For tests. @defaultValue the clock of the process */
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
  if (evictOldest && perUser === 0)
    throw new InvalidOptionError('evictOldest needs perUser: set perUser above 0, or evictOldest to false')
  const { clock = systemClock } = options
  const redis = givenRedis(options.redis)
  return {
    redis,
    perUser,
    perTenant: wholeNumber('perTenant', options.perTenant ?? 2000, 0),
    perIp: wholeNumber('perIp', options.perIp ?? 0, 0),
    perProcess: wholeNumber('perProcess', options.perProcess ?? 0, 0),
    // A higher rate would lose the time between two openings to rounding.
    opensPerMinute: wholeNumber('opensPerMinute', options.opensPerMinute ?? 60, 0, 60_000),
    evictOldest,
    leaseMs: wholeNumber('leaseMs', options.leaseMs ?? 60_000, 1000, 3_600_000),
    onError,
    prefix,
    timeoutMs: wholeNumber('timeoutMs', options.timeoutMs ?? 500, 1, 60_000),
    clock: redis === undefined ? clock : new LeaseClock(clock),
  }
}
