import type { Socket } from 'node:net'

const CRLF = '\r\n'
/** Buffers of this size or larger are never copied: all streams write the log's own buffer. */
const LARGE_BYTES = 65_536

/**
 * Complete blocks of an event stream as bytes that any number of streams share. Immutable. The blocks are framed as an
 * HTTP/1.1 chunk (RFC 9112, 7.1) at most once, when the first stream needs the chunk. Large blocks are framed while
 * they are written.
 */
export class Blocks {
  /** In bytes, without the chunk frame. */
  readonly length: number
  #bytes: Buffer | undefined
  #chunk: Buffer | undefined
  /** Set if a part is too large to be copied. */
  readonly #parts: readonly Buffer[] | undefined

  private constructor(
    length: number,
    bytes: Buffer | undefined,
    chunk: Buffer | undefined,
    parts: readonly Buffer[] | undefined,
  ) {
    this.length = length
    this.#bytes = bytes
    this.#chunk = chunk
    this.#parts = parts
  }

  static of(bytes: Buffer): Blocks {
    return new Blocks(bytes.length, bytes, undefined, bytes.length < LARGE_BYTES ? undefined : [bytes])
  }

  /** Joins parts and frames them in one copy. @param parts strings must be ASCII */
  static join(parts: readonly (Buffer | string)[]): Blocks {
    let length = 0
    let largest = 0
    for (const part of parts) {
      length += part.length
      if (part.length > largest) largest = part.length
    }
    if (largest >= LARGE_BYTES) return new Blocks(length, undefined, undefined, joinSmall(parts))
    return new Blocks(length, undefined, frame(parts, length), undefined)
  }

  get bytes(): Buffer {
    this.#bytes ??=
      this.#parts === undefined
        ? this.chunk.subarray(-this.length - CRLF.length, -CRLF.length)
        : Buffer.concat(this.#parts)
    return this.#bytes
  }

  /** The bytes as one chunk. */
  get chunk(): Buffer {
    this.#chunk ??= frame([this.bytes], this.length)
    return this.#chunk
  }

  /** Writes the blocks as one chunk. @returns like `socket.write`: whether the buffer has room */
  writeTo(socket: Socket): boolean {
    if (this.#parts === undefined) return socket.write(this.chunk)
    socket.cork()
    socket.write(sizeLine(this.length), 'latin1')
    for (const part of this.#parts) socket.write(part)
    const room = socket.write(CRLF, 'latin1')
    socket.uncork()
    return room
  }
}

/** Joins adjacent small parts and keeps large parts as they are. */
function joinSmall(parts: readonly (Buffer | string)[]): readonly Buffer[] {
  const joined: Buffer[] = []
  let small: Buffer[] = []
  for (const part of parts) {
    if (typeof part === 'string') {
      small.push(Buffer.from(part, 'latin1'))
    } else if (part.length < LARGE_BYTES) {
      small.push(part)
    } else {
      joined.push(Buffer.concat(small), part)
      small = []
    }
  }
  return [...joined, Buffer.concat(small)].filter(({ length }) => length > 0)
}

/** Joins parts and frames them in one copy. */
function frame(parts: readonly (Buffer | string)[], length: number): Buffer {
  const size = sizeLine(length)
  const chunk = Buffer.allocUnsafe(size.length + length + CRLF.length)
  // Adjacent strings are joined and written at once.
  let text = size
  let at = 0
  for (const part of parts) {
    if (typeof part === 'string') {
      text += part
    } else {
      at += chunk.write(text, at, 'latin1')
      at += part.copy(chunk, at)
      text = ''
    }
  }
  chunk.write(text + CRLF, at, 'latin1')
  return chunk
}

/** A text as one chunk. @param text ASCII */
export function chunkText(text: string): string {
  return `${sizeLine(text.length)}${text}${CRLF}`
}

function sizeLine(length: number): string {
  return `${length.toString(16)}${CRLF}`
}
