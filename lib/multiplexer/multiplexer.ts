/**
 * The kit's centre: events published to channels, streams opened on channels, one connection behind all of them.
 *
 *   publish ─► encode once ─► broker ─► channel registry ─► readers ─► streams
 */

import { tokenExpired, tokenRevoked } from '../auth/refusals.js'
import type { StoreRevocations } from '../auth/revocations.js'
import type { Broker, PublishOptions } from '../broker/broker.js'
import { createBroker } from '../broker/create.js'
import type { Auth } from '../core/auth.js'
import { CALLBACK_TIMEOUT_MS, settle, toError } from '../core/callbacks.js'
import { assertChannel, normalizeChannels } from '../core/channel-name.js'
import type { Clock } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { BrokerError, InvalidEventError, SseError } from '../core/errors.js'
import type { SseEvent } from '../core/message.js'
import type { Position } from '../core/position.js'
import { systemClock } from '../core/system-clock.js'
import { wholeNumber } from '../core/validation.js'
import { authOf } from '../http/auth-of.js'
import { discardBody } from '../http/body.js'
import type { AnyResponse, Exchange } from '../http/exchange.js'
import { type Query, queryOf, requestedCursor } from '../http/query.js'
import { HttpRequester, type StreamRequest } from '../http/requester.js'
import { type StreamLeases, streamLimitsOption } from '../limits/streams/stream-limits.js'
import { assertOpenable, beginStream } from '../stream/open-stream.js'
import { type ResolvedStreamOptions, resolveStreamOptions, type StreamOptions } from '../stream/options.js'
import { createPressure, type Pressure } from '../stream/pressure.js'
import { endStreamOf } from '../stream/stream-of.js'
import { parseCursor, printCursor } from '../wire/cursor.js'
import { encodeBatch, encodePublished, MAX_EVENT_BYTES } from '../wire/encode.js'
import { acknowledge, streamId } from './ack.js'
import type { Channel } from './channel/channel.js'
import { ChannelRegistry } from './channel/registry.js'
import { Holdings } from './holdings.js'
import { type ChannelStreamStatus, OpenStreams } from './open-streams.js'
import type { ChannelRequest, ChannelsOf, MultiplexerOptions, MultiplexerStatus, StreamHandler } from './options.js'
import { beginPoll, type Poll, type PollOptions, pauseOf, resolvePollOptions, waitOf } from './poll.js'
import { Publisher } from './publisher.js'
import type { Start } from './reader/positions.js'
import { Reader } from './reader/reader.js'
import { startsOf } from './reader/resume.js'
import { type Asked, answering, askedBy, beginsEarliest, closeReasonOf } from './requests.js'
import { parseSignal, printSignal, type Signal } from './signals.js'

/** Publishes to channels, and serves them as streams and polls. Made by `createMultiplexer`, once in a process. */
export class Multiplexer {
  readonly #broker: Broker
  readonly #registry: ChannelRegistry
  readonly #publisher: Publisher
  readonly #streamDefaults: StreamOptions
  readonly #maxEventBytes: number
  readonly #maxWindow: number
  readonly #clock: Clock
  readonly #streams: OpenStreams
  readonly #polls = new Set<Poll>()
  readonly #limits: StreamLeases | undefined
  readonly #revocations: StoreRevocations | undefined
  /** Undo what the constructor subscribed to. */
  readonly #unsubscribe: readonly ((() => void) | undefined)[]
  #listening = false
  #closing: Promise<void> | undefined

  /** Bounds for all streams, unless `stream.pressure` gave another one. */
  readonly pressure: Pressure

  /** @internal Use `createMultiplexer`. */
  constructor(broker: Broker, options: MultiplexerOptions, clock: Clock) {
    this.#broker = broker
    this.#publisher = new Publisher(broker, options.tracing)
    this.#streams = new OpenStreams(clock, options.tracing)
    this.#registry = new ChannelRegistry(broker, clock, {
      tailBytes: wholeNumber('tailBytes', options.tailBytes ?? 262_144, 0),
      tailEntries: wholeNumber('tailEntries', options.tailEntries ?? 1024, 0),
      lingerMs: wholeNumber('lingerMs', options.lingerMs ?? 10_000, 0),
      tracing: options.tracing,
    })
    this.#clock = clock
    this.#maxEventBytes = wholeNumber('maxEventBytes', options.maxEventBytes ?? MAX_EVENT_BYTES, 16)
    this.#maxWindow = wholeNumber('maxWindow', options.maxWindow ?? 1000, 0)
    this.pressure = options.stream?.pressure ?? createPressure({ clock })
    this.#streamDefaults = { clock, ...options.stream, pressure: this.pressure }
    this.#revocations = resolveStreamOptions(this.#streamDefaults).revocations
    this.#limits = options.streamLimits && streamLimitsOption('streamLimits', options.streamLimits)
    this.#unsubscribe = [
      this.#revocations?.onRevoke((revoked) => this.#tell({ revoked })),
      this.#limits?.onEvictRemote((evict) => this.#tell({ evict })),
    ]
    if (this.#revocations || this.#limits) this.#listen()
  }

  /**
   * A request handler that opens a stream on channels: `router.get('/orders', multiplexer.stream((req) => …))`. The stream
   * resumes from `Last-Event-ID` or `?last_event_id=`; without either it begins at the head, or with `?from=earliest` at
   * the oldest event kept. An SseError before the stream is open is answered as problem+json; any other goes to `next`.
   * @param options override the multiplexer's `stream` options
   * @throws InvalidOptionError
   */
  stream(channelsOf: ChannelsOf, options: StreamOptions = {}): StreamHandler {
    const resolved = resolveStreamOptions({ ...this.#streamDefaults, ...options })
    this.#listen()
    return answering((exchange, req, res) => this.#open(exchange, req, res, channelsOf, resolved))
  }

  /**
   * A request handler that answers with what `stream` would send, as JSON (`PollAnswer`): for clients that cannot have a
   * stream. Takes `?cursor=` (else `Last-Event-ID`, else the head, or with `?from=earliest` the oldest event kept), and
   * `?wait=`: how long the answer may wait for an event, in ms. Errors as with `stream`.
   * @throws InvalidOptionError
   */
  poll(channelsOf: ChannelsOf, options: PollOptions = {}): StreamHandler {
    const resolved = resolvePollOptions(options)
    return answering(async (exchange, req, res) => {
      await exchange.turn()
      if (exchange.over) return
      const auth = authOf(req)
      const names = await this.#namesFor(req, channelsOf)
      discardBody(req)
      const query = queryOf(req)
      const cursor = parseCursor(query.get('cursor') ?? requestedCursor(req.headers, query))
      const leftMs = auth && auth.expiresAt - this.#clock.wallTime()
      const parameters = {
        ...resolved,
        waitMs: this.#closing ? 0 : waitOf(query, resolved, leftMs),
        pausedMs: () =>
          Math.max(this.pressure.pauseLeftMs, pauseOf(query, this.#clock.wallTime(), this.pressure.pauseMs)),
      }
      const channels = await this.#registry.acquire(names, cursor)
      const release = (): void => this.#registry.release(channels)
      if (exchange.over) return release()
      const starts = this.#startsOfPoll(channels, cursor, query, auth)
      const poll = beginPoll(exchange, res, starts, parameters, this.#clock, release)
      const watched = { auth, close: () => poll.end(tokenRevoked()) }
      this.#polls.add(poll)
      this.#revocations?.watch(watched)
      // `close` may have been called while the channels were opened.
      if (this.#closing) poll.end()
      await poll.done.finally(() => {
        this.#polls.delete(poll)
        this.#revocations?.unwatch(watched)
      })
    })
  }

  /**
   * A request handler for `POST …/ack` with `{ stream, cursor, buffer?, latencyMs? }` as JSON: how clients that opened their
   * stream with `?window=` say what they have handled, to any process. `stream` is what `sse.open` said, `cursor` the
   * `id` of the last event handled. Answers 204, or 202 if another process has the stream; 403 for another user's.
   */
  ack(): StreamHandler {
    return answering((exchange, req, res) =>
      acknowledge(exchange, req, res, {
        processId: this.#broker.processId,
        here: (ack) => this.#streams.acknowledge(ack),
        there: async (processId, ack) => (await this.#broker.signal(processId, printSignal({ ack }))) > 0,
      }),
    )
  }

  /**
   * Adds an event to a channel's log and sends it to the channel's streams in all processes.
   * @returns its position: `<epoch>-<offset>` is its id on the wire. An ephemeral event has offset 0.
   * @throws SseError `ERR_SSE_CHANNEL_INVALID`
   * @throws InvalidEventError
   * @throws BrokerError; with `ERR_SSE_BROKER_TIMEOUT` it may have been published: give an `idempotencyKey` to try again
   */
  async publish(channel: string, event: SseEvent, options: PublishOptions = {}): Promise<Position> {
    assertChannel(channel)
    assertPublishOptions(options)
    const [position] = await this.#publisher.publish(channel, [encodePublished(event, this.#maxEventBytes)], options)
    return position as Position
  }

  /**
   * Publishes up to 1,000 events, together up to eight times `maxEventBytes`, as one step: all of them enter the log,
   * next to each other and in this order, or none does. An `idempotencyKey` stands for all of them.
   * @returns their positions, in the order of the events
   * @throws as `publish`; an event that is wrong is named by its index, and nothing is published
   */
  async publishMany(
    channel: string,
    events: readonly SseEvent[],
    options: PublishOptions = {},
  ): Promise<readonly Position[]> {
    assertChannel(channel)
    assertPublishOptions(options)
    const encoded = encodeBatch(events, this.#maxEventBytes)
    return encoded.length === 0 ? [] : this.#publisher.publish(channel, encoded, options)
  }

  /**
   * Publishes and forgets: for events of which each alone matters little, at rates where waiting for an answer costs.
   * What fails later is reported on the diagnostics channel `express-sse-kit:publish:error`.
   * @returns whether it was taken: `false` if the multiplexer is closed or too much waits for Redis
   * @throws SseError `ERR_SSE_CHANNEL_INVALID`
   * @throws InvalidEventError
   */
  offer(channel: string, event: SseEvent): boolean {
    assertChannel(channel)
    return this.#publisher.offer(channel, encodePublished(event, this.#maxEventBytes))
  }

  /**
   * Where the channels stand now, as a cursor. Take it, then load what a page shows, then open the stream from it with
   * `?last_event_id=`: nothing that happens in between is missed.
   * @throws SseError `ERR_SSE_CHANNEL_INVALID`
   * @throws BrokerError
   */
  async cursor(channels: string | readonly string[]): Promise<string> {
    return printCursor(await this.#broker.heads(normalizeChannels(channels)))
  }

  /** What is going on in this process, without asking the broker. */
  status(): MultiplexerStatus {
    const { kind, state } = this.#broker
    return { broker: kind, state, streams: this.#streams.size, channels: this.#registry.size }
  }

  /** Every stream on channels in this process, as it is now. */
  inspect(): readonly ChannelStreamStatus[] {
    return this.#streams.status()
  }

  /** Resolves if the broker serves now. @throws BrokerError */
  ping(): Promise<void> {
    return this.#broker.ping()
  }

  /**
   * Refuses new streams (503), ends all others with `sse.reconnect`, and then closes the broker's connections. Idempotent: the
   * first call counts. Stop accepting connections before it.
   * @throws InvalidOptionError
   */
  close({
    windowMs = 0,
  }: {
    /**
     * Over how long the ends are spread, in ms, so that clients do not come back all at once. What is published
     * meanwhile still arrives. 0: all at once. @defaultValue 0
     */
    readonly windowMs?: number
  } = {}): Promise<void> {
    this.#closing ??= this.#close(wholeNumber('windowMs', windowMs, 0))
    return this.#closing
  }

  async #open(
    exchange: Exchange,
    req: StreamRequest,
    res: AnyResponse,
    channelsOf: ChannelsOf,
    options: ResolvedStreamOptions,
  ): Promise<void> {
    const reason = openable(req, res, options, exchange)
    const auth = authOf(req)
    let names: readonly string[]
    try {
      const given = this.#namesFor(req, channelsOf)
      names = given instanceof Promise ? await given : given
      discardBody(req)
    } catch (error) {
      if (exchange.over || closeReasonOf(error) === undefined) throw error
      return this.#refuse(exchange, req, res, options, streamId(this.#broker.processId, auth), error)
    }
    if (reason !== undefined) {
      beginStream(req, res, options, { exchange })
      return
    }
    const asked = askedBy(req, this.#maxWindow, options.replays)
    const holdings = new Holdings(streamId(this.#broker.processId, auth), this.#registry)
    try {
      this.#assertOpen()
      if (this.#limits) holdings.lease = await this.#limits.acquire(new HttpRequester(req), holdings)
      if (exchange.over) return holdings.release()
      holdings.channels = this.#registry.take(names)
      const opening = this.#registry.ready(holdings.channels, asked.cursor)
      if (opening !== undefined) await opening
      this.#begin(exchange, req, res, options, holdings, asked)
    } catch (error) {
      holdings.release()
      if (exchange.over) return
      await this.#refuse(exchange, req, res, options, holdings.id, error)
    }
  }

  /** As `#begin`: nothing can happen between this and the poll. Gives the channels back if there is to be none. */
  #startsOfPoll(
    channels: readonly Channel[],
    cursor: readonly Position[] | undefined,
    query: Query,
    auth: Auth | undefined,
  ): readonly Start[] {
    try {
      this.#revocations?.assertNotRevoked(auth)
      // A stream would end at once. 0: never, as for streams.
      if (auth?.expiresAt && this.#clock.wallTime() >= auth.expiresAt) throw tokenExpired()
      return startsOf(channels, cursor, beginsEarliest(query))
    } catch (error) {
      this.#registry.release(channels)
      throw error
    }
  }

  /**
   * What the application says. Without a promise where it answers at once: it shows when many streams open (bench `join`).
   * @throws Error what `channelsOf` throws
   * @throws SseError `ERR_SSE_CHANNEL_INVALID`; `ERR_SSE_CALLBACK_TIMEOUT` if it does not settle within 10 s
   */
  #namesFor(req: StreamRequest, channelsOf: ChannelsOf): readonly string[] | Promise<readonly string[]> {
    let given: ReturnType<ChannelsOf>
    try {
      given = channelsOf(req as unknown as ChannelRequest)
    } catch (error) {
      throw toError('channelsOf', error)
    }
    if (typeof given === 'string' || Array.isArray(given)) return normalizeChannels(given)
    const bounds = { clock: this.#clock, timeoutMs: CALLBACK_TIMEOUT_MS }
    return settle('channelsOf', () => given, bounds).then(normalizeChannels)
  }

  /** Finds where the stream begins and lets it begin there at once, so that no entry can slip in between. */
  #begin(
    exchange: Exchange,
    req: StreamRequest,
    res: AnyResponse,
    options: ResolvedStreamOptions,
    holdings: Holdings,
    asked: Asked,
  ): void {
    const { cursor, earliest, window } = asked
    const starts = startsOf(holdings.channels, cursor, earliest)
    this.#assertOpen()
    if (holdings.lost !== undefined) endStreamOf(res, holdings.lost)
    const stream = beginStream(req, res, options, { id: holdings.id, exchange })
    if (stream.closeReason !== undefined) {
      holdings.release()
      return
    }
    const onClosed = (): void => {
      this.#streams.delete(stream)
      holdings.release()
    }
    const reader = new Reader(stream, starts, onClosed, window)
    this.#streams.add(stream, reader)
    stream.start(reader.announcedCursor, window)
    reader.begin()
    stream.uncork()
    holdings.attach(stream)
  }

  /** Says no by throwing the error on, or with a stream that ends at once. */
  async #refuse(
    exchange: Exchange,
    req: StreamRequest,
    res: AnyResponse,
    options: ResolvedStreamOptions,
    id: string,
    error: unknown,
  ): Promise<void> {
    reportRefusal(error)
    const reason = options.refuseWith === 'stream' ? closeReasonOf(error) : undefined
    if (reason === undefined || res.headersSent) throw error
    await beginStream(req, res, options, { id, exchange }).close(reason)
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new BrokerError('ERR_SSE_CLOSED', 'This process is going down')
  }

  /** Says something to all processes. What is lost is found out by each of them in time. */
  #tell(signal: Signal): void {
    this.#broker.signal(undefined, printSignal(signal)).catch(reportSignal)
  }

  /** Signals are about streams: a process that only publishes opens no connection to hear them. */
  #listen(): void {
    if (this.#listening) return
    this.#listening = true
    this.#broker.onSignal((text) => this.#onSignal(text))
  }

  #onSignal(text: string): void {
    try {
      const signal = parseSignal(text)
      if ('ack' in signal) this.#streams.acknowledge(signal.ack)
      else if ('evict' in signal) this.#limits?.evict(signal.evict)
      else this.#revocations?.apply(signal.revoked)
    } catch (error) {
      reportSignal(error)
    }
  }

  async #close(windowMs: number): Promise<void> {
    for (const poll of this.#polls) poll.end()
    await this.#streams.drain(windowMs)
    for (const unsubscribe of this.#unsubscribe) unsubscribe?.()
    this.#registry.close()
    await this.#broker.close()
  }
}

const MAX_IDEMPOTENCY_KEY = 256

/** @throws InvalidEventError */
function assertPublishOptions({ idempotencyKey: key }: PublishOptions): void {
  if (key === undefined || (typeof key === 'string' && key !== '' && key.length <= MAX_IDEMPOTENCY_KEY)) return
  throw new InvalidEventError(
    'ERR_SSE_EVENT_INVALID',
    `idempotencyKey must be a string of 1 to ${MAX_IDEMPOTENCY_KEY} characters`,
  )
}

/** See `assertOpenable`. */
function openable(...request: Parameters<typeof assertOpenable>): ReturnType<typeof assertOpenable> {
  try {
    return assertOpenable(...request)
  } catch (error) {
    reportRefusal(error)
    throw error
  }
}

function reportRefusal(error: unknown): void {
  if (!diagnostics.streamRefused.hasSubscribers) return
  diagnostics.streamRefused.publish({ code: error instanceof SseError ? error.code : undefined })
}

function reportSignal(error: unknown): void {
  if (diagnostics.brokerError.hasSubscribers) diagnostics.brokerError.publish({ operation: 'signal', error })
}

/**
 * Makes the multiplexer: embedded in this process, or with `redis` over all processes on one Redis. With Redis it opens
 * two connections, whatever the number of channels and streams.
 * @throws InvalidOptionError
 */
export function createMultiplexer(options: MultiplexerOptions = {}): Multiplexer {
  const { clock = systemClock } = options
  return new Multiplexer(createBroker(options, clock), options, clock)
}
