import type { LogEntry } from '../../core/message.js'
import { Ring } from '../../core/ring.js'

/**
 * The latest entries of a log, bounded in bytes and entries: the oldest leave. A channel keeps one for streams that fall a
 * little behind, to be read without the broker; shared by all its streams.
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

  /** Takes the oldest. */
  shift(): LogEntry | undefined {
    const entry = this.#entries.shift()
    this.#bytes -= entry?.body.length ?? 0
    return entry
  }

  /** The entry with this offset, if it is still here and the entries are dense. */
  get(offset: number): LogEntry | undefined {
    const first = this.#entries.at(0)
    return first === undefined ? undefined : this.#entries.at(offset - first.offset)
  }

  clear(): void {
    this.#entries.clear()
    this.#bytes = 0
  }
}
