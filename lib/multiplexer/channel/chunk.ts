import type { LogEntry } from '../../core/message.js'
import { Blocks } from '../../wire/blocks.js'
import { idLine, printCursor } from '../../wire/cursor.js'

/** Bytes joined to one write while catching up: enough to be cheap, small beside a socket's buffers. */
const CHUNK_BYTES = 32_768

/** Entries next to each other in a log, joined to be written at once. */
export interface Chunk {
  readonly blocks: Blocks
  readonly count: number
  readonly first: LogEntry
  /** The offset of the last. */
  readonly last: number
}

export interface ChunkOptions {
  /** Entries at most. @defaultValue as many as one write holds */
  readonly max?: number
  /** For a stream on several channels: its cursor once it has been sent the entry with this offset. */
  readonly cursorAt?: ((offset: number) => string) | undefined
}

/** Joins the entries after offset `after`. @returns `undefined` if there is none */
export function chunkAfter(
  after: number,
  entryAt: (offset: number) => LogEntry | undefined,
  { max = Number.POSITIVE_INFINITY, cursorAt }: ChunkOptions = {},
): Chunk | undefined {
  const parts: (Buffer | string)[] = []
  let bytes = 0
  let last = after
  const first = entryAt(last + 1)
  if (first === undefined || max < 1) return undefined
  for (let entry: LogEntry | undefined = first; entry; entry = entryAt(last + 1)) {
    if (last - after >= max || (last > after && bytes + entry.body.length > CHUNK_BYTES)) break
    last = entry.offset
    bytes += entry.body.length
    parts.push(idLine(cursorAt === undefined ? printCursor([entry]) : cursorAt(last)), entry.body)
  }
  return { blocks: Blocks.join(parts), count: last - after, first, last }
}
