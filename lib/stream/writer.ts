/**
 * stream ─► **writer** ─► socket: how bytes leave. Owns which of two ways a response allows, and the wait for room.
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
import { Blocks, chunkText } from '../core/blocks.js'
import type { Clock, Timer } from '../core/ports.js'
import type { StreamResponse } from './response.js'

/** Whose bytes they are. */
interface Owner {
  /** There is room again. @param fullMs for how long there was none */
  onRoom(fullMs: number): void
  /** There has been none for too long. */
  onStalled(): void
}

interface WriterOptions {
  readonly clock: Clock
  /** 0: no wait is too long. */
  readonly stallMs: number
}

export class Writer {
  /**
   * Set where whole chunks may go to the socket directly. The stream does so itself: every object that is touched for
   * each event of each stream is a miss in the processor's cache (`npm run bench -- fanout`).
   */
  readonly socket: Socket | undefined
  readonly #res: StreamResponse
  readonly #owner: Owner
  readonly #options: WriterOptions
  #corked: Socket | undefined
  /** Set while there is no room. */
  #fullSince: number | undefined
  #stalled: Timer | undefined
  /** Set while it listens on the socket: most streams never fill theirs. */
  #onDrain: (() => void) | undefined

  /**
   * @param res its headers have been flushed: they are in the socket, or before everything that `res.write` will queue
   * @param corked the socket, if it is: until `uncork`
   */
  constructor(res: StreamResponse, owner: Owner, options: WriterOptions, corked: Socket | undefined) {
    this.#res = res
    this.#owner = owner
    this.#options = options
    this.#corked = corked
    this.socket = socketForChunks(res)
    if (this.socket === undefined) res.on('drain', () => this.#onRoom())
  }

  /** A write was answered with `false`: the owner is told when there is room. */
  awaitRoom(): void {
    const { clock, stallMs } = this.#options
    this.#fullSince = clock.now()
    // What waits for nothing but the end of this tick is not the client's fault.
    if (this.#corked !== undefined) return
    this.#listen()
    if (stallMs > 0) this.#stalled = clock.after(stallMs, () => this.#owner.onStalled())
  }

  /** What has been written so far leaves. Idempotent. */
  uncork(): void {
    const socket = this.#corked
    if (socket === undefined) return
    this.#corked = undefined
    socket.uncork()
    if (this.#fullSince === undefined) return
    if (this.socket?.writableLength === 0) this.#onRoom()
    else this.awaitRoom()
  }

  /** The way through the response. Takes the blocks in any case. @returns whether more may follow before there is room again */
  write(blocks: Blocks): boolean {
    const room = this.#res.write(blocks.bytes)
    // Compressing middleware holds bytes back until it is told to let go.
    this.#res.flush?.()
    return room
  }

  /** For what no other stream is sent: it needs no buffer. @param text ASCII, of less than a socket holds */
  writeText(text: string): void {
    if (this.socket === undefined) this.write(Blocks.of(Buffer.from(text)))
    else this.socket.write(chunkText(text), 'latin1')
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
    this.uncork()
  }

  /** Waits for nothing any more. Idempotent. */
  release(): void {
    this.#fullSince = undefined
    this.#stalled?.cancel()
    if (this.#onDrain !== undefined) this.socket?.off('drain', this.#onDrain)
    this.#onDrain = undefined
  }

  #listen(): void {
    if (this.socket === undefined) return
    this.#onDrain = () => this.#onRoom()
    this.socket.on('drain', this.#onDrain)
  }

  #onRoom(): void {
    if (this.#fullSince === undefined) return
    const fullMs = this.#options.clock.now() - this.#fullSince
    this.release()
    this.#owner.onRoom(fullMs)
  }
}

function socketForChunks(res: StreamResponse): Socket | undefined {
  if (!(res instanceof ServerResponse) || res.write !== ServerResponse.prototype.write) return undefined
  const { socket } = res
  // Not before the response has its socket: an earlier one on the same connection may still be sending.
  if (socket === null || !res.headersSent || !res.chunkedEncoding) return undefined
  return res.hasHeader('content-encoding') || 'flush' in res ? undefined : socket
}
