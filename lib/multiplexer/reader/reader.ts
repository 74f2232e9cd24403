/**
 * channel ─► **reader** ─► stream: one stream's position in its logs, and how it moves. Owns which of two ways it goes:
 *
 * ```
 *            all positions at the channels' heads, socket has room
 *   lagging ────────────────────────────────────────────────► live: each batch is written as it comes
 *      ▲  reads on: channel tail, else broker history              │
 *      └──────────── the socket is full, or entries were skipped ──┘
 * ```
 * While it lags it holds no queue, only its positions. Resuming, slow reading and recovery are this one mechanism.
 */

import { diagnostics } from '../../core/diagnostics.js'
import type { LogEntry, QueueHints } from '../../core/message.js'
import { delayOf } from '../../core/message.js'
import type { Position } from '../../core/position.js'
import type { EventStream } from '../../stream/event-stream.js'
import type { Sink, StreamSource } from '../../stream/source.js'
import { Blocks } from '../../wire/blocks.js'
import type { ResetReason } from '../../wire/contract.js'
import { gapBlock, resetBlock } from '../../wire/control.js'
import { idLine } from '../../wire/cursor.js'
import type { Batch } from '../channel/batch.js'
import type { Channel, ChannelReader } from '../channel/channel.js'
import { type Chunk, type ChunkOptions, chunkAfter } from '../channel/chunk.js'
import type { Page } from '../channel/page.js'
import { AckWindow } from './ack-window.js'
import { type Cursor, Cursors, type Start } from './positions.js'

/** What a reader needs of a stream. */
export interface ReaderStream extends Sink, Pick<EventStream, 'attach' | 'offer'> {
  /** The stream has been sent all there is, and is live. */
  onLive?(): void
  /** The reader claims the credit no longer (see `StreamSource`): if its page has come, it is its turn. */
  onClaimEnd?(): void
}

/** How long credit waits for a page, in ms: longer than a read takes, also one that is tried twice. */
const CLAIM_MS = 5000

export class Reader implements ChannelReader, StreamSource {
  readonly #stream: ReaderStream
  readonly #cursors: Cursors
  readonly #channels: readonly Channel[]
  readonly #alone: boolean
  readonly #setKey: string
  readonly #onClosed: () => void
  readonly #window: AckWindow | undefined
  /** Has just been read; not held on to, because a stream that may not go on holds nothing but its position. */
  #fresh: { readonly cursor: Cursor; readonly page: Page } | undefined
  #closed = false

  /**
   * @param onClosed called once, when the stream closes and the channels are no longer needed
   * @param window how many events it may send beyond those that are acknowledged; the stream must replay
   */
  constructor(stream: ReaderStream, starts: readonly Start[], onClosed: () => void, window?: number) {
    this.#window = window === undefined ? undefined : new AckWindow(window, starts)
    this.#stream = stream
    this.#cursors = new Cursors(starts)
    this.#channels = starts.map(({ channel }) => channel)
    this.#alone = starts.length === 1
    this.#setKey = this.#alone ? '' : this.channelNames.join(' ')
    this.#onClosed = onClosed
  }

  /** Joins the channels and begins to send. */
  begin(): void {
    for (const channel of this.#channels) channel.readers.add(this)
    this.#stream.attach(this)
    this.#readOn()
  }

  onBatch(batch: Batch): boolean {
    const stream = this.#stream
    const count = batch.entries.length
    // Here every access counts, for it happens once a stream: the position, for one, is the channel's (bench fanout).
    if (stream.writable) {
      const blocks = this.#alone ? batch.alone() : batch.forSet(this.#setKey, this.#channels)
      if ((this.#window === undefined || count <= this.#window.room) && stream.spend(count, blocks.length)) {
        this.#window?.onSent(batch.channel, batch.last)
        // If this fills the socket, the next batch finds out; until there is one, nothing is owed.
        stream.write(blocks, count)
        return true
      }
    }
    if (!stream.replays) {
      batch.queuedBy++
      this.#queue(batch)
      return true
    }
    this.#leaveLive()
    return false
  }

  /** The stream holds what it cannot send itself, and gives up what does not fit. */
  #queue(batch: Batch): void {
    const blocks = batch.each(this.#setKey, this.#alone ? undefined : this.#channels)
    batch.entries.forEach((entry, i) => {
      this.#stream.offer(blocks[i] as Blocks, entry, batch.bare(i))
    })
  }

  onEphemeral(blocks: Blocks, hints: QueueHints): boolean {
    return this.#stream.offer(blocks, hints, blocks) === 'sent'
  }

  onReset(channel: Channel, offset: number, reason: ResetReason): void {
    const cursor = this.#cursors.of(channel)
    if (cursor === undefined) return
    this.#leaveLive()
    cursor.offset = offset
    cursor.reset = reason
    cursor.earliest = false
    this.#window?.onReset(channel, offset)
    this.#readOn()
  }

  onLost(channel: Channel, offset: number): void {
    const cursor = this.#cursors.of(channel)
    if (cursor === undefined) return
    // One that has not come so far reads on; that there was more must be announced to it all the same.
    if (cursor.offset > offset) {
      this.onReset(channel, offset, 'log_replaced')
    } else {
      cursor.reset = 'log_replaced'
      this.#readOn()
    }
  }

  /** The client has handled all up to these positions. */
  acknowledge(positions: readonly Position[]): void {
    this.#window?.acknowledge(positions)
    this.#readOn()
  }

  /** See `Cursors.latestOf`. */
  latestOf(positions: readonly Position[]): { readonly channel: Channel; readonly entry: LogEntry } | undefined {
    return this.#cursors.latestOf(positions)
  }

  /** Events sent and not acknowledged; `undefined` without a window. */
  get unacknowledged(): number | undefined {
    return this.#window?.unacknowledged
  }

  get lagging(): boolean {
    return !this.#cursors.live
  }

  /** Events it owes the stream, beyond those that wait in the stream's queue. */
  get lag(): number {
    return this.#cursors.lag
  }

  get channelNames(): readonly string[] {
    return this.#channels.map(({ name }) => name)
  }

  pause(): void {
    this.#leaveLive()
  }

  resume(): void {
    this.#readOn()
  }

  onDrain(): void {
    if (!this.#cursors.live) this.#readOn()
  }

  get claimsCredit(): boolean {
    return this.#cursors.claimsCredit
  }

  sendSome(): boolean {
    if (this.#cursors.live || this.#closed || !this.#goesOn) return false
    const { unannounced, behind } = this.#cursors
    if (unannounced !== undefined) {
      this.#announce(unannounced)
      return true
    }
    if (behind === undefined || this.#window?.room === 0) return false
    const { offset } = behind
    this.#sendFrom(behind)
    return behind.offset > offset
  }

  onClose(): void {
    if (this.#closed) return
    this.#closed = true
    this.#leaveLive()
    for (const channel of this.#channels) {
      channel.readers.delete(this)
      channel.stopWaiting(this)
    }
    this.#onClosed()
  }

  /** Announces pending resets, and returns the cursor. */
  conclude(): string {
    for (let { unannounced } = this.#cursors; unannounced !== undefined; unannounced = this.#cursors.unannounced)
      this.#announce(unannounced)
    return this.cursor()
  }

  #leaveLive(): void {
    if (!this.#cursors.live) return
    this.#cursors.leaveLive()
    for (const channel of this.#channels) channel.live.delete(this)
  }

  #goLive(): void {
    this.#cursors.goLive()
    for (const channel of this.#channels) channel.live.add(this)
    this.#stream.onLive?.()
  }

  /** Whether it may move on: it has credit, or the stream takes more without. */
  get #goesOn(): boolean {
    return this.#stream.writable || this.#stream.keepsUp
  }

  /** Sends what is owed for as long as the socket takes it, and goes live when nothing is owed. */
  #readOn(): void {
    if (this.#cursors.live || this.#closed) return
    while (this.#goesOn) {
      const { unannounced, behind } = this.#cursors
      if (unannounced !== undefined) {
        this.#announce(unannounced)
      } else if (behind === undefined) {
        if (this.#cursors.caughtUp) this.#goLive()
        else for (const channel of this.#channels) channel.wait(this)
        return
      } else if (this.#window?.room === 0) {
        return
      } else {
        this.#sendFrom(behind)
      }
    }
  }

  /** Announces a reset. The last one gives the client its position, so that none is announced again. */
  #announce(cursor: Cursor): void {
    if (cursor.reset === undefined) return
    const reset = { channel: cursor.channel.name, reason: cursor.reset }
    cursor.reset = undefined
    this.#stream.write(resetBlock(reset, this.announcedCursor), 0)
  }

  /** Sends one chunk, or passes over one gap, or has the next page read. */
  #sendFrom(cursor: Cursor): void {
    const { channel, offset } = cursor
    const { tail, flushed } = channel
    if (this.#send(cursor, (offset) => (offset <= flushed ? tail.get(offset) : undefined))) return
    const fresh = this.#fresh?.cursor === cursor && this.#fresh.page.covers(offset) ? this.#fresh.page : undefined
    const page = fresh ?? channel.history.kept(offset, channel.epoch)
    if (page === undefined) void this.#read(cursor)
    else this.#sendPage(page, cursor)
  }

  async #read(cursor: Cursor): Promise<void> {
    const { channel } = cursor
    const { epoch } = channel
    cursor.reading = true
    const claim = cursor.passedOver ? channel.after(CLAIM_MS, () => this.#endClaim(cursor)) : undefined
    const page = await channel.history.read(cursor.offset)
    // Reset meanwhile, the page is of a log that is gone.
    if (page !== undefined && !this.#closed && channel.epoch === epoch) {
      const unexpected = cursor.offset < channel.flushed && !page.covers(cursor.offset)
      if (page.head.epoch !== epoch || unexpected) await channel.verify()
      else this.#fresh = { cursor, page }
    }
    claim?.cancel()
    cursor.reading = false
    if (page === undefined || this.#closed) return
    const { offset } = cursor
    if (cursor.passedOver) this.#stream.onClaimEnd?.()
    this.#readOn()
    if (this.#fresh !== undefined && this.lagging && cursor.offset === offset) cursor.passedOver = true
    this.#fresh = undefined
  }

  /** Its page has not come in time: others go on. */
  #endClaim(cursor: Cursor): void {
    cursor.passedOver = false
    this.#stream.onClaimEnd?.()
    this.#readOn()
  }

  #sendPage(page: Page, cursor: Cursor): void {
    const { flushed } = cursor.channel
    const missing = Math.min(page.missingAfter(cursor.offset), flushed)
    if (missing > cursor.offset) {
      this.#passGap(cursor, missing)
      return
    }
    const entryAt = (offset: number) => (offset <= flushed ? page.at(offset) : undefined)
    const shared = this.#alone && !this.#stream.paced && this.#window === undefined
    this.#send(cursor, entryAt, shared ? page.chunk(cursor.offset, flushed) : undefined)
  }

  /** Announces that what is between the cursor and `to` is gone, and passes over it. */
  #passGap(cursor: Cursor, to: number): void {
    const { channel, earliest } = cursor
    const from = cursor.offset + 1
    cursor.offset = to
    cursor.earliest = false
    this.#window?.onSkipped(channel, to)
    if (earliest) return
    const gap = { channel: channel.name, from, to, reason: 'trimmed' } as const
    if (diagnostics.channelLoss.hasSubscribers) diagnostics.channelLoss.publish(gap)
    this.#stream.write(gapBlock(gap), 0)
  }

  /** Sends what comes after the cursor. @returns whether there is anything */
  #send(cursor: Cursor, entryAt: (offset: number) => LogEntry | undefined, ready?: Chunk): boolean {
    // Paced, each event has to have leave of its own anyway.
    if (this.#stream.keepsUp && (this.#stream.paced || !this.#stream.writable)) {
      return this.#offer(cursor, entryAt(cursor.offset + 1))
    }
    const chunk = ready ?? chunkAfter(cursor.offset, entryAt, this.#chunkOptions(cursor))
    if (chunk === undefined) return false
    if (!this.#stream.spend(chunk.count, chunk.blocks.length)) return true
    this.#cursors.served(cursor)
    cursor.offset = chunk.last
    cursor.earliest = false
    this.#window?.onSent(cursor.channel, chunk.last)
    this.#stream.write(chunk.blocks, chunk.count)
    reportReplay(cursor.channel, chunk.first, chunk.count)
    return true
  }

  /** Hands one entry over to the stream, which sends or queues it, or gives it up. */
  #offer(cursor: Cursor, entry: LogEntry | undefined): boolean {
    if (entry === undefined) return false
    this.#cursors.served(cursor)
    cursor.offset = entry.offset
    cursor.earliest = false
    const verdict = this.#stream.offer(Blocks.join([idLine(this.cursor()), entry.body]), entry, Blocks.of(entry.body))
    if (verdict === 'sent') reportReplay(cursor.channel, entry, 1)
    return true
  }

  #chunkOptions(cursor: Cursor): ChunkOptions {
    const max = this.#stream.paced ? 1 : this.#window?.room
    const options = max === undefined ? {} : { max }
    return this.#alone ? options : { ...options, cursorAt: (offset) => this.#cursors.print(cursor, offset) }
  }

  /** The position as an `id:`. */
  cursor(): string {
    return this.#cursors.print()
  }

  /** The position that a client may be given at once: none while a reset is to be announced. */
  get announcedCursor(): string | undefined {
    return this.#cursors.unannounced === undefined ? this.cursor() : undefined
  }
}

/** @param oldest of the events, which are taken to be as late as it is */
function reportReplay({ name, wallTime }: Channel, oldest: LogEntry, events: number): void {
  if (!diagnostics.streamReplay.hasSubscribers) return
  diagnostics.streamReplay.publish({ channel: name, events, delayMs: delayOf(oldest, wallTime) })
}
