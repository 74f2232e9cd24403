/**
 * request ─► **stream opener** ─► stream reader ─► stream. Owns the one order in which a stream on channels is opened:
 *
 *   1. check      `assertOpenable`: the response, the method, pressure. Nothing is held yet
 *   2. channels   `channelsOf` names them; the request's body is discarded
 *   3. params     cursor, `from`, `window`
 *   4. lease      a place among the streams that may be open
 *   5. subscribe  the channels are open in this process and include the cursor's positions
 *   6. begin      without a pause: positions, `beginStream` (check again, headers), reader, first block, first entries
 *
 * A step that fails releases what the steps before it hold, and the stream is refused. After each wait the exchange may
 * be over, the process may be closing, and the lease may be lost; step 6 checks all of these.
 */
import type { Auth } from '../core/auth.js'
import type { Clock } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { BrokerError, SseError } from '../core/errors.js'
import { authOf } from '../http/auth-of.js'
import { discardBody } from '../http/body.js'
import type { AnyResponse, Exchange } from '../http/exchange.js'
import { HttpRequester, type StreamRequest } from '../http/requester.js'
import type { LeasedStream, LossReason, StreamLease } from '../limits/streams/lease.js'
import type { StreamLeases } from '../limits/streams/stream-limits.js'
import { assertOpenable, beginStream } from '../stream/open-stream.js'
import type { ResolvedStreamOptions } from '../stream/options.js'
import type { SseStream } from '../stream/sse-stream.js'
import { streamId } from './ack.js'
import type { Channel } from './channel/channel.js'
import type { ChannelRegistry } from './channel/registry.js'
import type { OpenStreams } from './open-streams.js'
import type { ChannelsOf } from './options.js'
import type { ReaderUser } from './reader/log-reader.js'
import { resumePositions } from './reader/resume.js'
import { StreamReader } from './reader/stream-reader.js'
import { channelNames, closeReasonOf, type StreamParams, streamParams } from './requests.js'

const NO_CHANNELS: readonly Channel[] = []

/** What a stream on channels holds until it is closed: its lease, and a reference to each channel. */
class StreamResources implements LeasedStream, ReaderUser {
  readonly id: string
  readonly #options: StreamOpenerOptions
  #channels = NO_CHANNELS
  #stream: SseStream | undefined
  #lossReason: LossReason | undefined
  lease: StreamLease | undefined

  /** @param id the id of the stream */
  constructor(id: string, options: StreamOpenerOptions) {
    this.id = id
    this.#options = options
  }

  get channels(): readonly Channel[] {
    return this.#channels
  }

  /** Why the stream must not be open: it has lost its place. */
  get lossReason(): LossReason | undefined {
    return this.#lossReason
  }

  /** Adds a reference to each channel. */
  reference(names: readonly string[]): readonly Channel[] {
    this.#channels = this.#options.registry.reference(names)
    return this.#channels
  }

  /** The stream is open. */
  attach(stream: SseStream): void {
    this.#stream = stream
  }

  /** The stream has closed. */
  onReaderClosed(): void {
    if (this.#stream !== undefined) this.#options.streams.delete(this.#stream)
    this.release()
  }

  /** Releases everything. Idempotent. */
  release(): void {
    this.lease?.release()
    this.#options.registry.release(this.#channels)
    this.#channels = NO_CHANNELS
  }

  /** The stream has lost its place. */
  close(reason: LossReason): void {
    this.#lossReason = reason
    void this.#stream?.close(reason)
  }
}

export interface StreamOpenerOptions {
  readonly processId: string
  readonly clock: Clock
  readonly registry: ChannelRegistry
  readonly streams: OpenStreams
  readonly limits: StreamLeases | undefined
  readonly maxWindow: number
  readonly isClosing: () => boolean
}

export class StreamOpener {
  readonly #options: StreamOpenerOptions

  constructor(options: StreamOpenerOptions) {
    this.#options = options
  }

  /** @throws Error if the stream is refused with a status, or by the application (`channelsOf`) */
  async open(
    exchange: Exchange,
    req: StreamRequest,
    res: AnyResponse,
    channelsOf: ChannelsOf,
    options: ResolvedStreamOptions,
  ): Promise<void> {
    const { clock, limits, maxWindow, registry } = this.#options
    let resources: StreamResources | undefined
    let inChannelsOf = false
    try {
      const reason = assertOpenable(req, res, options, exchange)
      const auth = authOf(req)
      inChannelsOf = true
      const returned = channelNames(req, channelsOf, clock)
      const names = returned instanceof Promise ? await returned : returned
      inChannelsOf = false
      discardBody(req)
      if (reason !== undefined) {
        beginStream(req, res, options, { exchange, reason })
        return
      }
      const params = streamParams(req, options.whenBehind === 'replay' ? maxWindow : 0)
      resources = this.#resources(auth)
      this.#assertAccepting()
      if (limits) resources.lease = await limits.acquire(new HttpRequester(req), resources)
      if (exchange.over) return resources.release()
      const opening = registry.ready(resources.reference(names), params.cursor)
      if (opening !== undefined) await opening
      this.#begin(exchange, req, res, options, resources, params)
    } catch (error) {
      resources?.release()
      // `forbidden()` and the like are the application's answer, not a refusal by the kit.
      if (exchange.over || (inChannelsOf && closeReasonOf(error) === undefined)) throw error
      await refuse(exchange, req, res, options, error)
    }
  }

  #resources(auth: Auth | undefined): StreamResources {
    return new StreamResources(streamId(this.#options.processId, auth), this.#options)
  }

  /** Step 6. Synchronous, so that no entry can arrive between the positions and the reader. */
  #begin(
    exchange: Exchange,
    req: StreamRequest,
    res: AnyResponse,
    options: ResolvedStreamOptions,
    resources: StreamResources,
    { cursor, earliest, window }: StreamParams,
  ): void {
    const { streams } = this.#options
    const starts = resumePositions(resources.channels, cursor, earliest)
    this.#assertAccepting()
    const stream = beginStream(req, res, options, { id: resources.id, exchange, reason: resources.lossReason })
    if (stream.closeReason !== undefined) {
      resources.release()
      return
    }
    // From here on, the reader and the resources are closed with the stream, also if a diagnostics subscriber closes
    // it.
    const reader = new StreamReader(stream, starts, resources, window)
    resources.attach(stream)
    streams.add(stream, reader)
    stream.start(reader.announcedCursor, window)
    reader.begin()
    stream.uncork()
  }

  /** @throws BrokerError `ERR_SSE_CLOSED` */
  #assertAccepting(): void {
    if (this.#options.isClosing()) {
      throw new BrokerError('ERR_SSE_CLOSED', 'This process is shutting down and opens no streams')
    }
  }
}

/** Throws the error, or opens a stream that ends immediately if the route has `refuseWith: 'stream'`. */
async function refuse(
  exchange: Exchange,
  req: StreamRequest,
  res: AnyResponse,
  options: ResolvedStreamOptions,
  error: unknown,
): Promise<void> {
  if (diagnostics.streamRefused.hasSubscribers) {
    diagnostics.streamRefused.publish({ code: error instanceof SseError ? error.code : undefined })
  }
  const reason = options.refuseWith === 'stream' ? closeReasonOf(error) : undefined
  if (reason === undefined || res.headersSent) throw error
  await beginStream(req, res, options, { exchange, reason }).close(reason)
}
