/** The positions of one reader: one for each of its channels. */
import type { LogEntry } from '../../core/message.js'
import type { Position } from '../../core/position.js'
import type { ResetReason } from '../../wire/contract.js'
import { printCursor } from '../../wire/cursor.js'
import type { CursorPart } from '../channel/batch.js'
import type { Channel } from '../channel/channel.js'

/** Where a reader begins in one channel. */
export interface StartPosition {
  readonly channel: Channel
  readonly offset: number
  /** The client must be notified that its position in this channel was reset. */
  readonly reset?: ResetReason
  /** Begin with the oldest entry kept. Entries before it are not a gap: the client has not requested an offset. */
  readonly earliest?: boolean
}

/** Where a reader is in one channel. */
export interface ChannelPosition {
  readonly channel: Channel
  /** The last offset sent. Out of date while the reader is live: then it is the channel's `flushed`. */
  offset: number
  /** A reset that the client has not been notified of. */
  reset: ResetReason | undefined
  /** See `StartPosition`. Cleared with the first page, or when the reader goes live. */
  earliest: boolean
  /** A page for this position is being read. */
  reading: boolean
  /**
   * The last page arrived when other positions had spent the credit, and it may be evicted before there is credit
   * again. While the next page is being read, the other positions and the stream's own queue leave the credit to this
   * position.
   */
  starved: boolean
}

export class ReaderPositions {
  readonly #positions: readonly ChannelPosition[]
  #live = false
  /** The index of the position that was served last. */
  #lastServed = -1

  constructor(starts: readonly StartPosition[]) {
    this.#positions = starts.map(({ channel, offset, reset, earliest = false }) => ({
      channel,
      offset,
      reset,
      earliest,
      reading: false,
      starved: false,
    }))
  }

  /** The reader has sent all entries that its channels have flushed. */
  get live(): boolean {
    return this.#live
  }

  goLive(): void {
    this.#live = true
    for (const position of this.#positions) position.earliest = false
  }

  leaveLive(): void {
    this.#live = false
    for (const position of this.#positions) position.offset = position.channel.flushed
  }

  of(channel: CursorPart): ChannelPosition | undefined {
    return this.#positions.find((candidate) => candidate.channel === channel)
  }

  /**
   * A position whose reset is not announced yet. Until it is, no id may be sent: the id would include a position that
   * the client does not know of.
   */
  get unannounced(): ChannelPosition | undefined {
    for (const position of this.#positions) if (position.reset !== undefined) return position
    return undefined
  }

  /** Every position is at the `flushed` offset of its channel. */
  get caughtUp(): boolean {
    return this.#positions.every(({ offset, channel }) => offset === channel.flushed)
  }

  /**
   * The next position that has entries to send and does not wait for a page. Positions take turns, so that a busy
   * channel does not delay the others. `undefined` also while a position claims the credit.
   */
  get behind(): ChannelPosition | undefined {
    const count = this.#positions.length
    for (let i = 1; i <= count; i++) {
      const position = this.#positions[(this.#lastServed + i) % count] as ChannelPosition
      if (claimsCredit(position)) return undefined
      if (!position.reading && position.offset < position.channel.flushed) return position
    }
    return undefined
  }

  /** See `StreamSource`. */
  get claimsCredit(): boolean {
    for (const position of this.#positions) if (claimsCredit(position)) return true
    return false
  }

  /** The entries up to `offset` are sent, and it is the next position's turn. */
  moveTo(position: ChannelPosition, offset: number): void {
    this.#lastServed = this.#positions.indexOf(position)
    position.starved = false
    position.offset = offset
    position.earliest = false
  }

  /** The number of entries to send. */
  get lag(): number {
    if (this.#live) return 0
    return this.#positions.reduce((sum, { channel, offset }) => sum + Math.max(0, channel.flushed - offset), 0)
  }

  /** Of the entries at a cursor that were sent and are still in their channels' tails: the one published last. */
  latestEntryAt(cursor: readonly Position[]): { readonly channel: Channel; readonly entry: LogEntry } | undefined {
    let latest: { readonly channel: Channel; readonly entry: LogEntry } | undefined
    for (const { channel, offset } of this.#positions) {
      const position = channel.positionIn(cursor)
      if (position === undefined || position.offset > (this.#live ? channel.flushed : offset)) continue
      const entry = channel.tail.get(position.offset)
      if (entry === undefined || (entry.publishedAt ?? 0) < (latest?.entry.publishedAt ?? 0)) continue
      latest = { channel, entry }
    }
    return latest
  }

  /** The positions as a cursor. @param moved a position to print with offset `to` instead of its own */
  toCursor(moved?: ChannelPosition, to = 0): string {
    return printCursor(
      this.#positions.map((position) => {
        const offset = this.#live ? position.channel.flushed : position.offset
        return { epoch: position.channel.epoch, offset: position === moved ? to : offset }
      }),
    )
  }
}

function claimsCredit({ reading, starved }: ChannelPosition): boolean {
  return reading && starved
}
