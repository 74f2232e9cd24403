import type { Request } from 'express'
import type { BrokerState } from '../broker/broker.js'
import type { HistoryOptions } from '../broker/options.js'
import type { RedisBrokerOptions } from '../broker/redis/broker.js'
import type { Auth } from '../core/auth.js'
import type { Clock } from '../core/clock.js'
import type { Tracing } from '../core/tracing.js'
import type { AnyResponse } from '../http/exchange.js'
import type { StreamRequest } from '../http/requester.js'
import type { StreamLimits } from '../limits/streams/stream-limits.js'
import type { RedisSource } from '../redis/source.js'
import type { StreamOptions } from '../stream/options.js'

/** Options of `createMultiplexer`. */
export interface MultiplexerOptions extends HistoryOptions, Omit<RedisBrokerOptions, 'redis'> {
  /** Where Redis is. Unset or empty: embedded, in this process. */
  readonly redis?: RedisSource | undefined
  /** Bytes of a channel's latest events kept in this process for streams that fall behind. @defaultValue 262_144 */
  readonly tailBytes?: number
  /** How many events likewise. @defaultValue 1024 */
  readonly tailEntries?: number
  /**
   * How long a channel is followed after its last stream has gone, in ms: clients come back, and polls come again. 0: not
   * at all. @defaultValue 10_000
   */
  readonly lingerMs?: number
  /**
   * The most events a client may ask for with `?window=`: how many it is sent beyond those it has acknowledged. 0: there are
   * no windows. @defaultValue 1000
   */
  readonly maxWindow?: number
  /** How many streams may be open; see `createStreamLimits`. @defaultValue no limit */
  readonly streamLimits?: StreamLimits
  /** The largest event `publish` takes, in bytes after encoding. @defaultValue 1_048_576 */
  readonly maxEventBytes?: number
  /** Traces events from publishing to acknowledgement; see `createTracing`. @defaultValue none */
  readonly tracing?: Tracing
  /** Defaults for the streams of this multiplexer. */
  readonly stream?: StreamOptions
  /** For tests. @defaultValue the system's clock */
  readonly clock?: Clock
}

/** A request whose caller is known. `auth` is there if `authenticate()` was mounted before. */
export type ChannelRequest = Request & {
  /** Who the request comes from. */
  readonly auth: Auth
}

/**
 * Which channels a request's stream has: one name or up to eight. What it throws refuses the stream: `forbidden()`, `unauthorized()` and
 * `notFound()` are answers, any other error is a 500 that goes to `next`.
 */
export type ChannelsOf = (req: ChannelRequest) => string | readonly string[] | Promise<string | readonly string[]>

/**
 * Mounted as Express's handlers are; or given Node's own request and response, which costs less (README, Speed). Then `channelsOf` gets
 * a request without Express's properties, and a client's address is that of its connection.
 */
export type StreamHandler = (req: StreamRequest, res: AnyResponse, next: (error?: unknown) => void) => Promise<void>

/** A multiplexer as it is now. */
export interface MultiplexerStatus {
  /** Where its logs are: in this process, or in Redis. */
  readonly broker: 'memory' | 'redis'
  /** The state of the broker's connection. */
  readonly state: BrokerState
  /** Streams open on channels in this process. */
  readonly streams: number
  /** Channels they are on, each one subscription. */
  readonly channels: number
}
