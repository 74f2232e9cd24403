import type { Request } from 'express'
import type { BrokerState } from '../broker/broker.js'
import type { HistoryOptions, RedisLogOptions } from '../broker/options.js'
import type { Auth } from '../core/auth.js'
import type { Clock } from '../core/clock.js'
import type { Tracing } from '../core/tracing.js'
import type { AnyResponse } from '../http/exchange.js'
import type { StreamRequest } from '../http/requester.js'
import type { StreamLimits } from '../limits/streams/stream-limits.js'
import type { RedisSource } from '../redis/source.js'
import type { StreamOptions } from '../stream/options.js'

/** Options of `createMultiplexer`. */
export interface MultiplexerOptions extends HistoryOptions, RedisLogOptions {
  /** Where Redis is. @defaultValue embedded: the logs are in this process. An empty string means the same */
  readonly redis?: RedisSource | undefined
  /**
   * The maximum bytes of each channel's latest events kept in this process, for streams that fall behind. 0: none, such
   * streams read from the broker. @defaultValue 262_144
   */
  readonly tailBytes?: number
  /** The maximum number of these events. 0: none. @defaultValue 1024 */
  readonly tailEntries?: number
  /**
   * How long a channel stays subscribed after its last stream or poll has ended, in ms, for clients that reconnect or
   * poll again. 0: it is unsubscribed immediately. @defaultValue 10_000
   */
  readonly lingerMs?: number
  /**
   * The maximum window that a client may request with `?window=`: how many events it may be sent before it acknowledges
   * them. A larger request gets this window. 0: windows are refused. @defaultValue 1000
   */
  readonly maxWindow?: number
  /** How many streams may be open; see `createStreamLimits`. @defaultValue no limit */
  readonly streamLimits?: StreamLimits
  /** The maximum size of a published event, in bytes after encoding. @defaultValue 1_048_576 */
  readonly maxEventBytes?: number
  /** Traces events from publishing to acknowledgement; see `createTracing`. @defaultValue none */
  readonly tracing?: Tracing
  /** Defaults for the streams of this multiplexer. */
  readonly stream?: StreamOptions
  /** For tests. @defaultValue the system's clock */
  readonly clock?: Clock
}

/** Options of `Multiplexer.poll`. */
export interface PollOptions {
  /** The maximum number of events in one answer. @defaultValue 256 */
  readonly maxEvents?: number
  /** The maximum bytes of events in one answer, unless a single event is larger. @defaultValue 1_048_576 */
  readonly maxBytes?: number
  /**
   * The maximum time that an answer may wait for an event (`?wait=`), in ms. Must be below the time-outs of proxies.
   * 0: no answer waits. @defaultValue 25_000
   */
  readonly maxWaitMs?: number
  /** When a client that has all events should poll again, in ms. @defaultValue 5000 */
  readonly pollMs?: number
}

/** Options of `Multiplexer.read`. */
export interface ReadOptions {
  /**
   * A cursor: the `id` of the last item that was handled, or what `Multiplexer.cursor` returns. The iteration begins
   * after it. @defaultValue begins at `from`
   */
  readonly after?: string | undefined
  /**
   * Where the iteration begins without `after`: at the `head` of each channel, with new events only, or at the `earliest`
   * event that is kept. If all channels have ended, it begins there in any case. @defaultValue 'head'
   */
  readonly from?: 'head' | 'earliest' | undefined
  /** Ends the iteration: the next item is rejected with the signal's reason. @defaultValue ends with `break` */
  readonly signal?: AbortSignal | undefined
}

/** A request whose caller is known. `auth` is there if `authenticate()` was mounted before. */
export type ChannelRequest = Request & {
  /** Who the request comes from. */
  readonly auth: Auth
}

/**
 * Returns the channels of a request's stream: one name, or up to eight. An error refuses the stream: `forbidden()`,
 * `unauthorized()` and `notFound()` are answered with their status, any other error is passed to `next`.
 */
export type ChannelsOf = (req: ChannelRequest) => string | readonly string[] | Promise<string | readonly string[]>

/**
 * A request handler. Mount it like a handler of Express, or call it with Node's own request and response, which costs
 * less (README, Speed). Without Express, `channelsOf` gets a request without Express's properties, and a client's
 * address is that of its connection.
 */
export type StreamHandler = (req: StreamRequest, res: AnyResponse, next: (error?: unknown) => void) => Promise<void>

/** The state of a multiplexer. */
export interface MultiplexerStatus {
  /** Where the logs are: in this process, or in Redis. */
  readonly broker: 'memory' | 'redis'
  /** The state of the broker's connection. */
  readonly state: BrokerState
  /** Open streams on channels in this process. */
  readonly streams: number
  /** Channels that this process follows, each with one subscription. */
  readonly channels: number
}
