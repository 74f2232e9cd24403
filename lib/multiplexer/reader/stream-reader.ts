/**
 * channel ─► log reader ─► **stream reader** ─► stream: writes entries as blocks of bytes. Owns in which form they
 * leave:
 *
 *   live      the batch's bytes, shared by all streams on the same channels, in one write
 *   lagging   chunks of up to 32 KB; one entry at a time if the stream is paced
 *   queueing  one entry at a time into the stream's queue (`whenBehind` is not `replay`)
 */
import type { LogEntry } from '../../core/message.js'
import type { Position } from '../../core/position.js'
import type { Sink, StreamSource } from '../../stream/source.js'
import type { SseStream } from '../../stream/sse-stream.js'
import { Blocks } from '../../wire/blocks.js'
import type { GapData, ResetData } from '../../wire/contract.js'
import { gapBlock, resetBlock } from '../../wire/control.js'
import { idLine } from '../../wire/cursor.js'
import type { Batch } from '../channel/batch.js'
import type { Channel } from '../channel/channel.js'
import { type ChunkOptions, chunkAfter } from '../channel/chunk.js'
import type { Page } from '../channel/page.js'
import { AckWindow } from './ack-window.js'
import { LogReader, type ReaderUser, reportReplay } from './log-reader.js'
import type { ChannelPosition, StartPosition } from './positions.js'

/** The part of a stream that a reader needs. */
export interface ReaderStream extends Sink, Pick<SseStream, 'attach' | 'offer'> {
  /** The source no longer claims the credit (see `StreamSource`). */
  onClaimEnd?(): void
  /** See `EventStream.close`. */
  close(reason: 'completed'): unknown
}

export class StreamReader extends LogReader implements StreamSource {
  readonly #stream: ReaderStream
  readonly #alone: boolean
  readonly #setKey: string
  readonly #window: AckWindow | undefined

  /**
   * Attaches itself to the stream.
   * @param window the maximum number of unacknowledged events; only for a stream with `whenBehind: 'replay'`
   */
  constructor(stream: ReaderStream, starts: readonly StartPosition[], user: ReaderUser, window?: number) {
    super(starts, user)
    this.#window = window === undefined ? undefined : new AckWindow(window, starts)
    this.#stream = stream
    this.#alone = starts.length === 1
    this.#setKey = this.#alone ? '' : this.channelNames.join(' ')
    stream.attach(this)
  }

  onBatch(batch: Batch): boolean {
    const stream = this.#stream
    const count = batch.entries.length
    // Runs once per stream and batch, so every property access counts. A live reader's position is the channel's, so
    // that nothing is stored here (bench fanout).
    if (stream.hasCredit && !stream.holdsEntries) {
      const blocks = this.#alone ? batch.forChannel() : batch.forSet(this.#setKey, this.channels)
      if ((this.#window === undefined || count <= this.#window.room) && stream.spend(count, blocks.length)) {
        this.#window?.onSent(batch.channel, batch.last)
        // If this fills the socket, the next batch finds the stream without credit. Until then the reader is not behind.
        stream.write(blocks, count)
        return true
      }
    }
    if (stream.whenBehind !== 'replay') {
      batch.queuedBy++
      this.#queue(batch)
      return true
    }
    this.leaveLive()
    return false
  }

  /** The stream's queue holds the entries, and drops those that do not fit. */
  #queue(batch: Batch): void {
    const blocks = batch.each(this.#setKey, this.#alone ? undefined : this.channels)
    batch.entries.forEach((entry, i) => {
      this.#stream.offer(blocks[i] as Blocks, entry, batch.withoutId(i))
    })
  }

  onEphemeral(entry: LogEntry, blocks: Blocks): boolean {
    return this.#stream.offer(blocks, entry, blocks) === 'sent'
  }

  /** The client has handled all events up to these positions. */
  acknowledge(positions: readonly Position[]): void {
    this.#window?.acknowledge(positions)
    this.advance()
  }

  /** See `ReaderPositions`. */
  latestEntryAt(cursor: readonly Position[]): { readonly channel: Channel; readonly entry: LogEntry } | undefined {
    return this.positions.latestEntryAt(cursor)
  }

  /** The number of events sent and not acknowledged; `undefined` without a window. */
  get unacknowledged(): number | undefined {
    return this.#window?.unacknowledged
  }

  /** The number of entries to send, without those in the stream's queue. */
  get lag(): number {
    return this.positions.lag
  }

  onDrain(): void {
    if (!this.positions.live) this.advance()
  }

  get claimsCredit(): boolean {
    return this.positions.claimsCredit
  }

  onClose(): void {
    this.close()
  }

  /** A stream that queues takes entries without credit. */
  protected get hasCredit(): boolean {
    const { hasCredit, holdsEntries, whenBehind } = this.#stream
    return (hasCredit && !holdsEntries) || whenBehind === 'queue'
  }

  protected override get mayAnnounce(): boolean {
    return !this.#stream.holdsEntries
  }

  protected override get mayRunAhead(): boolean {
    return this.#window?.room !== 0
  }

  protected override onClaimEnd(): void {
    this.#stream.onClaimEnd?.()
  }

  protected override onGap(channel: Channel, offset: number): void {
    this.#window?.onGap(channel, offset)
  }

  protected override onPositionReset(channel: Channel, offset: number): void {
    this.#window?.onReset(channel, offset)
  }

  protected sendReset(reset: ResetData, cursor: string | undefined): void {
    this.#stream.write(resetBlock(reset, cursor), 0)
  }

  protected sendGap(gap: GapData): void {
    this.#stream.write(gapBlock(gap), 0)
  }

  protected onAllEnded(): void {
    this.#stream.close('completed')
  }

  protected send(
    position: ChannelPosition,
    entryAt: (offset: number) => LogEntry | undefined,
    page: Page | undefined,
  ): boolean {
    const { hasCredit, paced, whenBehind, holdsEntries } = this.#stream
    // Pacing grants one event at a time in any case.
    if (whenBehind === 'queue' && (paced || !hasCredit || holdsEntries))
      return this.#offer(position, entryAt(position.offset + 1))
    const chunk =
      page !== undefined && this.#alone && !paced && this.#window === undefined
        ? page.chunk(position.offset, position.channel.flushed)
        : chunkAfter(position.offset, entryAt, this.#chunkOptions(position))
    if (chunk === undefined) return false
    if (!this.#stream.spend(chunk.count, chunk.blocks.length)) return true
    this.positions.moveTo(position, chunk.last)
    this.#window?.onSent(position.channel, chunk.last)
    this.#stream.write(chunk.blocks, chunk.count)
    reportReplay(position.channel, chunk.first, chunk.count)
    return true
  }

  /** Passes one entry to the stream, which sends, queues or drops it. */
  #offer(position: ChannelPosition, entry: LogEntry | undefined): boolean {
    if (entry === undefined) return false
    this.positions.moveTo(position, entry.offset)
    const blocks = Blocks.join([idLine(this.cursor()), entry.body])
    if (this.#stream.offer(blocks, entry, Blocks.of(entry.body)) === 'sent') reportReplay(position.channel, entry, 1)
    return true
  }

  #chunkOptions(position: ChannelPosition): ChunkOptions {
    const max = this.#stream.paced ? 1 : this.#window?.room
    const options = max === undefined ? {} : { max }
    return this.#alone ? options : { ...options, cursorAt: (offset) => this.positions.toCursor(position, offset) }
  }
}
