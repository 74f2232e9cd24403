/**
 * The entries of one channel that came in one tick, as the bytes to write: joined once for all streams on this channel
 * alone, and once for each set of channels that streams share.
 */

import type { LogEntry } from '../../core/message.js'
import type { Position } from '../../core/position.js'
import { Blocks } from '../../wire/blocks.js'
import { idLine, printCursor } from '../../wire/cursor.js'

/** A channel as a cursor sees it: where a stream is that has been sent all of it. */
export interface CursorPart {
  readonly name: string
  readonly epoch: string
  readonly flushed: number
  /** The part of a cursor that stands for this log, and how far that is in it. */
  find(cursor: readonly Position[]): Position | undefined
}

export class Batch {
  /** Streams that queued it, and will send it later or never. */
  queuedBy = 0
  readonly entries: readonly LogEntry[]
  readonly channel: CursorPart
  readonly #joined = new Map<string, Blocks>()
  /** One for each entry, for streams that queue. */
  readonly #single = new Map<string, readonly Blocks[]>()
  #alone: Blocks | undefined
  #bare: readonly Blocks[] | undefined

  constructor(channel: CursorPart, entries: readonly LogEntry[]) {
    this.channel = channel
    this.entries = entries
  }

  /** The last entry's offset. */
  get last(): number {
    return this.entries.at(-1)?.offset ?? this.channel.flushed
  }

  /** For streams on this channel only. */
  alone(): Blocks {
    this.#alone ??= Blocks.join(this.#parts().flat())
    return this.#alone
  }

  /**
   * For streams on several channels that are live on all of them: each event's id is the position in all.
   * @param setKey names the set
   * @param set the set's channels in the cursor's order
   */
  forSet(setKey: string, set: readonly CursorPart[]): Blocks {
    let blocks = this.#joined.get(setKey)
    if (blocks === undefined) {
      blocks = Blocks.join(this.#parts(set).flat())
      this.#joined.set(setKey, blocks)
    }
    return blocks
  }

  /** As `forSet`, or without a set as `alone`, but each entry apart. */
  each(setKey: string, set: readonly CursorPart[] | undefined): readonly Blocks[] {
    let blocks = this.#single.get(setKey)
    if (blocks === undefined) {
      blocks = this.#parts(set).map((parts) => Blocks.join(parts))
      this.#single.set(setKey, blocks)
    }
    return blocks
  }

  /** An entry without an id. */
  bare(index: number): Blocks {
    this.#bare ??= this.entries.map(({ body }) => Blocks.of(body))
    return this.#bare[index] as Blocks
  }

  /** Each entry's id line and body. */
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
