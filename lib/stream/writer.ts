/**
 * stream ─► **writer** ─► socket: how bytes leave. Owns which of two ways a response allows, and whether there is room.
 *
 * - Plain HTTP/1.1 with chunks and Node's own `res.write`: blocks shared by many streams are framed as a chunk once, and
 *   that buffer goes to the socket of each. It saves what `res.write` does per stream: two more writes, a string for the
 *   chunk's length, corking, and a timer on the next tick (`npm run bench -- fanout`).
 * - Everything else (HTTP/2, HTTP/1.0, compressing or otherwise wrapped responses): `res.write`, and `res.flush` where
 *   there is one.
 *
 * Both ways end in the same socket, in order.
 */
import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Blocks } from '../core/blocks.js'
import type { StreamResponse } from './response.js'

export class Writer {
  readonly #res: StreamResponse
  /**
   * Set where whole chunks may go to the socket directly. The stream does so itself: every object that is touched for
   * each event of each stream is a miss in the processor's cache (`npm run bench -- fanout`).
   */
  readonly socket: Socket | undefined
  readonly #onDrain: () => void

  /**
   * @param res its headers have been flushed: they are in the socket, or before everything that `res.write` will queue
   * @param onDrain called when there is room again, after `write` returned `false`, or the socket's and `awaitDrain` was called
   */
  constructor(res: StreamResponse, onDrain: () => void) {
    this.#res = res
    this.#onDrain = onDrain
    this.socket = socketForChunks(res)
    if (this.socket === undefined) res.on('drain', onDrain)
  }

  /** The socket is full. Only then does anything listen on it: most streams never fill theirs. */
  awaitDrain(): void {
    this.socket?.once('drain', this.#onDrain)
  }

  /** The way through the response. Takes the blocks in any case. @returns whether more may follow before the next drain */
  write(blocks: Blocks): boolean {
    const room = this.#res.write(blocks.bytes)
    // Compressing middleware holds bytes back until it is told to let go.
    this.#res.flush?.()
    return room
  }

  /**
   * Ends the response. The socket may live on for another one, so nothing of this one stays on it.
   * @param leaving the process is about to go: an HTTP/1 connection ends with its response, or the client would come back on it
   */
  end(leaving: boolean): void {
    this.release()
    const socket = leaving && this.#res instanceof ServerResponse ? this.#res.socket : null
    if (socket !== null) this.#res.on('finish', () => socket.destroySoon())
    this.#res.end()
  }

  /** Idempotent. */
  release(): void {
    this.socket?.off('drain', this.#onDrain)
  }
}

function socketForChunks(res: StreamResponse): Socket | undefined {
  if (!(res instanceof ServerResponse) || res.write !== ServerResponse.prototype.write) return undefined
  // Not before the response has its socket: an earlier one on the same connection may still be sending.
  if (!res.headersSent || !res.chunkedEncoding || res.socket === null) return undefined
  return res.hasHeader('content-encoding') || 'flush' in res ? undefined : res.socket
}
