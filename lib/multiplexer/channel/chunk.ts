import type { LogEntry } from '../../core/message.js'
import { Blocks } from '../../wire/blocks.js'
import { idLine, printCursor } from '../../wire/cursor.js'

/** Bytes in one write while a stream lags: large enough to be cheap, small compared with a socket's buffers. */
const CHUNK_BYTES = 32_768

/** Adjacent entries of a log, joined into one write. */
export interface Chunk {
  readonly blocks: Blocks
  readonly count: number
  readonly first: LogEntry
  /** The offset of the last entry. */
  readonly last: number
}

export interface ChunkOptions {
  /** The maximum number of entries. @defaultValue as many as fit in one write */
  readonly max?: number
  /** For a stream on several channels: the stream's cursor after the entry with this offset. */
  readonly cursorAt?: ((offset: number) => string) | undefined
}

/** Joins the entries that follow offset `after`. @returns `undefined` if there are none */
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
