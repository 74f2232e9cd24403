const CRLF = Buffer.from('\r\n')

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

  /** The bytes as one chunk. */
  get chunk(): Buffer {
    this.#chunk ??= Buffer.concat([Buffer.from(`${this.bytes.length.toString(16)}\r\n`), this.bytes, CRLF])
    return this.#chunk
  }
}
