import type { LogEntry } from '../core/message.js'
import type { HistoryPage } from '../core/ports.js'
import type { Position } from '../core/position.js'
import { type Chunk, chunkAfter } from './chunk.js'

/** Joined chunks kept of a page; clients that come back together were mostly cut off at the same few offsets. */
const MAX_CHUNKS = 8

/** One read of a log's history, for all streams that need it: those at the same offset are sent the same bytes. */
export class Page {
  readonly head: Position
  readonly entries: readonly LogEntry[]
  /** The offset of the last entry; 0: there is none. */
  readonly last: number
  /** Bytes of the entries. */
  readonly bytes: number
  /** By the offset they begin after. */
  readonly #chunks = new Map<number, Chunk>()

  constructor({ head, entries }: HistoryPage) {
    this.head = head
    this.entries = entries
    this.last = entries.at(-1)?.offset ?? 0
    this.bytes = entries.reduce((sum, { body }) => sum + body.length, 0)
  }

  /** The offset of the first entry after `after`. */
  firstAfter(after: number): number | undefined {
    const first = Math.max(after + 1, this.entries[0]?.offset ?? 0)
    return this.at(first)?.offset
  }

  at(offset: number): LogEntry | undefined {
    return this.entries[offset - (this.entries[0]?.offset ?? 0)]
  }

  /** What comes after offset `after` and is not beyond `last`, for streams on this channel alone. */
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
}
