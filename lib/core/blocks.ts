const CRLF = '\r\n'

/**
 * Whole blocks of an event stream as bytes that any number of streams may be sent. Immutable. Framed as a chunk of
 * HTTP/1.1 (RFC 9112, 7.1) at most once, when the first stream asks for it.
 */
export class Blocks {
  readonly bytes: Buffer
  #chunk: Buffer | undefined

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  /** Joins parts and frames them in the same copy. @param parts strings must be ASCII */
  static join(parts: readonly (Buffer | string)[]): Blocks {
    let length = 0
    for (const part of parts) length += part.length
    const size = `${length.toString(16)}${CRLF}`
    const chunk = Buffer.allocUnsafe(size.length + length + CRLF.length)
    let at = chunk.write(size, 0, 'latin1')
    for (const part of parts) at += typeof part === 'string' ? chunk.write(part, at, 'latin1') : part.copy(chunk, at)
    chunk.write(CRLF, at, 'latin1')
    const blocks = new Blocks(chunk.subarray(size.length, at))
    blocks.#chunk = chunk
    return blocks
  }

  /** The bytes as one chunk. */
  get chunk(): Buffer {
    this.#chunk ??= Blocks.join([this.bytes]).chunk
    return this.#chunk
  }
}
