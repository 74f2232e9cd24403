/** Where one stream is in each of its channels. */
import type { LogEntry } from '../../core/message.js'
import type { Position } from '../../core/position.js'
import type { ResetReason } from '../../wire/contract.js'
import { printCursor } from '../../wire/cursor.js'
import type { Channel } from '../channel/channel.js'

/** Where a stream begins in one channel. */
export interface Start {
  readonly channel: Channel
  readonly offset: number
  /** The client must be told that this channel starts anew. */
  readonly reset?: ResetReason
  /** Begins with whatever is still there: what is gone is no gap, for the client never asked for it by number. */
  readonly earliest?: boolean
}

export interface Cursor {
  readonly channel: Channel
  /** The last entry sent; while live it is the channel's `flushed`, and this is out of date. */
  offset: number
  reset: ResetReason | undefined
  /** It begins with whatever is there. Until the first page, or until it is live. */
  earliest: boolean
  /** A page is being read for it. */
  reading: boolean
  /**
   * Its page came when others had spent the credit; it may be dropped before there is more. Other cursors, and the stream's own queue,
   * wait for its next page.
   */
  passedOver: boolean
}

export class Cursors {
  readonly #cursors: readonly Cursor[]
  /** The stream has been sent all that its channels have flushed. */
  #live = false
  /** The index of the one that had its turn last. */
  #turn = -1

  constructor(starts: readonly Start[]) {
    this.#cursors = starts.map(({ channel, offset, reset, earliest = false }) => ({
      channel,
      offset,
      reset,
      earliest,
      reading: false,
      passedOver: false,
    }))
  }

  get live(): boolean {
    return this.#live
  }

  goLive(): void {
    this.#live = true
    for (const cursor of this.#cursors) cursor.earliest = false
  }

  leaveLive(): void {
    this.#live = false
    for (const cursor of this.#cursors) cursor.offset = cursor.channel.flushed
  }

  of(channel: Channel): Cursor | undefined {
    return this.#cursors.find((candidate) => candidate.channel === channel)
  }

  /** One whose reset is still to be announced. Until then no id may go out: it would stand for what the client does not know. */
  get unannounced(): Cursor | undefined {
    for (const cursor of this.#cursors) if (cursor.reset !== undefined) return cursor
    return undefined
  }

  /** Each stands where its channel does. */
  get caughtUp(): boolean {
    return this.#cursors.every(({ offset, channel }) => offset === channel.flushed)
  }

  /**
   * The next one that is owed something and does not wait for a page. They take turns, so that none waits for a busy one. `undefined`
   * also while one waits for its page that was passed over before.
   */
  get behind(): Cursor | undefined {
    const count = this.#cursors.length
    for (let i = 1; i <= count; i++) {
      const cursor = this.#cursors[(this.#turn + i) % count] as Cursor
      if (claims(cursor)) return undefined
      if (!cursor.reading && cursor.offset < cursor.channel.flushed) return cursor
    }
    return undefined
  }

  /** See `StreamSource`. */
  get claimsCredit(): boolean {
    for (const cursor of this.#cursors) if (claims(cursor)) return true
    return false
  }

  /** It has had its turn. */
  served(cursor: Cursor): void {
    this.#turn = this.#cursors.indexOf(cursor)
    cursor.passedOver = false
  }

  /** Events owed. */
  get lag(): number {
    if (this.#live) return 0
    return this.#cursors.reduce((sum, { channel, offset }) => sum + Math.max(0, channel.flushed - offset), 0)
  }

  /** Of the entries at these positions that were sent and are still in their channels' tails, the one published last. */
  latestOf(positions: readonly Position[]): { readonly channel: Channel; readonly entry: LogEntry } | undefined {
    let latest: { readonly channel: Channel; readonly entry: LogEntry } | undefined
    for (const { channel, offset } of this.#cursors) {
      const position = channel.find(positions)
      if (position === undefined || position.offset > (this.#live ? channel.flushed : offset)) continue
      const entry = channel.tail.get(position.offset)
      if (entry === undefined || (entry.publishedAt ?? 0) < (latest?.entry.publishedAt ?? 0)) continue
      latest = { channel, entry }
    }
    return latest
  }

  /** The position as an `id:`. @param moved one that is taken to have come to `to` */
  print(moved?: Cursor, to = 0): string {
    return printCursor(
      this.#cursors.map((cursor) => {
        const offset = this.#live ? cursor.channel.flushed : cursor.offset
        return { epoch: cursor.channel.epoch, offset: cursor === moved ? to : offset }
      }),
    )
  }
}

function claims({ reading, passedOver }: Cursor): boolean {
  return reading && passedOver
}
