import type { LogEntry } from '../../core/message.js'
import { Ring } from '../../core/ring.js'

/**
 * The latest entries of a log, bounded in bytes and entries: the oldest entries are evicted. Streams that lag a little
 * read from the tail of their channel instead of the broker.
 */
export class Tail {
  readonly #maxBytes: number
  readonly #maxEntries: number
  readonly #entries = new Ring<LogEntry>()
  #bytes = 0

  constructor(maxBytes: number, maxEntries: number) {
    this.#maxBytes = maxBytes
    this.#maxEntries = maxEntries
  }

  push(entry: LogEntry): void {
    this.#entries.push(entry)
    this.#bytes += entry.body.length
    while (this.#bytes > this.#maxBytes || this.#entries.length > this.#maxEntries) this.shift()
  }

  /** Removes the oldest entry. */
  shift(): LogEntry | undefined {
    const entry = this.#entries.shift()
    this.#bytes -= entry?.body.length ?? 0
    return entry
  }

  /**
   * The entry with this offset. `undefined`: it was evicted, or has not arrived. Requires that the entries are dense.
   */
  get(offset: number): LogEntry | undefined {
    const first = this.#entries.at(0)
    return first === undefined ? undefined : this.#entries.at(offset - first.offset)
  }

  clear(): void {
    this.#entries.clear()
    this.#bytes = 0
  }
}
