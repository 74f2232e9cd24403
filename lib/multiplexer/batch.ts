/**
 * The entries of one channel that came in one tick, as the bytes to write: joined once for all streams on this channel
 * alone, and once for each set of channels that streams share.
 */

import { Blocks } from '../core/blocks.js'
import type { LogEntry } from '../core/message.js'
import { idLine, printCursor } from '../wire/cursor.js'

/** A channel as a cursor sees it: where a stream is that has been sent all of it. */
export interface CursorPart {
  readonly name: string
  readonly epoch: string
  readonly flushed: number
}

export class Batch {
  readonly entries: readonly LogEntry[]
  readonly #channel: CursorPart
  readonly #bySet = new Map<string, Blocks>()
  #alone: Blocks | undefined

  constructor(channel: CursorPart, entries: readonly LogEntry[]) {
    this.#channel = channel
    this.entries = entries
  }

  /** For streams on this channel only. */
  alone(): Blocks {
    this.#alone ??= Blocks.join(this.entries.flatMap((entry) => [idLine(printCursor([entry])), entry.body]))
    return this.#alone
  }

  /**
   * For streams on several channels that are live on all of them: each event's id is the position in all.
   * @param setKey names the set
   * @param parts the set's channels in the cursor's order
   */
  forSet(setKey: string, parts: readonly CursorPart[]): Blocks {
    let shared = this.#bySet.get(setKey)
    if (shared === undefined) {
      const positions = parts.map(({ epoch, flushed }) => ({ epoch, offset: flushed }))
      const own = parts.findIndex(({ name }) => name === this.#channel.name)
      const blocks = this.entries.flatMap((entry) => {
        positions[own] = entry
        return [idLine(printCursor(positions)), entry.body]
      })
      shared = Blocks.join(blocks)
      this.#bySet.set(setKey, shared)
    }
    return shared
  }
}
