import type { LogEntry } from '../core/message.js'
import { Ring } from '../core/ring.js'

/**
 * The latest entries of a log, kept in this process for streams that fall a little behind: read without the broker.
 * Shared by all streams of the channel and bounded in bytes and entries. Dense: the entry `n` before the newest is `n`
 * places before the end.
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

  /** @param entry the one directly after the newest, unless the tail is empty */
  push(entry: LogEntry): void {
    this.#entries.push(entry)
    this.#bytes += entry.frame.length
    while (this.#bytes > this.#maxBytes || this.#entries.length > this.#maxEntries) {
      this.#bytes -= this.#entries.shift()?.frame.length ?? 0
    }
  }

  /** The entry with this offset, if it is still here. */
  get(offset: number): LogEntry | undefined {
    const first = this.#entries.at(0)
    return first === undefined ? undefined : this.#entries.at(offset - first.offset)
  }

  clear(): void {
    this.#entries.clear()
    this.#bytes = 0
  }
}
