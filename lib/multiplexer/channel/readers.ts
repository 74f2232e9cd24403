/**
 * channel ─► **readers** ─► streams and polls: the readers of one channel, and the live ones. Owns the sets, so that a
 * reader that leaves is in none of them. Must not know positions.
 */
import type { LogEntry } from '../../core/message.js'
import type { Blocks } from '../../wire/blocks.js'
import type { Batch } from './batch.js'

/** A reader, as its channel calls it when entries arrive. */
export interface BatchReader {
  /**
   * Delivers new entries to a live reader.
   * @returns whether the reader took them. If not, it has left the live readers, and `resume` is called once `flushed`
   * includes the batch
   */
  onBatch(batch: Batch): boolean
  /** Delivers an event that is in no log. @returns whether the event was written immediately */
  onEphemeral(entry: LogEntry, blocks: Blocks): boolean
  /** The channel is about to skip entries: a live reader records its position and leaves the live readers. */
  pause(): void
  /** The channel has new entries, or its position has changed: the reader continues from its own position. */
  resume(): void
}

export class ChannelReaders<Reader extends BatchReader> {
  readonly #all = new Set<Reader>()
  /** The readers that have all entries up to the channel's `flushed`. */
  readonly #live = new Set<Reader>()
  /** The readers that `resume` is called for when `flushed` moves. */
  readonly #waiting = new Set<Reader>()

  join(reader: Reader): void {
    this.#all.add(reader)
  }

  leave(reader: Reader): void {
    this.#all.delete(reader)
    this.#live.delete(reader)
    this.#waiting.delete(reader)
  }

  goLive(reader: Reader): void {
    this.#live.add(reader)
  }

  leaveLive(reader: Reader): void {
    this.#live.delete(reader)
  }

  resumeOnEntries(reader: Reader): void {
    this.#waiting.add(reader)
  }

  /** Delivers a batch to the live readers. @returns how many took it, and those that did not */
  deliver(batch: Batch): { readonly taken: number; readonly refusing: readonly Reader[] } {
    let taken = 0
    const refusing: Reader[] = []
    for (const reader of this.#live) {
      if (reader.onBatch(batch)) taken++
      else refusing.push(reader)
    }
    return { taken, refusing }
  }

  /** Delivers an event that is in no log to all readers. @returns to how many it was written immediately */
  deliverEphemeral(entry: LogEntry, blocks: Blocks): number {
    let written = 0
    for (const reader of this.#all) if (reader.onEphemeral(entry, blocks)) written++
    return written
  }

  /** Pauses the live readers. @returns them */
  pauseLive(): readonly Reader[] {
    const readers = [...this.#live]
    for (const reader of readers) reader.pause()
    return readers
  }

  resumeWaiting(): void {
    if (this.#waiting.size === 0) return
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const reader of waiting) reader.resume()
  }

  /** Calls `notify` for each reader. A reader may leave during the call. */
  notifyAll(notify: (reader: Reader) => void): void {
    for (const reader of [...this.#all]) notify(reader)
  }
}
