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
    const blocks = new Blocks(chunk.subarray(size.length, size.length + length))
    blocks.#chunk = chunk
    return blocks
  }

  /** The bytes as one chunk. */
  get chunk(): Buffer {
    this.#chunk ??= Blocks.join([this.bytes]).chunk
    return this.#chunk
  }
}
