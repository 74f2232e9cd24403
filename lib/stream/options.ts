import { type Revocations, revocationsOption, type StoreRevocations } from '../auth/revocations.js'
import type { Clock } from '../core/clock.js'
import { InvalidOptionError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { madeBy, oneOf, rejectFormerName, wholeNumber } from '../core/validation.js'
import type { StreamRequest } from '../http/requester.js'
import { type Pacing, type PacingBuckets, pacingOption } from '../limits/pacing/pacing.js'
import { MAX_EVENT_BYTES } from '../wire/encode.js'
import { QUEUE_POLICIES, type QueuePolicy } from './bounded-queue.js'
import { type Pressure, ProcessPressure } from './pressure.js'
import type { WhenBehind } from './source.js'

/** How a stream behaves. All times are in ms. */
export interface StreamOptions {
  /**
   * The time between heartbeats, which keep proxies from closing an idle stream. 0: no heartbeats.
   * @defaultValue 25_000
   */
  readonly heartbeatMs?: number
  /**
   * `true`: heartbeats are events `sse.heartbeat` instead of comments, because a native EventSource does not report
   * comments. @defaultValue false
   */
  readonly heartbeatEvents?: boolean
  /**
   * The reconnection time that clients get at the start of the stream (`retry:`, WHATWG HTML 9.2.6).
   * @defaultValue 3000
   */
  readonly retryMs?: number
  /**
   * The age at which a stream ends with `sse.reconnect`, so that connections spread over new processes. Each stream
   * ends up to 10 % earlier, at random. 0: no maximum. @defaultValue 3_600_000 (an hour)
   */
  readonly maxAgeMs?: number
  /**
   * The time at which the stream ends with `sse.expired`, in ms since 1970. 0: never.
   * @defaultValue `req.auth.expiresAt`, or never
   */
  readonly expiresAt?: number
  /**
   * A client that takes no byte for this long while the socket is full is disconnected. A client that reads slowly is
   * not. Progress is checked eight times in this period, so the end may come up to an eighth later. On HTTP/2 the
   * bytes that the connection takes count. 0: never. @defaultValue 30_000
   */
  readonly stallMs?: number
  /**
   * How long the client may take to read the rest after the stream has ended. Then the socket is destroyed, also if
   * the client is still reading, because `close()` must settle. 0: no time. @defaultValue 5000
   */
  readonly closeGraceMs?: number
  /**
   * What the stream does when it falls behind its channels, and which events its bounded queue drops when it is full.
   * With `replay` the stream keeps only its position, reads on from the log when it has credit, and misses nothing.
   * The other policies are for data whose newest events matter more than all of them: the events wait in the queue.
   * Events that are in no log (`send`, ephemeral events) always wait in the queue; with `replay` a full queue drops
   * the newest of them. @defaultValue 'replay'
   */
  readonly queuePolicy?: QueuePolicy
  /**
   * How many events may wait in the queue. Drops are counted and reported to the client (`sse.dropped`). 0: none.
   * @defaultValue 256
   */
  readonly queueEvents?: number
  /** How many bytes of events may wait in the queue. 0: none. @defaultValue 262_144 */
  readonly queueBytes?: number
  /** How long an event without its own `ttlMs` may wait in the queue. @defaultValue 30_000 */
  readonly queueTtlMs?: number
  /**
   * How fast events are sent; made by `createPacing`. A stream without tokens lags or queues, as with a full socket,
   * but does not count as stalled. @defaultValue no limit
   */
  readonly pacing?: Pacing
  /**
   * Where a client can poll instead (`Multiplexer.poll`), relative to the stream's URL. A stream is then ended with
   * `sse.poll` if its client reads nothing, if it drops events for `saturatedMs`, or under pressure.
   * @defaultValue clients cannot poll
   */
  readonly pollUrl?: string | ((req: StreamRequest) => string)
  /**
   * A stream whose queue has been too small for this long is moved to polling. Needs `pollUrl`. 0: never.
   * @defaultValue 30_000
   */
  readonly saturatedMs?: number
  /**
   * The bounds for all streams that share this object; made by `createPressure`.
   * @defaultValue one object for all streams of a `sseMiddleware` or multiplexer; none for `openStream`
   */
  readonly pressure?: Pressure
  /** Ends the stream when its token is revoked. Give the same object to `authenticate`. @defaultValue none */
  readonly revocations?: Revocations
  /**
   * How a stream is refused. `status`: 503 with `Retry-After`. `stream`: 200, `sse.reconnect` and the end of the
   * stream, for native EventSource, which never reconnects after another status. @defaultValue 'status'
   */
  readonly refuseWith?: 'status' | 'stream'
  /**
   * Whether Node's request and response stay in memory as long as the stream is open. With Express they are most of what
   * an idle stream costs. By default an HTTP/1.1 stream on GET has `Connection: close` and releases them a second
   * after it has opened, unless something listens to one of them or has wrapped a method (logging, tracing and session
   * middleware do). A handler that uses one of them later is not affected. @defaultValue false
   */
  readonly keepRequest?: boolean
  /** The largest event that `send` accepts, in bytes after encoding. @defaultValue 1_048_576 */
  readonly maxEventBytes?: number
  /** A clock for tests. @defaultValue the system's clock */
  readonly clock?: Clock
}

type WithoutDefault = 'expiresAt' | 'pacing' | 'pollUrl' | 'pressure' | 'revocations'

/** Checked options, with defaults. Many streams share one object. */
export type ResolvedStreamOptions = Readonly<Required<Omit<StreamOptions, WithoutDefault>>> & {
  readonly [name in 'expiresAt' | 'pollUrl']: StreamOptions[name] | undefined
} & {
  readonly pacing: PacingBuckets | undefined
  readonly pressure: ProcessPressure | undefined
  readonly revocations: StoreRevocations | undefined
  readonly whenBehind: WhenBehind
}

/** @throws InvalidOptionError */
export function resolveStreamOptions(options: StreamOptions): ResolvedStreamOptions {
  rejectFormerName(options, 'backlog', 'queuePolicy')
  const { expiresAt } = options
  const queuePolicy = oneOf('queuePolicy', options.queuePolicy ?? 'replay', QUEUE_POLICIES)
  return {
    queuePolicy,
    whenBehind: queuePolicy === 'replay' || queuePolicy === 'disconnect' ? queuePolicy : 'queue',
    heartbeatMs: wholeNumber('heartbeatMs', options.heartbeatMs ?? 25_000, 0),
    heartbeatEvents: options.heartbeatEvents ?? false,
    retryMs: wholeNumber('retryMs', options.retryMs ?? 3000, 0),
    maxAgeMs: wholeNumber('maxAgeMs', options.maxAgeMs ?? 3_600_000, 0),
    expiresAt: expiresAt === undefined ? undefined : wholeNumber('expiresAt', expiresAt, 0),
    stallMs: wholeNumber('stallMs', options.stallMs ?? 30_000, 0),
    closeGraceMs: wholeNumber('closeGraceMs', options.closeGraceMs ?? 5000, 0),
    queueEvents: wholeNumber('queueEvents', options.queueEvents ?? 256, 0),
    queueBytes: wholeNumber('queueBytes', options.queueBytes ?? 262_144, 0),
    queueTtlMs: wholeNumber('queueTtlMs', options.queueTtlMs ?? 30_000, 1),
    ...resolveParts(options),
    pollUrl: options.pollUrl === undefined ? undefined : urlOption(options.pollUrl),
    saturatedMs: wholeNumber('saturatedMs', options.saturatedMs ?? 30_000, 0),
    refuseWith: oneOf('refuseWith', options.refuseWith ?? 'status', ['status', 'stream']),
    keepRequest: options.keepRequest ?? false,
    maxEventBytes: wholeNumber('maxEventBytes', options.maxEventBytes ?? MAX_EVENT_BYTES, 16),
    clock: options.clock ?? systemClock,
  }
}

/** Checks the objects that other functions of the kit create. */
function resolveParts({
  pacing,
  pressure,
  revocations,
}: StreamOptions): Pick<ResolvedStreamOptions, 'pacing' | 'pressure' | 'revocations'> {
  return {
    pacing: pacing === undefined ? undefined : pacingOption(pacing),
    pressure: pressure === undefined ? undefined : madeBy('createPressure', 'pressure', pressure, ProcessPressure),
    revocations: revocations === undefined ? undefined : revocationsOption(revocations),
  }
}

function urlOption<Url extends string | ((req: StreamRequest) => string)>(pollUrl: Url): Url {
  if (typeof pollUrl === 'function' || (typeof pollUrl === 'string' && pollUrl !== '')) return pollUrl
  throw new InvalidOptionError('pollUrl must be a non-empty string, or a function that returns one for a request')
}
