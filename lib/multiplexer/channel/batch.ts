/**
 * The entries that one channel received in one tick, as the bytes to write. The bytes are joined once for all streams
 * on this channel alone, and once for each set of channels that streams share (bench fanout).
 */

import type { LogEntry } from '../../core/message.js'
import type { Position } from '../../core/position.js'
import { Blocks } from '../../wire/blocks.js'
import { idLine, printCursor } from '../../wire/cursor.js'

/** The part of a channel that cursors need: the position of a stream that has been sent all entries. */
export interface CursorPart {
  readonly name: string
  readonly epoch: string
  readonly flushed: number
  /** The position of this log in a cursor. `undefined`: the cursor has none. */
  positionIn(cursor: readonly Position[]): Position | undefined
}

export class Batch {
  /** How many streams have queued the batch, to send or drop its entries later. */
  queuedBy = 0
  readonly entries: readonly LogEntry[]
  readonly channel: CursorPart
  readonly #joined = new Map<string, Blocks>()
  /** One block for each entry, for streams that queue. By `setKey`. */
  readonly #single = new Map<string, readonly Blocks[]>()
  #joinedAlone: Blocks | undefined
  #withoutId: readonly Blocks[] | undefined

  constructor(channel: CursorPart, entries: readonly LogEntry[]) {
    this.channel = channel
    this.entries = entries
  }

  /** The offset of the last entry. */
  get last(): number {
    return this.entries.at(-1)?.offset ?? this.channel.flushed
  }

  /** The blocks for streams on this channel alone. */
  forChannel(): Blocks {
    this.#joinedAlone ??= Blocks.join(this.#parts().flat())
    return this.#joinedAlone
  }

  /**
   * The blocks for streams on several channels that are live on all of them: the id of each event is the position in
   * all channels.
   * @param setKey identifies the set
   * @param set the channels, in the order of the cursor
   */
  forSet(setKey: string, set: readonly CursorPart[]): Blocks {
    let blocks = this.#joined.get(setKey)
    if (blocks === undefined) {
      blocks = Blocks.join(this.#parts(set).flat())
      this.#joined.set(setKey, blocks)
    }
    return blocks
  }

  /** Like `forSet`, or without a set like `forChannel`, but one block for each entry. */
  each(setKey: string, set: readonly CursorPart[] | undefined): readonly Blocks[] {
    let blocks = this.#single.get(setKey)
    if (blocks === undefined) {
      blocks = this.#parts(set).map((parts) => Blocks.join(parts))
      this.#single.set(setKey, blocks)
    }
    return blocks
  }

  /** The block of an entry, without an id. */
  withoutId(index: number): Blocks {
    this.#withoutId ??= this.entries.map(({ body }) => Blocks.of(body))
    return this.#withoutId[index] as Blocks
  }

  /** The id line and the body of each entry. */
  #parts(set?: readonly CursorPart[]): (string | Buffer)[][] {
    if (set === undefined) return this.entries.map((entry) => [idLine(printCursor([entry])), entry.body])
    const positions = set.map(({ epoch, flushed }) => ({ epoch, offset: flushed }))
    const own = set.findIndex(({ name }) => name === this.channel.name)
    return this.entries.map((entry) => {
      positions[own] = entry
      return [idLine(printCursor(positions)), entry.body]
    })
  }
}
