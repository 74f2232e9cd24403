/**
 * channel, `send` ─► **output** ─► writer ─► socket: what one stream writes, and when it must wait. Owns the stream's
 * credit (room in the socket, tokens of its pacing), its queue, and the turns that the queue and the log take. Must not
 * know why or how a stream closes: that is `SseStream`, the only subclass.
 *
 * ```
 *   open ──write() = false, or no tokens──► waiting ──room and tokens──► open
 *                                             └─ send(): bounded queue;  channels: the log, or the queue
 * ```
 * A base class instead of a member of `SseStream`, because each further object that a write touches is a cache miss for
 * each stream and event (`npm run bench -- fanout`), and memory for each idle stream (bench `idle`).
 */
import type { Socket } from 'node:net'
import type { CloseReason } from '../core/close-reasons.js'
import { diagnostics } from '../core/diagnostics.js'
import type { EncodedEvent, QueueHints, SendResult, SseEvent } from '../core/message.js'
import type { AnyResponse, Exchange, StreamTarget } from '../http/exchange.js'
import type { Requester } from '../http/requester.js'
import { Blocks } from '../wire/blocks.js'
import { HEARTBEAT, HEARTBEAT_EVENT } from '../wire/control.js'
import { encodeOwnEvent } from '../wire/encode.js'
import { commentBlock } from '../wire/fields.js'
import type { ResolvedStreamOptions } from './options.js'
import { Pace } from './pace.js'
import type { PressureMember } from './pressure.js'
import { StreamQueue } from './queue.js'
import type { Sink, StreamCounts, StreamSource, WhenBehind } from './source.js'
import { takesChunks, Writer } from './writer.js'

const COMMENT: QueueHints = { priority: 'normal', key: undefined, ttlMs: undefined }

export abstract class StreamOutput implements Sink, PressureMember {
  abstract readonly id: string
  protected res: StreamTarget
  protected readonly exchange: Exchange
  protected readonly options: ResolvedStreamOptions
  /** Set when the stream begins to close. From then on only the last control events are written. */
  protected closing: CloseReason | undefined
  readonly #writer: Writer
  /** See `Writer.socket`. */
  #socket: Socket | undefined
  readonly #pace: Pace | undefined
  /** Made when the first event has to wait: most streams never need a queue. */
  #queue: StreamQueue | undefined
  #source: StreamSource | undefined
  #full = false
  /** Whether the log takes the next turn, instead of the queue; see `#takeTurns`. */
  #logIsNext = false
  #sent = 0
  /** See `watch`. */
  #watchers: Set<() => void> | undefined

  /** @param corked the socket, if it is corked: until `uncork`, or the end of the stream */
  constructor(
    res: AnyResponse,
    requester: Requester,
    exchange: Exchange,
    options: ResolvedStreamOptions,
    corked: Socket | undefined,
  ) {
    this.res = res
    this.exchange = exchange
    this.options = options
    const pacer = options.pacing?.open(requester)
    if (pacer !== undefined) this.#pace = new Pace(pacer, options.clock, () => this.#resume())
    this.#writer = new Writer(res, exchange, this, options, corked)
    this.#socket = this.#writer.socket
  }

  abstract get canPoll(): boolean
  abstract moveToPolling(): void
  /** Returns a message about this stream for diagnostics. */
  abstract describe(details: object): object
  abstract close(reason: CloseReason): Promise<void>
  /** The application has ended the response: anything written from now on would follow its end. */
  abstract onResponseEnd(): void
  /** The client gets nothing more. */
  abstract onExchangeOver(): void

  get hasCredit(): boolean {
    return !this.#full && this.#pace?.exhausted !== true && this.closing === undefined
  }

  get whenBehind(): WhenBehind {
    return this.options.whenBehind
  }

  get holdsEntries(): boolean {
    return this.#queue !== undefined && this.#queue.length > 0 && this.options.queuePolicy !== 'replay'
  }

  get paced(): boolean {
    return this.#pace !== undefined
  }

  /** The tokens that pacing would grant now. */
  get tokens(): number | undefined {
    return this.#pace?.tokens()
  }

  /** Events that the stream has sent since it was opened. */
  get sent(): number {
    return this.#sent
  }

  /** Events that the stream has dropped since it was opened. */
  get dropped(): number {
    return this.#queue?.dropped ?? 0
  }

  /** The state and counters of the stream, for metrics. */
  counts(): StreamCounts {
    const { queueEvents, queueBytes } = this.options
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

  /** Attaches the source that feeds this stream from logs. A stream has at most one. */
  attach(source: StreamSource): void {
    this.#source = source
  }

  /** See `EventStream.send`. */
  send(event: SseEvent): SendResult {
    const encoded = encodeOwnEvent(event, this.options.maxEventBytes)
    const block = Blocks.of(encoded.body)
    this.#noticeWrap()
    this.#writer.corkTurn(block.length)
    return this.offer(block, encoded, block)
  }

  /** See `EventStream.comment`. */
  comment(text: string): SendResult {
    const block = Blocks.of(commentBlock(text))
    this.#noticeWrap()
    return this.offer(block, COMMENT, block)
  }

  /** See `EventStream.drained`. */
  drained(): Promise<boolean> {
    if (this.closing !== undefined || this.ready) return Promise.resolve(this.closing === undefined)
    return new Promise((resolve) => {
      const unwatch = this.watch(() => {
        if (this.closing === undefined && !this.ready) return
        unwatch()
        resolve(this.closing === undefined)
      })
    })
  }

  /** See `FedStream`. */
  get maxEventBytes(): number {
    return this.options.maxEventBytes
  }

  /** See `FedStream`. */
  get ready(): boolean {
    return this.hasCredit && (this.#queue?.length ?? 0) === 0 && this.#source?.claimsCredit !== true
  }

  /** See `FedStream`. */
  trySend({ body }: EncodedEvent): boolean {
    if (!this.ready) return false
    this.#noticeWrap()
    const block = Blocks.of(body)
    if (!this.spend(1, block.length)) return false
    this.#writer.corkTurn(block.length)
    this.write(block, 1)
    return this.closing === undefined
  }

  /** See `FedStream`. */
  watch(listener: () => void): () => void {
    this.#watchers ??= new Set()
    this.#watchers.add(listener)
    return () => void this.#watchers?.delete(listener)
  }

  /**
   * Sends an encoded block, or queues it.
   * @param bare the block without its id
   */
  offer(block: Blocks, { priority, key, ttlMs = this.options.queueTtlMs }: QueueHints, bare: Blocks): SendResult {
    if (this.closing !== undefined) return 'closed'
    const isNext = !this.holdsEntries && this.#source?.claimsCredit !== true
    if (isNext && this.hasCredit && this.spend(1, block.length)) {
      this.write(block, 1)
      return this.closing === undefined ? 'sent' : 'closed'
    }
    if (this.#noticeEnd()) return 'closed'
    const { clock, queuePolicy, saturatedMs } = this.options
    const now = clock.now()
    this.#queue ??= new StreamQueue(this, this.options)
    const queued = this.#queue.offer({ block, bare, priority, key, expiresAt: now + ttlMs }, now)
    const saturated = this.canPoll && saturatedMs > 0 && this.#queue.saturatedMs(now) >= saturatedMs
    if (!saturated && queued) return this.#source?.lagging ? 'lagging' : 'queued'
    if (!saturated && queuePolicy !== 'disconnect') return 'dropped'
    void this.close(saturated ? 'saturated' : 'backlog_full')
    return 'closed'
  }

  spend(events: number, bytes: number): boolean {
    return this.#pace === undefined || this.#pace.spend(events, bytes)
  }

  write(blocks: Blocks, events: number): void {
    // The client learns of dropped events before it gets a later event.
    if (this.#queue !== undefined) this.reportDrops()
    this.writeEvents(blocks, events)
  }

  /** See `QueueOwner`. */
  writeEvents(blocks: Blocks, events: number): void {
    if (this.closing !== undefined) return
    const room = this.writeControl(blocks)
    if (room || this.closing === undefined) this.#sent += events
  }

  /** Writes what needs no credit, also while the stream closes. @returns whether more may be written immediately */
  protected writeControl(blocks: Blocks): boolean {
    const socket = this.#socket
    const room =
      socket !== undefined && takesChunks(socket, this.res, 0) ? blocks.writeTo(socket) : this.#writeByWriter(blocks)
    if (!room && !this.#full) {
      this.#full = true
      if (this.closing === undefined) this.#writer.awaitRoom()
    }
    return room
  }

  /** Writes the first block of the stream. */
  protected writeOpening(text: string): void {
    this.#writer.writeText(text)
  }

  sendHeartbeat(): void {
    this.#noticeWrap()
    // A full socket has bytes under way, which keep the connection in use.
    if (this.#full) return
    this.#writer.watchQueue()
    this.writeControl(this.options.heartbeatEvents ? HEARTBEAT_EVENT : HEARTBEAT)
  }

  shed(): void {
    this.#queue?.shed()
    if (!this.#full) this.reportDrops()
  }

  /** Sends the events of the queue, with or without credit, before the stream closes. */
  protected flushQueue(): void {
    this.#queue?.flushAll()
  }

  /** See `QueueOwner`. @param all reports also what was dropped after events that wait */
  reportDrops(all = false): void {
    if (this.closing !== undefined) return
    for (const blocks of this.#queue?.reports(all) ?? []) this.writeControl(blocks)
  }

  /** Sends everything written so far: the caller has nothing more for now. Idempotent. */
  uncork(): void {
    this.#writer.uncork()
  }

  /** Releases what feeds and paces the stream. Called once, when the stream begins to close. */
  protected detach(): void {
    this.#pace?.close()
    this.#source?.onClose()
    this.#notifyWatchers()
  }

  /** Writes to another response from now on, which has the same socket. */
  protected setResponse(res: StreamTarget): void {
    this.res = res
    this.#writer.setResponse(res)
    this.#socket = this.#writer.socket
  }

  /** Ends the response. See `Writer.end`. */
  protected endResponse(): void {
    this.#writer.end(this.closing === 'shutdown')
  }

  /** Releases the socket of a response that has ended. Idempotent. */
  protected release(): void {
    this.#writer.release()
    this.#writer.uncork()
  }

  /** See `WriterOwner`. */
  onRoom(fullMs: number): void {
    if (this.closing !== undefined) return
    this.#full = false
    if (diagnostics.streamDrain.hasSubscribers) diagnostics.streamDrain.publish({ stream: this.id, fullMs })
    this.#resume()
  }

  /** See `WriterOwner`. */
  onStalled(): void {
    void this.close('stalled')
  }

  /** See `ReaderStream`. */
  onClaimEnd(): void {
    if (this.closing !== undefined) return
    this.#logIsNext = true
    this.#resume()
  }

  /** The stream may have credit again. */
  #resume(): void {
    this.#takeTurns()
    if (this.holdsEntries || this.#source?.claimsCredit !== true) this.#queue?.flush()
    if (!this.#full) this.reportDrops()
    if (this.#watchers !== undefined && this.ready) this.#notifyWatchers()
    if (this.hasCredit) this.#source?.onDrain()
  }

  #notifyWatchers(): void {
    for (const listener of [...(this.#watchers ?? [])]) listener()
  }

  /**
   * While both the queue and the log have events, they take turns: neither may delay the other without end. Entries in
   * the queue precede those in the log, so they have no turns.
   */
  #takeTurns(): void {
    const queue = this.#queue
    const source = this.#source
    if (queue === undefined || source === undefined || this.holdsEntries) return
    for (let idle = 0; idle < 2 && this.hasCredit && queue.length > 0 && source.lagging && !source.claimsCredit; ) {
      const sent = this.#logIsNext ? source.sendSome() : queue.flushOne()
      // A side that got no credit keeps its turn.
      if (!sent && !this.hasCredit) return
      idle = sent ? 0 : idle + 1
      this.#logIsNext = !this.#logIsNext
    }
  }

  /** Writes where the direct write to the socket may not be possible. */
  #writeByWriter(blocks: Blocks): boolean {
    const room = this.#writer.write(blocks)
    this.#socket = this.#writer.socket
    if (room === undefined) this.#noticeEnd()
    return room ?? false
  }

  /**
   * Checks whether the application has wrapped `res.write`: when it sends an event, and at each heartbeat. Writes of
   * channels do not check, because the check costs (see `takesChunks`).
   */
  #noticeWrap(): void {
    this.#writer.noticeWrap()
    this.#socket = this.#writer.socket
  }

  /** @returns whether the application or the client has ended the response; then the stream closes */
  #noticeEnd(): boolean {
    if (this.exchange.over) this.onExchangeOver()
    else if (this.res.writableEnded) this.onResponseEnd()
    else return false
    return true
  }
}
