import { Blocks } from '../core/blocks.js'
import type { LogEntry } from '../core/message.js'

/** Bytes joined to one write while catching up: enough to be cheap, small beside a socket's buffers. */
const CHUNK_BYTES = 32_768

/** Entries next to each other in a log, joined to be written at once. */
export interface Chunk {
  readonly blocks: Blocks
  readonly count: number
  /** The offset of the last. */
  readonly last: number
}

/**
 * Joins the entries after offset `after`, as far as there are any and one write holds them.
 * @param cursorAt for a stream on several channels: its cursor once it has been sent the entry with this offset
 * @returns `undefined` if there is none
 */
export function chunkAfter(
  after: number,
  entryAt: (offset: number) => LogEntry | undefined,
  cursorAt?: (offset: number) => string,
): Chunk | undefined {
  const parts: (Buffer | string)[] = []
  let bytes = 0
  let last = after
  for (let entry = entryAt(last + 1); entry; entry = entryAt(last + 1)) {
    if (last > after && bytes + entry.frame.length > CHUNK_BYTES) break
    last = entry.offset
    bytes += entry.frame.length
    if (cursorAt === undefined) parts.push(entry.frame)
    else parts.push(`id: ${cursorAt(last)}\n`, entry.frame.subarray(entry.bodyStart))
  }
  return last === after ? undefined : { blocks: Blocks.join(parts), count: last - after, last }
}
