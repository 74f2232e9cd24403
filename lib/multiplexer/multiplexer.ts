/**
 * The kit's centre: publishes events to channels, and serves streams and polls on channels, over one connection to the
 * broker.
 *
 *   publish ─► encode once ─► broker ─► channel registry ─► readers ─► streams, polls
 *
 * Owns the life of a process's multiplexer: it is set up once, and closed in one order. `StreamOpener` and `PollOpener`
 * own how a stream or poll is opened.
 */
import type { Broker, PublishOptions } from '../broker/broker.js'
import { createBroker } from '../broker/create.js'
import { assertChannel, normalizeChannels } from '../core/channel-name.js'
import type { Clock } from '../core/clock.js'
import { InvalidEventError } from '../core/errors.js'
import type { SseEvent } from '../core/message.js'
import type { Position } from '../core/position.js'
import { systemClock } from '../core/system-clock.js'
import { resolveTracing } from '../core/tracing.js'
import { wholeNumber } from '../core/validation.js'
import { streamLimitsOption } from '../limits/streams/stream-limits.js'
import { resolveStreamOptions, type StreamOptions } from '../stream/options.js'
import { createPressure, type Pressure } from '../stream/pressure.js'
import type { PolledEvent } from '../wire/contract.js'
import { printCursor } from '../wire/cursor.js'
import { encodeBatch, encodePublished, MAX_EVENT_BYTES } from '../wire/encode.js'
import { acknowledge } from './ack.js'
import { ChannelRegistry } from './channel/registry.js'
import { Iterations } from './iteration.js'
import { type ChannelStreamStatus, OpenStreams } from './open-streams.js'
import type {
  ChannelsOf,
  MultiplexerOptions,
  MultiplexerStatus,
  PollOptions,
  ReadOptions,
  StreamHandler,
} from './options.js'
import { PollOpener, resolvePollOptions } from './poll-opener.js'
import { Publisher } from './publisher.js'
import { toHandler } from './requests.js'
import { Signals } from './signals.js'
import { StreamOpener } from './stream-opener.js'

/** Publishes to channels, and serves them as streams and polls. Made by `createMultiplexer`, once in a process. */
export interface Multiplexer {
  /** The bounds for all streams of this multiplexer: the option `stream.pressure`, or its own. */
  readonly pressure: Pressure
  /**
   * Makes a request handler that opens a stream on channels: `router.get('/orders', multiplexer.stream((req) => …))`.
   * The stream resumes from `Last-Event-ID` or `?last_event_id=`. Without either it begins at the head of each channel,
   * or with `?from=earliest`, or if all channels have ended, at the oldest event kept. An SseError before the stream is open is answered as
   * problem+json; any other error goes to `next`.
   * @param options override the multiplexer's `stream` options
   * @throws InvalidOptionError
   */
  stream(channelsOf: ChannelsOf, options?: StreamOptions): StreamHandler
  /**
   * Makes a request handler that answers with the events that `stream` would send, as JSON (`PollAnswer`), for clients
   * that cannot have a stream. The query `?cursor=` is the cursor of the last answer; without it the poll begins like a
   * stream. `?wait=` is how long the answer may wait for an event, in ms. Errors as with `stream`.
   * @throws InvalidOptionError
   */
  poll(channelsOf: ChannelsOf, options?: PollOptions): StreamHandler
  /**
   * Makes a request handler for `POST …/ack` with `{ stream, cursor, buffer?, latencyMs? }` as JSON: a client that
   * opened its stream with `?window=` acknowledges events to any process. `stream` is the id from `sse.open`, `cursor`
   * the `id` of the last event handled. Answers 204, or 202 if another process has the stream; 403 for a stream of
   * another user.
   */
  ack(): StreamHandler
  /**
   * Adds an event to a channel's log and sends it to the channel's streams in all processes.
   * @returns its position: `<epoch>-<offset>` is its id on the wire. An ephemeral event has offset 0.
   * @throws SseError `ERR_SSE_CHANNEL_INVALID`, `ERR_SSE_CHANNEL_ENDED`
   * @throws InvalidEventError
   * @throws BrokerError; after `ERR_SSE_BROKER_TIMEOUT` the event may have been published: use an `idempotencyKey` to
   * retry
   */
  publish(channel: string, event: SseEvent, options?: PublishOptions): Promise<Position>
  /**
   * Publishes up to 1,000 events, together up to eight times `maxEventBytes`, as one step: all of them enter the log,
   * adjacent and in this order, or none does. An `idempotencyKey` stands for all of them.
   * @returns their positions, in the order of the events
   * @throws as `publish`; the error names the index of an invalid event, and nothing is published
   */
  publishMany(channel: string, events: readonly SseEvent[], options?: PublishOptions): Promise<readonly Position[]>
  /**
   * Ends a channel for good, after the last event if one is given, as one step. Streams get all events up to the end and
   * then close with `completed`; polls answer `ended: true`; iterations are done. A client that comes later gets the
   * events that are kept, and the same end. A stream on several channels closes when all of them have ended. If the
   * channel has ended before, nothing changes. The end is remembered as long as the log (`metaTtlMs`).
   *
   * Later publishes fail with `ERR_SSE_CHANNEL_ENDED`. In Redis an event that is only ephemeral does not fail, and
   * reaches nobody.
   * @returns where the log ended
   * @throws as `publish`
   */
  end(channel: string, lastEvent?: SseEvent): Promise<Position>
  /**
   * Publishes without a result: for events of little value each, at rates where waiting for an answer costs. A later
   * failure is reported on the diagnostics channel `express-sse-kit:publish:error`.
   * @returns whether the event was accepted; `false` if the multiplexer is closed or too many events wait for Redis
   * @throws SseError `ERR_SSE_CHANNEL_INVALID`
   * @throws InvalidEventError
   */
  offer(channel: string, event: SseEvent): boolean
  /**
   * Reads the events of channels in this process, as a client reads them on a stream: first those that are kept, then
   * live ones. `for await (const { id, event, data } of multiplexer.read('orders:acme', { after: cursor }))`
   *
   * The items are those of a poll: `data` is the text on the wire, which is JSON unless the publisher gave a string;
   * `sse.gap` and `sse.reset` are items too. Keep the `id` of the last item that was handled, to continue `after` it.
   * The iteration begins when its first item is requested. It holds one page of events (256, 1 MiB): a slow program
   * delays nobody and loses nothing. If the broker is lost, it waits and then continues.
   * @returns an iterable that is read once, and ends with `break`, `return()` or `signal`. While the broker cannot be
   * reached at the beginning, and when the multiplexer is closed (`ERR_SSE_CLOSED`), the next item is rejected
   * @throws SseError `ERR_SSE_CHANNEL_INVALID`
   * @throws InvalidOptionError if `after` is not a cursor
   */
  read(channels: string | readonly string[], options?: ReadOptions): AsyncIterableIterator<PolledEvent>
  /**
   * The heads of the channels, as a cursor. Take the cursor, then load the data that a page shows, then open the stream
   * with `?last_event_id=<cursor>`: no event in between is missed.
   * @throws SseError `ERR_SSE_CHANNEL_INVALID`
   * @throws BrokerError
   */
  cursor(channels: string | readonly string[]): Promise<string>
  /** The state of this process, without a request to the broker. */
  status(): MultiplexerStatus
  /** The state of each stream on channels in this process. */
  inspect(): readonly ChannelStreamStatus[]
  /** Resolves if the broker serves requests now. @throws BrokerError */
  ping(): Promise<void>
  /**
   * Refuses new streams (503), ends all others with `sse.reconnect`, and closes the broker's connections. Idempotent:
   * only the first call counts. Stop accepting connections before it.
   * @throws InvalidOptionError
   */
  close(options?: {
    /**
     * Over how long the ends of the streams are spread, in ms, so that clients do not reconnect all at once. Events
     * published meanwhile still arrive. 0: all at once. @defaultValue 0
     */
    readonly windowMs?: number
  }): Promise<void>
}

/** The multiplexer of one process. */
export class ProcessMultiplexer implements Multiplexer {
  readonly pressure: Pressure
  readonly #broker: Broker
  readonly #registry: ChannelRegistry
  readonly #publisher: Publisher
  readonly #streamDefaults: StreamOptions
  readonly #maxEventBytes: number
  readonly #streams: OpenStreams
  readonly #streamOpener: StreamOpener
  readonly #pollOpener: PollOpener
  readonly #iterations: Iterations
  readonly #signals: Signals
  /** Remove the listeners that the constructor added. */
  readonly #unsubscribe: readonly ((() => void) | undefined)[]
  #closing: Promise<void> | undefined

  constructor(broker: Broker, options: MultiplexerOptions, clock: Clock) {
    const { streamLimits } = options
    const tracing = resolveTracing(options.tracing)
    const limits = streamLimits === undefined ? undefined : streamLimitsOption('streamLimits', streamLimits)
    const isClosing = (): boolean => this.#closing !== undefined
    this.#broker = broker
    this.#publisher = new Publisher(broker, tracing)
    this.#maxEventBytes = wholeNumber('maxEventBytes', options.maxEventBytes ?? MAX_EVENT_BYTES, 16)
    this.pressure = options.stream?.pressure ?? createPressure({ clock })
    this.#streamDefaults = { clock, ...options.stream, pressure: this.pressure }
    const { revocations } = resolveStreamOptions(this.#streamDefaults)
    const streams = new OpenStreams(clock, tracing)
    const registry = new ChannelRegistry(broker, clock, {
      tailBytes: wholeNumber('tailBytes', options.tailBytes ?? 262_144, 0),
      tailEntries: wholeNumber('tailEntries', options.tailEntries ?? 1024, 0),
      lingerMs: wholeNumber('lingerMs', options.lingerMs ?? 10_000, 0),
      tracing,
    })
    this.#streams = streams
    this.#registry = registry
    this.#iterations = new Iterations(registry)
    const maxWindow = wholeNumber('maxWindow', options.maxWindow ?? 1000, 0)
    const { processId } = broker
    this.#streamOpener = new StreamOpener({ processId, clock, registry, streams, limits, maxWindow, isClosing })
    this.#pollOpener = new PollOpener({ clock, registry, pressure: this.pressure, revocations, isClosing })
    this.#signals = new Signals(broker, {
      onAck: (ack) => streams.acknowledge(ack),
      onEvict: (stream) => limits?.evict(stream),
      onRevoke: (revocation) => revocations?.apply(revocation),
    })
    this.#unsubscribe = [
      revocations?.onRevoke((revocation) => this.#signals.broadcastRevoke(revocation)),
      limits?.onEvictRemote((stream) => this.#signals.broadcastEvict(stream)),
    ]
    if (revocations || limits) this.#signals.listen()
  }

  stream(channelsOf: ChannelsOf, options: StreamOptions = {}): StreamHandler {
    const resolved = resolveStreamOptions({ ...this.#streamDefaults, ...options })
    this.#signals.listen()
    return toHandler((exchange, req, res) => this.#streamOpener.open(exchange, req, res, channelsOf, resolved))
  }

  poll(channelsOf: ChannelsOf, options: PollOptions = {}): StreamHandler {
    const resolved = resolvePollOptions(options)
    return toHandler((exchange, req, res) => this.#pollOpener.open(exchange, req, res, channelsOf, resolved))
  }

  ack(): StreamHandler {
    return toHandler((exchange, req, res) =>
      acknowledge(exchange, req, res, {
        processId: this.#broker.processId,
        acknowledgeHere: (ack) => this.#streams.acknowledge(ack),
        forward: (processId, ack) => this.#signals.sendAck(processId, ack),
      }),
    )
  }

  async publish(channel: string, event: SseEvent, options: PublishOptions = {}): Promise<Position> {
    assertChannel(channel)
    assertPublishOptions(options)
    const [position] = await this.#publisher.publish(channel, [encodePublished(event, this.#maxEventBytes)], options)
    return position as Position
  }

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

  async end(channel: string, lastEvent?: SseEvent): Promise<Position> {
    assertChannel(channel)
    const last = lastEvent === undefined ? undefined : encodePublished(lastEvent, this.#maxEventBytes)
    return this.#publisher.end(channel, last)
  }

  offer(channel: string, event: SseEvent): boolean {
    assertChannel(channel)
    return this.#publisher.offer(channel, encodePublished(event, this.#maxEventBytes))
  }

  read(channels: string | readonly string[], options: ReadOptions = {}): AsyncIterableIterator<PolledEvent> {
    return this.#iterations.create(normalizeChannels(channels), options)
  }

  async cursor(channels: string | readonly string[]): Promise<string> {
    return printCursor(await this.#broker.heads(normalizeChannels(channels)))
  }

  status(): MultiplexerStatus {
    const { kind, state } = this.#broker
    return { broker: kind, state, streams: this.#streams.size, channels: this.#registry.size }
  }

  inspect(): readonly ChannelStreamStatus[] {
    return this.#streams.status()
  }

  ping(): Promise<void> {
    return this.#broker.ping()
  }

  close({ windowMs = 0 }: { readonly windowMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(wholeNumber('windowMs', windowMs, 0))
    return this.#closing
  }

  async #close(windowMs: number): Promise<void> {
    this.#pollOpener.close()
    this.#iterations.close()
    await this.#streams.drain(windowMs)
    for (const unsubscribe of this.#unsubscribe) unsubscribe?.()
    this.#registry.close()
    await this.#broker.close()
  }
}

const MAX_IDEMPOTENCY_KEY = 256

/** @throws InvalidEventError */
function assertPublishOptions({ idempotencyKey: key }: PublishOptions): void {
  if (key === undefined) return
  if (typeof key === 'string' && key !== '' && key.length <= MAX_IDEMPOTENCY_KEY && key.isWellFormed()) return
  throw new InvalidEventError(
    'ERR_SSE_EVENT_INVALID',
    `idempotencyKey must be a well-formed string of 1 to ${MAX_IDEMPOTENCY_KEY} characters`,
  )
}

/**
 * Creates the multiplexer: embedded in this process, or with `redis` shared by all processes on one Redis. With Redis
 * it opens two connections, for any number of channels and streams.
 * @throws InvalidOptionError
 */
export function createMultiplexer(options: MultiplexerOptions = {}): Multiplexer {
  const { clock = systemClock } = options
  return new ProcessMultiplexer(createBroker(options, clock), options, clock)
}
