import { type Revocations, revocationsOption, type StoreRevocations } from '../auth/revocations.js'
import type { Clock } from '../core/clock.js'
import { InvalidOptionError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { oneOf, wholeNumber } from '../core/validation.js'
import type { StreamRequest } from '../http/requester.js'
import { type Pacing, type PacingBuckets, pacingOption } from '../limits/pacing/pacing.js'
import { MAX_EVENT_BYTES } from '../wire/encode.js'
import { QUEUE_POLICIES, type QueuePolicy } from './backlog.js'
import type { Pressure } from './pressure.js'
import type { WhenBehind } from './source.js'

/** How a stream behaves. All times in ms. */
export interface StreamOptions {
  /** Between heartbeats, which keep proxies from closing an idle stream. 0: none. @defaultValue 25_000 */
  readonly heartbeatMs?: number
  /**
   * Sends heartbeats as events `sse.heartbeat` instead of comments: a native EventSource cannot see comments.
   * @defaultValue false
   */
  readonly heartbeatEvents?: boolean
  /** The reconnection time clients are told at the start (`retry:`). @defaultValue 3000 */
  readonly retryMs?: number
  /**
   * A stream this old is ended with `sse.reconnect`, up to 10 % earlier at random, so that connections spread over
   * new processes. 0: never. @defaultValue 3_600_000 (an hour)
   */
  readonly maxAgeMs?: number
  /** When the stream ends with `sse.expired`, in ms since 1970. 0: never. @defaultValue what `req.auth` says, else never */
  readonly expiresAt?: number
  /**
   * A client that takes nothing for this long while the socket is full is disconnected; up to an eighth later, because progress is looked
   * at eight times in that period. A client that reads, however slowly, is not. On HTTP/2 what counts is what the connection takes.
   * 0: never. @defaultValue 30_000
   */
  readonly stallMs?: number
  /**
   * After the end of a stream, how long the client may take to read the rest before the socket is destroyed, in ms, also if it is still
   * reading then: `close()` has to end. 0: no time. @defaultValue 5000
   */
  readonly closeGraceMs?: number
  /**
   * What a stream does that falls behind its channels. `replay`: it reads on from the log when it may, keeps only its position
   * meanwhile, and misses nothing. The others are for data whose newest matters more than all of it: events wait in a
   * bounded queue, which decides what to give up (`QueuePolicy`). Events that are in no log (`send`, ephemeral ones) always
   * wait in that queue, with `replay` as with `drop-newest`. @defaultValue 'replay'
   */
  readonly backlog?: 'replay' | QueuePolicy
  /** Events that may wait in the queue; what is dropped is counted and reported (`sse.dropped`). 0: none. @defaultValue 256 */
  readonly queueEvents?: number
  /** Bytes that may wait likewise. @defaultValue 262_144 */
  readonly queueBytes?: number
  /** How long they may wait, unless the event has a `ttlMs` of its own. @defaultValue 30_000 */
  readonly queueTtlMs?: number
  /**
   * How fast events may go out; see `createPacing`. A stream that may not go on lags or queues as it does while its socket
   * is full, but does not count as stalled. @defaultValue no limit
   */
  readonly pacing?: Pacing
  /**
   * Where a client can poll that a stream does not suit (`Multiplexer.poll`), relative to the stream's own URL. A stream whose client
   * reads nothing, drops too much, or has no place under pressure is then ended with `sse.poll`. @defaultValue nowhere
   */
  readonly pollUrl?: string | ((req: StreamRequest) => string)
  /**
   * A stream that has dropped events for so long because its queue was full is moved to polling, in ms. Only with
   * `pollUrl`. 0: never. @defaultValue 30_000
   */
  readonly saturatedMs?: number
  /**
   * The bounds for all streams together; see `createPressure`. @defaultValue one for all streams of a `sseMiddleware` or
   * multiplexer; none for `openStream`
   */
  readonly pressure?: Pressure
  /** Ends the stream when its token is revoked; give them to `authenticate` too. @defaultValue none */
  readonly revocations?: Revocations
  /**
   * How a stream is refused. `status`: 503 with `Retry-After`. `stream`: 200, `sse.reconnect` and the end, for native
   * EventSource, which gives up for good at any other status. @defaultValue 'status'
   */
  readonly refuseWith?: 'status' | 'stream'
  /** The largest event `send` takes, in bytes after encoding. @defaultValue 1_048_576 */
  readonly maxEventBytes?: number
  /** For tests. @defaultValue the system's clock */
  readonly clock?: Clock
}

type Unset = 'expiresAt' | 'pacing' | 'pollUrl' | 'pressure' | 'revocations'

export type ResolvedStreamOptions = Readonly<Required<Omit<StreamOptions, Unset | 'backlog'>>> & {
  readonly [name in Exclude<Unset, 'pacing' | 'revocations'>]: StreamOptions[name] | undefined
} & {
  readonly pacing: PacingBuckets | undefined
  readonly revocations: StoreRevocations | undefined
  readonly whenBehind: WhenBehind
  readonly queuePolicy: QueuePolicy
}

/** @throws InvalidOptionError */
export function resolveStreamOptions(options: StreamOptions): ResolvedStreamOptions {
  const { backlog = 'replay' } = options
  if (backlog !== 'replay' && !QUEUE_POLICIES.includes(backlog)) {
    throw new InvalidOptionError(`backlog must be replay or one of ${QUEUE_POLICIES.join(', ')}, got ${backlog}`)
  }
  const { refuseWith = 'status' } = options
  oneOf('refuseWith', refuseWith, ['status', 'stream'])
  return {
    whenBehind: backlog === 'replay' || backlog === 'disconnect' ? backlog : 'queue',
    queuePolicy: backlog === 'replay' ? 'drop-newest' : backlog,
    heartbeatMs: wholeNumber('heartbeatMs', options.heartbeatMs ?? 25_000, 0),
    heartbeatEvents: options.heartbeatEvents ?? false,
    retryMs: wholeNumber('retryMs', options.retryMs ?? 3000, 0),
    maxAgeMs: wholeNumber('maxAgeMs', options.maxAgeMs ?? 3_600_000, 0),
    expiresAt: options.expiresAt === undefined ? undefined : wholeNumber('expiresAt', options.expiresAt, 0),
    stallMs: wholeNumber('stallMs', options.stallMs ?? 30_000, 0),
    closeGraceMs: wholeNumber('closeGraceMs', options.closeGraceMs ?? 5000, 0),
    queueEvents: wholeNumber('queueEvents', options.queueEvents ?? 256, 0),
    queueBytes: wholeNumber('queueBytes', options.queueBytes ?? 262_144, 0),
    queueTtlMs: wholeNumber('queueTtlMs', options.queueTtlMs ?? 30_000, 1),
    pacing: options.pacing === undefined ? undefined : pacingOption(options.pacing),
    pollUrl: options.pollUrl,
    saturatedMs: wholeNumber('saturatedMs', options.saturatedMs ?? 30_000, 0),
    pressure: options.pressure,
    revocations: options.revocations === undefined ? undefined : revocationsOption(options.revocations),
    refuseWith,
    maxEventBytes: wholeNumber('maxEventBytes', options.maxEventBytes ?? MAX_EVENT_BYTES, 16),
    clock: options.clock ?? systemClock,
  }
}
