import type { HistoryPage } from '../../broker/broker.js'
import type { LogEntry } from '../../core/message.js'
import type { Position } from '../../core/position.js'
import { type Chunk, chunkAfter } from './chunk.js'

/** Joined chunks kept for each page: clients that were disconnected together resume from the same few offsets. */
const MAX_CHUNKS = 8

/**
 * One read of a log's history, and the only place that decides which of its offsets are lost: `missingAfter`. Shared by
 * all streams that need the page, and by the channel when it recovers. Streams at the same offset are sent the same
 * bytes.
 */
export class Page {
  readonly head: Position
  /** The offset that the page begins after. */
  readonly after: number
  /** The last offset that the page covers. */
  readonly end: number
  /** The bytes of the entries. */
  readonly bytes: number
  readonly #entries: readonly LogEntry[]
  /** By the offset that the chunk begins after. */
  readonly #chunks = new Map<number, Chunk>()

  /** @param after the offset that the read began after */
  constructor(after: number, { head, entries, end }: HistoryPage) {
    this.head = head
    this.after = after
    this.end = end
    this.#entries = entries
    this.bytes = entries.reduce((sum, { body }) => sum + body.length, 0)
  }

  /** The number of entries. */
  get length(): number {
    return this.#entries.length
  }

  /** Whether the page shows what follows this offset. */
  covers(offset: number): boolean {
    return this.after <= offset && offset < this.end
  }

  at(offset: number): LogEntry | undefined {
    const entry = this.#entries[this.#indexAfter(offset - 1)]
    return entry?.offset === offset ? entry : undefined
  }

  /** The end of the gap that follows `offset`. `offset` itself: the next entry exists. */
  missingAfter(offset: number): number {
    const next = this.#entries[this.#indexAfter(offset)]
    return Math.max(offset, next === undefined ? this.end : next.offset - 1)
  }

  /** The entries after offset `after` and up to `last`, for streams on this channel alone. */
  chunk(after: number, last: number): Chunk | undefined {
    const shared = this.#chunks.get(after)
    if (shared !== undefined) return shared
    const chunk = chunkAfter(after, (offset) => (offset <= last ? this.at(offset) : undefined))
    if (chunk === undefined) return undefined
    if (this.#chunks.size >= MAX_CHUNKS) {
      const [oldest = after] = this.#chunks.keys()
      this.#chunks.delete(oldest)
    }
    this.#chunks.set(after, chunk)
    return chunk
  }

  /** The index of the first entry after an offset. */
  #indexAfter(offset: number): number {
    const entries = this.#entries
    const [first] = entries
    if (first === undefined || first.offset > offset) return 0
    // The usual case: no entry is missing.
    const dense = offset - first.offset + 1
    if (entries[dense - 1]?.offset === offset) return dense
    let low = 0
    let high = entries.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((entries[middle] as LogEntry).offset <= offset) low = middle + 1
      else high = middle
    }
    return low
  }
}
