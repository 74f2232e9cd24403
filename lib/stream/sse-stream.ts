/**
 * … ─► **stream**: the life of one open SSE response. Owns how it opens and closes: the first block, heartbeats,
 * maximum age, the token's end, revocation, the last control events, and the clean-up, each exactly once. What it
 * writes is in `StreamOutput`. Must not know channels or brokers: a `StreamSource` that has them attaches itself.
 *
 * ```
 *   open ──close(reason)──► closing: last control event, end() ──exchange is over──► closed
 *                              └── closeGraceMs ──► destroy() ───────────────────────┘
 * ```
 * If the application ends the response itself, the stream closes without a last control event.
 */
import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { WritableStream } from 'node:stream/web'
import { outsideContext } from '../core/async-context.js'
import type { Auth } from '../core/auth.js'
import type { Timer } from '../core/clock.js'
import { CLOSE_REASONS, type CloseReason } from '../core/close-reasons.js'
import { diagnostics } from '../core/diagnostics.js'
import { InvalidOptionError } from '../core/errors.js'
import type { SseEvent } from '../core/message.js'
import { addressOf, knownAddressOf } from '../http/address.js'
import { authOf } from '../http/auth-of.js'
import { type AnyResponse, Exchange, type StreamResponse } from '../http/exchange.js'
import { cursorOrigin } from '../http/query.js'
import { HttpRequester, type StreamRequest } from '../http/requester.js'
import { openText } from '../wire/control.js'
import { encodeOwnEvent } from '../wire/encode.js'
import { closingBlocks, DISCARDING } from './closing.js'
import { Deadlines } from './deadlines.js'
import type { EventStream, StreamStatus } from './event-stream.js'
import { type SendAllOptions, type SendAllResult, type SendAllSource, sendAll, writableOf } from './feed.js'
import type { ResolvedStreamOptions } from './options.js'
import { StreamOutput } from './output.js'
import { streamOf } from './stream-of.js'

/**
 * When the request of a stream is released, in ms. Not while thousands of clients reconnect, which is work enough (bench
 * `join`), nor for a stream that ends soon.
 */
const RELEASE_MS = 1000

/** The time for the rest of a completed stream if no client counts as stalled (`stallMs: 0`), in ms. */
const COMPLETED_GRACE_MS = 30_000

/** How a stream is opened, in addition to its options. */
export interface Opening {
  /** @defaultValue a random UUID */
  readonly id?: string | undefined
  readonly pollUrl?: string | undefined
  /** The socket, if it is corked: until `uncork`, or the end of the stream. */
  readonly corked?: Socket | undefined
  /** @defaultValue a new one */
  readonly exchange?: Exchange
  /** A set that has the stream until it begins to close. */
  readonly openStreams?: Set<SseStream> | undefined
}

/** The implementation of `EventStream`. */
export class SseStream extends StreamOutput implements EventStream {
  readonly id: string
  readonly auth: Auth | undefined
  /** The request. Once it has been released: the address of its client, unless that is the socket's. */
  #from: StreamRequest | string | undefined
  readonly #pollUrl: string | undefined
  readonly #openStreams: Set<SseStream> | undefined
  readonly #openedAt: number
  #deadlines: Deadlines | undefined
  /** Until the request is released. When the stream closes: until the exchange is destroyed. */
  #timer: Timer | undefined
  #abort: AbortController | undefined
  #writable: WritableStream<SseEvent> | undefined
  /** What `close` has returned. */
  #closed: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined
  #over = false

  /** The caller has sent the headers: use `res.sse()`, `openStream` or a multiplexer. */
  constructor(req: StreamRequest, res: AnyResponse, options: ResolvedStreamOptions, opening: Opening = {}) {
    super(res, new HttpRequester(req), opening.exchange ?? new Exchange(req, res), options, opening.corked)
    this.id = opening.id ?? randomUUID()
    this.auth = authOf(req)
    this.#from = req
    this.#pollUrl = opening.pollUrl
    this.#openStreams = opening.openStreams
    // Whole, see `Deadlines`.
    this.#openedAt = Math.floor(options.clock.now())
    options.pressure?.join(this)
    this.exchange.onOver(() => this.onExchangeOver())
    res.on('error', reportError)
    this.exchange.onEnded(reportEnd)
    this.#openStreams?.add(this)
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      // A HEAD request closes its stream before the route can add a listener.
      if (this.closing !== undefined) setImmediate(abort, this.#abort, this.closing)
    }
    return this.#abort.signal
  }

  get closeReason(): CloseReason | undefined {
    return this.closing
  }

  get canPoll(): boolean {
    return this.#pollUrl !== undefined
  }

  status(): StreamStatus {
    const { sent, queued, queuedBytes, full } = this.counts()
    return {
      auth: this.auth,
      ip: this.#ip,
      id: this.id,
      ageMs: this.#ageMs(),
      sent,
      dropped: this.dropped,
      queued,
      queuedBytes,
      full,
      tokens: this.tokens,
    }
  }

  describe(details: object): object {
    const addressOfClient = (): string | undefined => this.#ip
    const message = {
      stream: this.id,
      auth: this.auth,
      // An own property, so that copies of the message have it.
      get ip() {
        return addressOfClient()
      },
    }
    return Object.assign(message, details)
  }

  moveToPolling(): void {
    void this.close('overloaded')
  }

  /**
   * Sends the first block and starts the timers.
   * @param cursor the position where the stream starts in its logs, if it has any
   * @param window how many events the stream may send beyond the acknowledged ones, if the client has set that
   */
  start(cursor?: string, window?: number): void {
    const { clock, heartbeatMs, retryMs, maxAgeMs } = this.options
    this.writeOpening(openText({ stream: this.id, heartbeatMs, window }, retryMs, cursor))
    const expiresAt = this.options.expiresAt ?? this.auth?.expiresAt
    this.options.revocations?.watch(this)
    this.#deadlines = new Deadlines(this, { clock, heartbeatMs, maxAgeMs, expiresAt })
    if (diagnostics.streamOpen.hasSubscribers && typeof this.#from === 'object') {
      const cursor = cursorOrigin(this.#from)
      diagnostics.streamOpen.publish(this.describe({ cursor, source: this }))
    }
    if (!this.options.keepRequest) this.#timer = clock.after(RELEASE_MS, () => this.#releaseRequest())
    // The token may have expired while the stream was being opened.
    if (expiresAt && clock.wallTime() >= expiresAt) void this.close('expired')
  }

  close(reason: CloseReason = 'ended'): Promise<void> {
    if (!Object.hasOwn(CLOSE_REASONS, reason)) {
      throw new InvalidOptionError(`close() needs one of the reasons ${Object.keys(CLOSE_REASONS).join(', ')}`)
    }
    if (this.closing === undefined) this.#close(reason)
    if (this.#over) return Promise.resolve()
    this.#closed ??= withResolver()
    return this.#closed.promise
  }

  sendAll(events: SendAllSource, options?: SendAllOptions): Promise<SendAllResult> {
    return sendAll(this, events, options)
  }

  get writable(): WritableStream<SseEvent> {
    this.#writable ??= writableOf(this)
    return this.#writable
  }

  async end(event?: SseEvent): Promise<void> {
    // Immediately if possible, so that it precedes what the caller does next.
    const sent = event === undefined ? this.ready : this.trySend(encodeOwnEvent(event, this.maxEventBytes))
    if (!sent) await (event === undefined ? this.drained() : sendAll(this, [event]))
    await this.close('completed')
  }

  /** Closes a stream whose response has no body. */
  closeEmpty(reason: CloseReason): void {
    this.#cleanUp(reason)
    this.endResponse()
    this.#boundClosing()
  }

  /** The application has ended the response. */
  onResponseEnd(): void {
    if (this.closing !== undefined) return
    this.#cleanUp('ended')
    this.release()
    this.#boundClosing()
  }

  /** Frees the memory of the request and the response, if nothing else uses them. */
  #releaseRequest(): void {
    this.#timer = undefined
    const from = this.#from
    if (this.closing !== undefined || typeof from !== 'object') return
    // A socket that is corked is not released.
    this.uncork()
    let address: string | undefined
    try {
      address = knownAddressOf(from)
    } catch {
      // The application's `trust proxy` function or its own `req.ip` throws, and must do so only where it is read.
      return
    }
    const res = this.exchange.release(this)
    if (res === undefined) return
    this.setResponse(res)
    this.#from = address === this.exchange.socket.remoteAddress ? undefined : address
  }

  /** See `ExchangeUser`. */
  onRestore(req: StreamRequest, res: AnyResponse): void {
    this.#from = req
    this.setResponse(res)
  }

  onExchangeOver(): void {
    if (this.#over) return
    this.#over = true
    this.release()
    if (this.closing === undefined) this.#cleanUp(this.res.writableEnded ? 'ended' : 'client_gone')
    this.#timer?.cancel()
    this.#closed?.resolve()
  }

  #close(reason: CloseReason): void {
    if (this.exchange.over) {
      this.onExchangeOver()
      return
    }
    if (!DISCARDING.includes(reason)) this.flushQueue()
    this.reportDrops(true)
    // These writes may have found that the response has ended.
    if (this.closeReason !== undefined) return
    this.#cleanUp(reason)
    this.#writeClosingBlocks(reason)
    this.endResponse()
    this.#boundClosing()
  }

  #writeClosingBlocks(reason: CloseReason): void {
    const { retryMs, pressure, clock } = this.options
    const pauseMs = pressure?.pauseMs ?? retryMs
    for (const blocks of closingBlocks(reason, { retryMs, pauseMs, pollUrl: this.#pollUrl, now: clock.wallTime() })) {
      this.writeControl(blocks)
    }
  }

  /** Destroys the exchange if it is not over in time, whatever the client does. */
  #boundClosing(): void {
    this.#timer = this.options.clock.after(this.#graceMs, () => {
      this.exchange.destroy()
      this.onExchangeOver()
    })
  }

  /** Nobody can request the last events of a completed stream again, so its client has as long as a stalled one. */
  get #graceMs(): number {
    const { closeGraceMs, stallMs } = this.options
    return this.closing === 'completed' ? Math.max(closeGraceMs, stallMs || COMPLETED_GRACE_MS) : closeGraceMs
  }

  /** Runs once for each stream, for every way to close. Cancels the timers first: none may write after the end. */
  #cleanUp(reason: CloseReason): void {
    this.closing = reason
    this.#deadlines?.cancel()
    this.#timer?.cancel()
    this.options.pressure?.leave(this)
    this.options.revocations?.unwatch(this)
    this.#openStreams?.delete(this)
    this.detach()
    if (this.#abort !== undefined) abort(this.#abort, reason)
    if (!diagnostics.streamClose.hasSubscribers) return
    const { sent, dropped } = this
    diagnostics.streamClose.publish(this.describe({ reason, ageMs: this.#ageMs(), sent, dropped }))
  }

  get #ip(): string | undefined {
    const from = this.#from
    if (typeof from === 'object') return addressOf(from)
    return from ?? this.exchange.socket.remoteAddress
  }

  #ageMs(): number {
    return this.options.clock.now() - this.#openedAt
  }
}

function withResolver(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => undefined
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

function abort(controller: AbortController, reason: CloseReason | undefined): void {
  outsideContext(() => controller.abort(reason))
}

/** One listener for all streams, like `reportError`, instead of a closure for each (bench `join`). */
function reportEnd(this: object): void {
  const stream = streamOf(this)
  if (stream instanceof SseStream) stream.onResponseEnd()
}

/** Without a listener for `error`, a failing socket would end the process. */
function reportError(this: StreamResponse, error: unknown): void {
  if (diagnostics.streamError.hasSubscribers) diagnostics.streamError.publish({ stream: streamOf(this)?.id, error })
}
