const CRLF = '\r\n'

/**
 * Whole blocks of an event stream as bytes that any number of streams may be sent. Immutable. Framed as a chunk of
 * HTTP/1.1 (RFC 9112, 7.1) at most once, when the first stream asks for it.
 */
export class Blocks {
  /** In bytes, without a frame. */
  readonly length: number
  #bytes: Buffer | undefined
  #chunk: Buffer | undefined

  private constructor(length: number, bytes: Buffer | undefined, chunk: Buffer | undefined) {
    this.length = length
    this.#bytes = bytes
    this.#chunk = chunk
  }

  static of(bytes: Buffer): Blocks {
    return new Blocks(bytes.length, bytes, undefined)
  }

  /** Joins parts and frames them in the same copy. @param parts strings must be ASCII */
  static join(parts: readonly (Buffer | string)[]): Blocks {
    let length = 0
    for (const part of parts) length += part.length
    const size = sizeLine(length)
    const chunk = Buffer.allocUnsafe(size.length + length + CRLF.length)
    // Strings next to each other are written as one.
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
    return new Blocks(length, undefined, chunk)
  }

  get bytes(): Buffer {
    this.#bytes ??= this.chunk.subarray(-this.length - CRLF.length, -CRLF.length)
    return this.#bytes
  }

  /** The bytes as one chunk. */
  get chunk(): Buffer {
    this.#chunk ??= Blocks.join([this.bytes]).chunk
    return this.#chunk
  }
}

/** A text as one chunk. @param text ASCII */
export function chunkText(text: string): string {
  return `${sizeLine(text.length)}${text}${CRLF}`
}

function sizeLine(length: number): string {
  return `${length.toString(16)}${CRLF}`
}
