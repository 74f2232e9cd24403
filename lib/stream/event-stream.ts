/**
 * … ─► **stream**: one open SSE response. Owns the response's end: what is written and when it must wait, heartbeats,
 * age, the token's end, and clean-up, each exactly once. Must not know channels or brokers: a source that has them
 * attaches and is told when there is room again.
 *
 * ```
 *   open ──write()=false──► full ──drain──► open        send() while full ─► bounded queue
 *    │                        │ stallMs
 *    └──────── close(reason) ─┴─► closing: last control event, end() ──'close'──► closed
 *                                    └ closeGraceMs ─► destroy()
 * ```
 */
import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { Blocks } from '../core/blocks.js'
import { CLOSE_REASONS, type CloseReason } from '../core/close-reasons.js'
import { diagnostics } from '../core/diagnostics.js'
import type { QueueHints, SseEvent, Verdict } from '../core/message.js'
import type { Sink, Timer } from '../core/ports.js'
import type { Pacer } from '../limits/pacing.js'
import { droppedBlock, expiredBlock, HEARTBEAT, HEARTBEAT_EVENT, openBlock, reconnectBlock } from '../wire/control.js'
import { encodeOwnEvent } from '../wire/encode.js'
import { commentBlock } from '../wire/fields.js'
import { Backlog } from './backlog.js'
import type { ResolvedStreamOptions } from './options.js'
import type { StreamResponse } from './response.js'
import { Writer } from './writer.js'

const COMMENT: QueueHints = { priority: 'normal', key: undefined, ttlMs: undefined }

/** Whoever feeds a stream from elsewhere. */
export interface StreamSource {
  /** The socket has room again, and what waited in the stream's own queue is out. */
  onDrain(): void
  /** The stream has begun to close. Called once. */
  onClose(): void
}

export class EventStream implements Sink {
  /** Names the stream in `sse.open`, diagnostics and logs. */
  readonly id: string = randomUUID()
  readonly #res: StreamResponse
  readonly #writer: Writer
  /** See `Writer.socket`. */
  readonly #socket: Socket | undefined
  readonly #options: ResolvedStreamOptions
  /** Made when something first has to wait: most streams never need one. */
  #queue: Backlog | undefined
  readonly #openedAt: number
  readonly #timers: { beat?: Timer; age?: Timer; expiry?: Timer; stall?: Timer; grace?: Timer; pace?: Timer } = {}
  readonly #pacer: Pacer | undefined
  #source: StreamSource | undefined
  #abort: AbortController | undefined
  #settleClosed: (() => void) | undefined
  #closedPromise: Promise<void> | undefined
  #full = false
  #fullSince = 0
  #pacedOut = false
  #closing: CloseReason | undefined
  #gone = false
  #sent = 0

  /** @internal Use `res.sse()`, `openStream` or a multiplexer: they send the headers first. */
  constructor(res: StreamResponse, options: ResolvedStreamOptions, pacer?: Pacer) {
    this.#res = res
    this.#pacer = pacer
    if (pacer !== undefined) pacer.onChange = () => this.#onPaced()
    this.#options = options
    this.#openedAt = options.clock.now()
    this.#writer = new Writer(res, () => this.#onDrain())
    this.#socket = this.#writer.socket
    res.on('close', () => this.#onGone())
    // Without a listener a failing socket would take the process down.
    res.on('error', (error) => {
      if (diagnostics.streamError.hasSubscribers) diagnostics.streamError.publish({ stream: this.id, error })
    })
  }

  /**
   * Aborts when the stream begins to close, whoever closes it; its `reason` is the close reason's name. Asked for on a
   * stream that has closed already, it aborts a moment later, so that a listener added at once still hears it: otherwise
   * a route that got a HEAD request would never stop its timers.
   */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      if (this.#closing !== undefined) setImmediate(() => this.#abort?.abort(this.#closing))
    }
    return this.#abort.signal
  }

  /** Why the stream is closing or closed; `undefined` while it is open. */
  get closeReason(): CloseReason | undefined {
    return this.#closing
  }

  get writable(): boolean {
    return !this.#full && !this.#pacedOut && this.#closing === undefined
  }

  /** @internal See `Sink`. */
  get replays(): boolean {
    return this.#options.replays
  }

  /** @internal See `Sink`. */
  get paced(): boolean {
    return this.#pacer !== undefined
  }

  /** @internal See `Sink`. */
  spend(events: number, bytes: number): boolean {
    if (this.#pacer === undefined || this.#pacer.spend(events, bytes)) return true
    if (events === 1 && this.#closing === undefined) {
      this.#pacedOut = true
      this.#timers.pace = this.#options.clock.after(this.#pacer.msUntil(events, bytes), () => this.#onPaced())
    }
    return false
  }

  /**
   * Sends an event, or queues it while the socket is full. Never throws for the state of the stream: the verdict says it.
   * @throws InvalidEventError `ERR_SSE_EVENT_INVALID`, `ERR_SSE_EVENT_TOO_LARGE`: the event itself must be mended
   */
  send(event: SseEvent): Verdict {
    const encoded = encodeOwnEvent(event, this.#options.maxEventBytes)
    const block = new Blocks(encoded.body)
    return this.offer(block, encoded, block)
  }

  /** Sends a comment, which clients ignore. Its line ends split it into several. */
  comment(text: string): Verdict {
    const block = new Blocks(commentBlock(text))
    return this.offer(block, COMMENT, block)
  }

  /**
   * Sends an encoded block, or queues it. @internal
   * @param bare the block without its id
   */
  offer(block: Blocks, { priority, key, ttlMs = this.#options.queueTtlMs }: QueueHints, bare: Blocks): Verdict {
    if (this.#closing !== undefined) return 'closed'
    if (this.writable && this.spend(1, block.bytes.length)) {
      this.write(block, 1)
      return 'sent'
    }
    const now = this.#options.clock.wallTime()
    this.#queue ??= new Backlog(this.#options)
    if (this.#queue.offer({ block, bare, priority, key, expiresAt: now + ttlMs }, now)) return 'queued'
    if (this.#options.queuePolicy !== 'disconnect') return 'dropped'
    void this.close('backlog_full')
    return 'closed'
  }

  /** @internal See `Sink`. */
  write(blocks: Blocks, events: number): boolean {
    if (this.#closing !== undefined) return false
    this.#sent += events
    return this.#write(blocks)
  }

  /** @internal Attaches the one source of this stream. */
  attach(source: StreamSource): void {
    this.#source = source
  }

  /**
   * Sends the first block and starts the timers. @internal
   * @param cursor where the stream starts in its logs, if it has any
   * @param authExpiresAt when the request's token runs out, unless the options say when the stream ends
   */
  start(cursor: string | undefined, authExpiresAt: number | undefined): void {
    const { clock, heartbeatMs, retryMs, maxAgeMs } = this.#options
    this.#write(openBlock({ stream: this.id, heartbeatMs }, retryMs, cursor))
    // The first beat at random, so that the beats of streams opened together spread over the whole interval.
    if (heartbeatMs > 0) this.#beatAfter(heartbeatMs * Math.random())
    if (maxAgeMs > 0) {
      this.#timers.age = clock.after(maxAgeMs * (1 - Math.random() / 10), () => void this.close('max_age'))
    }
    const expiresAt = this.#options.expiresAt ?? authExpiresAt
    if (expiresAt) {
      this.#timers.expiry = clock.after(Math.max(0, expiresAt - clock.wallTime()), () => void this.close('expired'))
    }
    if (diagnostics.streamOpen.hasSubscribers) {
      diagnostics.streamOpen.publish({ stream: this.id, remoteAddress: this.#res.socket?.remoteAddress })
    }
  }

  /**
   * Ends the stream: tells the client to come back if the reason is such, ends the response, and destroys it if the
   * client does not read on. Idempotent; resolves when the response is closed.
   */
  close(reason: CloseReason = 'ended'): Promise<void> {
    if (this.#closing === undefined) {
      this.#begin(reason)
      if (!this.#full) this.#sayGoodbye(reason)
      this.#writer.end()
      const { clock, closeGraceMs } = this.#options
      this.#timers.grace = clock.after(closeGraceMs, () => this.#res.destroy())
      // The response's `close` may have come before there was a stream to hear it.
      if (this.#res.destroyed) this.#onGone()
    }
    if (this.#gone) return Promise.resolve()
    this.#closedPromise ??= new Promise((resolve) => {
      this.#settleClosed = resolve
    })
    return this.#closedPromise
  }

  #sayGoodbye(reason: CloseReason): void {
    if (!CLOSE_REASONS[reason].reconnect) return
    if (reason === 'expired') this.#write(expiredBlock())
    // Between half and one and a half of the usual time, so that streams closed together do not return together.
    this.#write(reconnectBlock(reason, Math.round(this.#options.retryMs * (0.5 + Math.random()))))
  }

  /** All that happens once however the stream ends. Timers first, so that none writes after the end. */
  #begin(reason: CloseReason): void {
    this.#closing = reason
    for (const timer of Object.values(this.#timers)) timer.cancel()
    this.#pacer?.close()
    this.#source?.onClose()
    this.#abort?.abort(reason)
    if (!diagnostics.streamClose.hasSubscribers) return
    const ageMs = this.#options.clock.now() - this.#openedAt
    diagnostics.streamClose.publish({
      stream: this.id,
      reason,
      ageMs,
      sent: this.#sent,
      dropped: this.#queue?.dropped ?? 0,
    })
  }

  #onGone(): void {
    if (this.#gone) return
    this.#gone = true
    this.#writer.release()
    if (this.#closing === undefined) this.#begin('client_gone')
    this.#timers.grace?.cancel()
    this.#settleClosed?.()
  }

  #write(blocks: Blocks): boolean {
    const room = this.#socket === undefined ? this.#writer.write(blocks) : this.#socket.write(blocks.chunk)
    if (!room && !this.#full) this.#onFull()
    return room
  }

  #onFull(): void {
    this.#full = true
    const { clock, stallMs } = this.#options
    this.#fullSince = clock.now()
    if (stallMs > 0 && this.#closing === undefined) {
      this.#timers.stall = clock.after(stallMs, () => void this.close('stalled'))
    }
  }

  #onDrain(): void {
    if (this.#closing !== undefined || !this.#full) return
    this.#full = false
    if (diagnostics.streamDrain.hasSubscribers) {
      diagnostics.streamDrain.publish({ stream: this.id, fullMs: this.#options.clock.now() - this.#fullSince })
    }
    this.#timers.stall?.cancel()
    this.#goOn()
  }

  /** Time has passed, or rates have changed: there may be tokens again. */
  #onPaced(): void {
    if (!this.#pacedOut || this.#closing !== undefined) return
    this.#pacedOut = false
    this.#timers.pace?.cancel()
    this.#goOn()
  }

  #goOn(): void {
    this.#flushQueue()
    if (this.writable) this.#source?.onDrain()
  }

  #flushQueue(): void {
    const now = this.#options.clock.wallTime()
    while (this.writable) {
      const block = this.#queue?.peek(now)
      if (block === undefined || !this.spend(1, block.bytes.length)) break
      this.#queue?.take()
      this.write(block, 1)
    }
    if (!this.#full) this.#reportDrops()
  }

  #reportDrops(): void {
    for (const drops of this.#queue?.takeDrops() ?? []) {
      if (diagnostics.streamDrop.hasSubscribers) diagnostics.streamDrop.publish({ stream: this.id, ...drops })
      this.#write(droppedBlock(drops))
    }
  }

  #beatAfter(delayMs: number): void {
    const { clock, heartbeatMs, heartbeatEvents } = this.#options
    this.#timers.beat = clock.after(delayMs, () => {
      // A full socket is proof enough that something is under way.
      if (!this.#full) this.#write(heartbeatEvents ? HEARTBEAT_EVENT : HEARTBEAT)
      this.#beatAfter(heartbeatMs)
    })
  }
}
