/**
 * … ─► **stream**: one open SSE response. Owns the response's end: what is written and when it must wait, heartbeats,
 * age, the token's end, and clean-up, each exactly once. Must not know channels or brokers: a source that has them
 * attaches and is told when there is room again.
 *
 * ```
 *   open ──write()=false──► full ──drain──► open        send() while full ─► bounded queue
 *    │                        │ stallMs
 *    └──────── close(reason) ─┴─► closing: last control event, end() ──exchange is over──► closed
 *                                    └ closeGraceMs ─► destroy() ─────────────────────────────┘
 * ```
 * The application may end the response by itself; then the stream closes without a last control event.
 */
import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { outsideContext } from '../core/async-context.js'
import type { Auth } from '../core/auth.js'
import type { Timer } from '../core/clock.js'
import type { CloseReason } from '../core/close-reasons.js'
import { diagnostics } from '../core/diagnostics.js'
import type { QueueHints, SendResult, SseEvent } from '../core/message.js'
import { authOf } from '../http/auth-of.js'
import { type AnyResponse, Exchange, type StreamResponse } from '../http/exchange.js'
import { cursorOrigin } from '../http/query.js'
import { HttpRequester, type StreamRequest } from '../http/requester.js'
import { Blocks } from '../wire/blocks.js'
import { HEARTBEAT, HEARTBEAT_EVENT, openText } from '../wire/control.js'
import { encodeOwnEvent } from '../wire/encode.js'
import { commentBlock } from '../wire/fields.js'
import { Deadlines } from './deadlines.js'
import { CUT_SHORT, goodbye } from './goodbye.js'
import type { ResolvedStreamOptions } from './options.js'
import { Pace } from './pace.js'
import type { Pressed } from './pressure.js'
import { StreamQueue } from './queue.js'
import type { Sink, StreamCounts, StreamSource, WhenBehind } from './source.js'
import type { StreamStatus } from './status.js'
import { streamOf } from './stream-of.js'
import { takesChunks, Writer } from './writer.js'

const COMMENT: QueueHints = { priority: 'normal', key: undefined, ttlMs: undefined }

/** How a stream is opened, beside its options. */
export interface Opening {
  /** @defaultValue a random UUID */
  readonly id?: string | undefined
  readonly pollUrl?: string | undefined
  /** The socket, if it is corked: until `uncork`, or the stream's end. */
  readonly corked?: Socket | undefined
  /** @defaultValue a new one */
  readonly exchange?: Exchange
  /** Has the stream until it begins to close. */
  readonly among?: Set<EventStream> | undefined
}

/** One open stream: what `res.sse()` and `openStream` return. It ends with its request, however that ends. */
export class EventStream implements Sink, Pressed {
  /** Names the stream in `sse.open`, diagnostics and logs. */
  readonly id: string
  /** Who opened it. */
  readonly auth: Auth | undefined
  readonly #req: StreamRequest
  readonly #res: StreamResponse
  readonly #exchange: Exchange
  readonly #writer: Writer
  /** See `Writer.socket`. */
  #socket: Socket | undefined
  readonly #options: ResolvedStreamOptions
  /** Made when something first has to wait: most streams never need one. */
  #queue: StreamQueue | undefined
  readonly #pollUrl: string | undefined
  readonly #among: Set<EventStream> | undefined
  readonly #openedAt: number
  #deadlines: Deadlines | undefined
  #grace: Timer | undefined
  readonly #pace: Pace | undefined
  #source: StreamSource | undefined
  #abort: AbortController | undefined
  #settleClosed: (() => void) | undefined
  #closedPromise: Promise<void> | undefined
  #full = false
  /** Of the queue and the log, which goes on first; see `#takeTurns`. */
  #logIsNext = false
  #closing: CloseReason | undefined
  #gone = false
  #sent = 0

  /** @internal Use `res.sse()`, `openStream` or a multiplexer: they send the headers first. */
  constructor(req: StreamRequest, res: AnyResponse, options: ResolvedStreamOptions, opening: Opening = {}) {
    this.id = opening.id ?? randomUUID()
    this.#pollUrl = opening.pollUrl
    this.#among = opening.among
    this.#exchange = opening.exchange ?? new Exchange(req, res)
    this.auth = authOf(req)
    this.#req = req
    this.#res = res
    const pacer = options.pacing?.open(new HttpRequester(req))
    if (pacer !== undefined) this.#pace = new Pace(pacer, options.clock, () => this.#goOn())
    this.#options = options
    options.pressure?.join(this)
    this.#openedAt = options.clock.now()
    this.#writer = new Writer(res, this.#exchange, this, options, opening.corked)
    this.#socket = this.#writer.socket
    this.#exchange.onOver(() => this.#onGone())
    this.#res.on('error', reportError)
    this.#exchange.onEnded(reportEnd)
    this.#among?.add(this)
  }

  /**
   * Aborts when the stream begins to close, whoever closes it; its `reason` is the close reason's name. Asked for on a
   * stream that has closed already, it aborts a moment later, so that a listener added at once still hears it: otherwise
   * a route that got a HEAD request would never stop its timers. Listeners run outside every async context, because another request may
   * have caused the end; one that needs the store of its own request binds itself to it (`AsyncResource.bind`).
   */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      if (this.#closing !== undefined) setImmediate(abort, this.#abort, this.#closing)
    }
    return this.#abort.signal
  }

  /** Why the stream is closing or closed; `undefined` while it is open. */
  get closeReason(): CloseReason | undefined {
    return this.#closing
  }

  /** What is going on in it now. */
  status(): StreamStatus {
    const { sent, queued, queuedBytes, full } = this.counts()
    return {
      auth: this.auth,
      ip: new HttpRequester(this.#req).ip,
      id: this.id,
      ageMs: this.#options.clock.now() - this.#openedAt,
      sent,
      dropped: this.#queue?.dropped ?? 0,
      queued,
      queuedBytes,
      full,
      tokens: this.tokens,
    }
  }

  /** @internal What metrics add up. */
  counts(): StreamCounts {
    const { queueEvents, queueBytes } = this.#options
    const { length = 0, bytes = 0 } = this.#queue ?? {}
    return {
      sent: this.#sent,
      lag: this.#source?.lag ?? 0,
      queued: length,
      queuedBytes: bytes,
      saturation: length === 0 ? 0 : Math.max(length / queueEvents, bytes / queueBytes),
      full: this.#full,
      pacedEvents: this.#pace?.events ?? 0,
      pacedBytes: this.#pace?.bytes ?? 0,
    }
  }

  get writable(): boolean {
    return !this.#full && this.#pace?.out !== true && this.#closing === undefined
  }

  /** @internal A message about this stream, for diagnostics. */
  describe(said: object): object {
    const requester = new HttpRequester(this.#req)
    const described = {
      stream: this.id,
      auth: this.auth,
      // Its own, so that copies have it.
      get ip() {
        return requester.ip
      },
    }
    return Object.assign(described, said)
  }

  /** @internal */
  get tokens(): number | undefined {
    return this.#pace?.tokens()
  }

  /** @internal See `Sink`. */
  get whenBehind(): WhenBehind {
    return this.#options.whenBehind
  }

  /** @internal See `Sink`. */
  get paced(): boolean {
    return this.#pace !== undefined
  }

  /** @internal See `Sink`. */
  spend(events: number, bytes: number): boolean {
    return this.#pace === undefined || this.#pace.spend(events, bytes)
  }

  /**
   * Sends an event, or queues it while the socket is full. Never throws for the state of the stream: the verdict says it.
   * @throws InvalidEventError `ERR_SSE_EVENT_INVALID`, `ERR_SSE_EVENT_TOO_LARGE`: the event itself must be mended
   */
  send(event: SseEvent): SendResult {
    const encoded = encodeOwnEvent(event, this.#options.maxEventBytes)
    const block = Blocks.of(encoded.body)
    this.#noticeWrap()
    return this.offer(block, encoded, block)
  }

  /** Sends a comment, which clients ignore. Its line ends split it into several. */
  comment(text: string): SendResult {
    const block = Blocks.of(commentBlock(text))
    this.#noticeWrap()
    return this.offer(block, COMMENT, block)
  }

  /**
   * Sends an encoded block, or queues it. @internal
   * @param bare the block without its id
   */
  offer(block: Blocks, { priority, key, ttlMs = this.#options.queueTtlMs }: QueueHints, bare: Blocks): SendResult {
    if (this.#closing !== undefined) return 'closed'
    if (this.writable && this.#source?.claimsCredit !== true && this.spend(1, block.length)) {
      this.write(block, 1)
      return this.#closing === undefined ? 'sent' : 'closed'
    }
    if (this.#noticeEnd()) return 'closed'
    const { clock, queuePolicy, saturatedMs } = this.#options
    const now = clock.now()
    this.#queue ??= new StreamQueue(this, this.#options)
    const waits = this.#queue.offer({ block, bare, priority, key, expiresAt: now + ttlMs }, now)
    const saturated = this.canPoll && saturatedMs > 0 && this.#queue.saturatedMs(now) >= saturatedMs
    if (!saturated && waits) return this.#source?.lagging ? 'lagging' : 'queued'
    if (!saturated && queuePolicy !== 'disconnect') return 'dropped'
    void this.close(saturated ? 'saturated' : 'backlog_full')
    return 'closed'
  }

  /** @internal See `Pressed`. */
  get canPoll(): boolean {
    return this.#pollUrl !== undefined
  }

  /** @internal See `Pressed`. */
  shed(): void {
    this.#queue?.shed()
    if (!this.#full) this.#reportDrops()
  }

  /** @internal See `Pressed`. */
  giveWay(): void {
    void this.close('overloaded')
  }

  /** @internal See `Sink`. */
  write(blocks: Blocks, events: number): boolean {
    if (this.#closing !== undefined) return false
    const room = this.#write(blocks)
    if (room || this.#closing === undefined) this.#sent += events
    return room
  }

  /** @internal A heartbeat is due. */
  beat(): void {
    this.#noticeWrap()
    // A full socket is proof enough that something is under way.
    if (!this.#full) this.#write(this.#options.heartbeatEvents ? HEARTBEAT_EVENT : HEARTBEAT)
  }

  /** @internal Attaches the one source of this stream. */
  attach(source: StreamSource): void {
    this.#source = source
  }

  /**
   * Sends the first block and starts the timers. @internal
   * @param cursor where the stream starts in its logs, if it has any
   * @param window how far it may run ahead of its client, if the client has set that
   */
  start(cursor?: string, window?: number): void {
    const { clock, heartbeatMs, retryMs, maxAgeMs } = this.#options
    this.#writer.writeText(openText({ stream: this.id, heartbeatMs, window }, retryMs, cursor))
    const expiresAt = this.#options.expiresAt ?? this.auth?.expiresAt
    this.#options.revocations?.watch(this)
    this.#deadlines = new Deadlines(this, { clock, heartbeatMs, maxAgeMs, expiresAt })
    if (diagnostics.streamOpen.hasSubscribers) {
      diagnostics.streamOpen.publish(this.describe({ cursor: cursorOrigin(this.#req), source: this }))
    }
  }

  /**
   * Ends the stream: tells the client to come back if the reason is such, or with `completed` that there is nothing to come back for,
   * ends the response, and destroys it if the client has not read the rest within `closeGraceMs`. Idempotent; resolves when the
   * response is closed, at the latest then.
   */
  close(reason: CloseReason = 'ended'): Promise<void> {
    if (this.#closing === undefined) this.#close(reason)
    if (this.#gone) return Promise.resolve()
    this.#closedPromise ??= new Promise((resolve) => {
      this.#settleClosed = resolve
    })
    return this.#closedPromise
  }

  #sayGoodbye(reason: CloseReason): void {
    const { retryMs, pressure, clock } = this.#options
    const pauseMs = pressure?.pauseMs ?? retryMs
    for (const blocks of goodbye(reason, { retryMs, pauseMs, pollUrl: this.#pollUrl, now: clock.wallTime() })) {
      this.#write(blocks)
    }
  }

  /** @internal Ends a stream whose response has no body. */
  closeEmpty(reason: CloseReason): void {
    this.#begin(reason)
    this.#end()
  }

  #close(reason: CloseReason): void {
    if (this.#exchange.over) {
      this.#onGone()
      return
    }
    if (!CUT_SHORT.includes(reason)) this.#queue?.flushAll()
    this.#reportDrops()
    // What was written may have shown that the response has ended.
    if (this.closeReason !== undefined) return
    this.#begin(reason)
    this.#sayGoodbye(reason)
    this.#end()
  }

  #end(): void {
    this.#writer.end(this.#closing === 'shutdown')
    this.#boundEnd()
  }

  /** Whatever the client does, the end does not take longer. */
  #boundEnd(): void {
    const { clock, closeGraceMs } = this.#options
    this.#grace = clock.after(closeGraceMs, () => {
      this.#exchange.destroy()
      this.#onGone()
    })
  }

  /** All that happens once however the stream ends. Timers first, so that none writes after the end. */
  #begin(reason: CloseReason): void {
    this.#closing = reason
    this.#deadlines?.cancel()
    this.#pace?.close()
    this.#options.pressure?.leave(this)
    this.#options.revocations?.unwatch(this)
    this.#among?.delete(this)
    this.#source?.onClose()
    if (this.#abort !== undefined) abort(this.#abort, reason)
    if (!diagnostics.streamClose.hasSubscribers) return
    const ageMs = this.#options.clock.now() - this.#openedAt
    const dropped = this.#queue?.dropped ?? 0
    diagnostics.streamClose.publish(this.describe({ reason, ageMs, sent: this.#sent, dropped }))
  }

  #onGone(): void {
    if (this.#gone) return
    this.#gone = true
    this.#writer.release()
    this.#writer.uncork()
    if (this.#closing === undefined) this.#begin(this.#res.writableEnded ? 'ended' : 'client_gone')
    this.#grace?.cancel()
    this.#settleClosed?.()
  }

  /** @internal The application has ended the response; what it sends now would follow the end. */
  onResponseEnd(): void {
    if (this.#closing !== undefined) return
    this.#begin('ended')
    this.#writer.release()
    this.#writer.uncork()
    this.#boundEnd()
  }

  /** Not at each write of a channel's, because it costs (see `takesChunks`): when the application sends, and at each heartbeat. */
  #noticeWrap(): void {
    this.#writer.noticeWrap()
    this.#socket = this.#writer.socket
  }

  #write(blocks: Blocks): boolean {
    const socket = this.#socket
    const room =
      socket !== undefined && takesChunks(socket, this.#res, 0) ? blocks.writeTo(socket) : this.#writeWithCare(blocks)
    if (!room && !this.#full) {
      this.#full = true
      if (this.#closing === undefined) this.#writer.awaitRoom()
    }
    return room
  }

  /** Where the short way may be closed. */
  #writeWithCare(blocks: Blocks): boolean {
    const room = this.#writer.write(blocks)
    this.#socket = this.#writer.socket
    if (room === undefined) this.#noticeEnd()
    return room ?? false
  }

  /** @returns whether the application or the client has ended the response; then the stream closes */
  #noticeEnd(): boolean {
    if (this.#exchange.over) this.#onGone()
    else if (this.#res.writableEnded) this.onResponseEnd()
    else return false
    return true
  }

  /** @internal What has been written so far leaves: the caller has sent all it has for now. Idempotent. */
  uncork(): void {
    this.#writer.uncork()
  }

  /** @internal See `Writer`. */
  onRoom(fullMs: number): void {
    if (this.#closing !== undefined) return
    this.#full = false
    if (diagnostics.streamDrain.hasSubscribers) diagnostics.streamDrain.publish({ stream: this.id, fullMs })
    this.#goOn()
  }

  /** @internal See `Writer`. */
  onStalled(): void {
    void this.close('stalled')
  }

  #goOn(): void {
    this.#takeTurns()
    if (this.#source?.claimsCredit !== true) this.#queue?.flush()
    if (!this.#full) this.#reportDrops()
    if (this.writable) this.#source?.onDrain()
  }

  /** @internal See `ReaderStream`. */
  onClaimEnd(): void {
    if (this.#closing !== undefined) return
    this.#logIsNext = true
    this.#goOn()
  }

  /** The queue and the log, where both owe something: one that never runs dry must not keep the other waiting. */
  #takeTurns(): void {
    const queue = this.#queue
    const source = this.#source
    if (queue === undefined || source === undefined) return
    for (let idle = 0; idle < 2 && this.writable && queue.length > 0 && source.lagging && !source.claimsCredit; ) {
      const sent = this.#logIsNext ? source.sendSome() : queue.flushOne()
      // What was refused for want of credit keeps its turn.
      if (!sent && !this.writable) return
      idle = sent ? 0 : idle + 1
      this.#logIsNext = !this.#logIsNext
    }
  }

  #reportDrops(): void {
    for (const blocks of this.#queue?.reports() ?? []) this.#write(blocks)
  }
}

function abort(controller: AbortController, reason: CloseReason | undefined): void {
  outsideContext(() => controller.abort(reason))
}

/** One for all streams, as the next. */
function reportEnd(this: object): void {
  const stream = streamOf(this)
  if (stream instanceof EventStream) stream.onResponseEnd()
}

/** Without a listener a failing socket would take the process down. */
function reportError(this: StreamResponse, error: unknown): void {
  if (diagnostics.streamError.hasSubscribers) diagnostics.streamError.publish({ stream: streamOf(this)?.id, error })
}
