/**
 * stream ─► **writer** ─► socket: how bytes are written. Owns which of two ways a response allows, and the wait for
 * room.
 *
 * - HTTP/1.1 with chunks and Node's own `res.write`: blocks shared by many streams are framed as a chunk once, and that
 *   buffer is written to the socket of each stream. `res.write` would cost for each stream two more writes, a string
 *   for the chunk's length, corking, and a timer on the next tick (`npm run bench -- fanout`).
 * - Everything else (HTTP/2, HTTP/1.0, compressing or otherwise wrapped responses): `res.write`, and `res.flush` if the
 *   response has it.
 *
 * Both ways write to the same socket, in order. The application may use the response too, so each write checks that its
 * way is still possible.
 */
import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock, Timer } from '../core/clock.js'
import { Connection } from '../http/connection.js'
import type { Exchange, StreamResponse, StreamTarget } from '../http/exchange.js'
import { Blocks, chunkText } from '../wire/blocks.js'
import { bytesTaken } from './progress.js'

/** The stream that writes. */
interface WriterOwner {
  /** The socket has room again. @param fullMs how long it was full, in ms */
  onRoom(fullMs: number): void
  /** The client has taken no bytes for `stallMs`. */
  onStalled(): void
}

interface WriterOptions {
  readonly clock: Clock
  /** How long a client may take no bytes, in ms. 0: without limit. */
  readonly stallMs: number
}

/** The wait for room. Made when a socket is full: most streams never wait. */
interface Wait {
  readonly since: number
  timer: Timer | undefined
  stopListening: (() => void) | undefined
  /** The result of the last `bytesTaken`. */
  taken: number
  /** When `taken` last grew. */
  takenAt: number
}

/** Checks of the client's progress in each `stallMs`. A client that stops is noticed up to an eighth of it later. */
const PROGRESS_CHECKS = 8

/** The default size of an HTTP/2 frame (RFC 9113, 4.2). */
const PORTION_BYTES = 16_384

/** At least what framing adds to a block: the size of a chunk and line ends. */
const FRAME_BYTES = 32

const nodeWrite = ServerResponse.prototype.write

export class Writer {
  /**
   * Set if chunks may be written to the socket directly. The stream does that itself, because each further object that
   * a write touches is a cache miss for each stream and event (`npm run bench -- fanout`).
   */
  socket: Socket | undefined
  #res: StreamTarget
  readonly #exchange: Exchange
  readonly #owner: WriterOwner
  readonly #options: WriterOptions
  #corked: Socket | undefined
  #wait: Wait | undefined
  /** See `watchQueue`. */
  #watch: Timer | undefined

  /**
   * @param res a response whose headers were flushed: they are in the socket, or in the queue of `res.write`
   * @param corked the socket, if it is corked: until `uncork`
   */
  constructor(
    res: StreamResponse,
    exchange: Exchange,
    owner: WriterOwner,
    options: WriterOptions,
    corked: Socket | undefined,
  ) {
    this.#res = res
    this.#exchange = exchange
    this.#owner = owner
    this.#options = options
    this.#corked = corked
    this.socket = socketForChunks(res)
    if (this.socket === undefined) this.#listenTo(res)
  }

  /** Writes to another response, which has the same socket. */
  setResponse(res: StreamTarget): void {
    this.#res = res
  }

  /**
   * Waits for room after a write that returned `false`, and then notifies the owner.
   * @param socket where the bytes wait, if they were written to it directly
   */
  awaitRoom(socket = this.socket): void {
    const { clock, stallMs } = this.#options
    const now = clock.now()
    const wait: Wait = { since: now, timer: undefined, stopListening: undefined, taken: 0, takenAt: now }
    this.#wait = wait
    // Corked bytes wait for the end of this tick, not for the client.
    if (this.#corked !== undefined) return
    if (socket !== undefined) {
      const onDrain = (): void => this.#onRoom()
      socket.on('drain', onDrain)
      wait.stopListening = () => socket.off('drain', onDrain)
    }
    if (stallMs === 0) return
    wait.taken = bytesTaken(this.#exchange)
    const checkProgress = (): void => {
      const taken = bytesTaken(this.#exchange)
      const checkedAt = clock.now()
      if (taken > wait.taken) wait.takenAt = checkedAt
      wait.taken = taken
      const leftMs = wait.takenAt + stallMs - checkedAt
      if (leftMs > 0) wait.timer = clock.after(Math.min(leftMs, stallMs / PROGRESS_CHECKS), checkProgress)
      else this.#owner.onStalled()
    }
    wait.timer = clock.after(stallMs / PROGRESS_CHECKS, checkProgress)
  }

  /**
   * Called at heartbeats, while there is room. An HTTP/2 stream can stall with room: its client may have closed the
   * flow-control window, or have left without Node noticing, which reads nothing more after a connection error. So bytes
   * that wait in the stream are watched until some are taken.
   */
  watchQueue(): void {
    const { clock, stallMs } = this.#options
    const stream = this.#exchange.http2Stream
    if (stream === undefined || stallMs === 0 || this.#watch !== undefined || stream.writableLength === 0) return
    const since = clock.now()
    let waiting = stream.writableLength
    const check = (): void => {
      this.#watch = undefined
      const { writableLength } = stream
      // If the stream is full by now, the wait for room checks.
      if (writableLength < waiting || this.#wait !== undefined) return
      waiting = writableLength
      if (clock.now() - since >= stallMs) this.#owner.onStalled()
      else this.#watch = clock.after(stallMs / PROGRESS_CHECKS, check)
    }
    this.#watch = clock.after(stallMs / PROGRESS_CHECKS, check)
  }

  /**
   * Holds what is written next back until the next turn of the event loop, so that the events that an application has
   * at once leave in one write. What is held back never fills the socket: only the client does.
   * @param bytes how much is written next
   */
  corkTurn(bytes: number): void {
    const { socket } = this
    if (socket === undefined) return
    const fits = socket.writableLength + bytes + FRAME_BYTES < socket.writableHighWaterMark
    if (!fits) this.uncork()
    else if (this.#corked === undefined && socket.writableLength === 0 && socket.writableCorked === 0) {
      socket.cork()
      this.#corked = socket
      setImmediate(uncork, this)
    }
  }

  /** Sends everything written so far. Idempotent. */
  uncork(): void {
    const socket = this.#corked
    if (socket === undefined) return
    this.#corked = undefined
    socket.uncork()
    if (this.#wait === undefined) return
    if (socket.writableLength === 0) this.#onRoom()
    else this.awaitRoom(socket)
  }

  /**
   * Writes the blocks, or queues them in the response. Never refuses them, unless the response has ended.
   * @returns whether more may be written immediately; `undefined`: the response has ended
   */
  write(blocks: Blocks): boolean | undefined {
    this.noticeWrap()
    const { socket } = this
    const res = this.#res
    if (socket !== undefined && takesChunks(socket, res, this.#corked === undefined ? 0 : 1)) {
      return blocks.writeTo(socket)
    }
    const open = !this.#exchange.over && !res.writableEnded
    if (open && socket !== undefined && takesChunks(socket, res, socket.writableCorked)) {
      return this.#writeCorked(socket, blocks)
    }
    if (!open || res instanceof Connection) return undefined
    // The application has detached the socket from the response.
    if (socket !== undefined) this.#leaveSocket(res)
    const room = this.#writeToResponse(res, blocks.bytes)
    // Compressing middleware holds bytes back until `flush`.
    res.flush?.()
    return room
  }

  /**
   * On HTTP/2 the progress within one write is not visible, so a large write is split: otherwise a client that reads
   * one large event slowly would seem stalled. `_writev` is removed because Node would join the waiting portions into
   * one write.
   */
  #writeToResponse(res: StreamResponse, bytes: Buffer): boolean {
    const stream = this.#exchange.http2Stream
    if (stream === undefined || bytes.length <= PORTION_BYTES) {
      const room: unknown = res.write(bytes)
      // A wrapped `write` may return nothing.
      return typeof room === 'boolean' ? room : res.writableNeedDrain !== true
    }
    Object.assign(stream, { _writev: undefined })
    let room = true
    for (let at = 0; at < bytes.length; at += PORTION_BYTES) {
      room = res.write(bytes.subarray(at, at + PORTION_BYTES))
    }
    return room
  }

  /**
   * Writes text that no other stream gets, without making a buffer for it.
   * @param text ASCII, shorter than the socket's high-water mark
   */
  writeText(text: string): void {
    if (this.socket === undefined) this.write(Blocks.of(Buffer.from(text)))
    else this.socket.write(chunkText(text), 'latin1')
  }

  /**
   * Ends the response, and removes this stream's listeners from the socket, which later responses may use.
   * @param leaving the process is shutting down: an HTTP/1 connection is closed after the response, or the client would
   * reconnect through it
   */
  end(leaving: boolean): void {
    this.release()
    const res = this.#res
    if (res instanceof ServerResponse) {
      const { socket } = res
      if (leaving && socket !== null) res.on('finish', () => socket.destroySoon())
      // Node would send the last chunk before those that a corked response holds back.
      while (res.writableCorked > 0) res.uncork()
    }
    res.end()
    this.uncork()
  }

  /** Cancels the wait for room. Idempotent. */
  release(): void {
    this.#watch?.cancel()
    this.#watch = undefined
    const wait = this.#wait
    if (wait === undefined) return
    this.#wait = undefined
    wait.timer?.cancel()
    wait.stopListening?.()
  }

  /** Other code has corked the socket. If that was `res.cork()`, the chunks that the response holds back are first. */
  #writeCorked(socket: Socket, blocks: Blocks): boolean {
    if (!(this.#res instanceof ServerResponse) || this.#res.writableCorked === 0) return blocks.writeTo(socket)
    const res = this.#res
    res.write(blocks.bytes)
    // A response that is corked reports no `drain`, but the socket does when the response has written what it holds.
    return !socket.writableNeedDrain && res.writableLength < res.writableHighWaterMark
  }

  /** Uses `res.write` from now on if the application has wrapped it. */
  noticeWrap(): void {
    this.#exchange.noticeWrap()
    const res = this.#res
    if (this.socket !== undefined && res instanceof ServerResponse && res.write !== nodeWrite) this.#leaveSocket(res)
  }

  #leaveSocket(res: StreamResponse): void {
    this.socket = undefined
    this.#listenTo(res)
  }

  #listenTo(res: StreamResponse): void {
    res.on('drain', () => this.#onRoom())
  }

  #onRoom(): void {
    if (this.#wait === undefined) return
    const fullMs = this.#options.clock.now() - this.#wait.since
    this.release()
    this.#owner.onRoom(fullMs)
  }
}

function uncork(writer: Writer): void {
  writer.uncork()
}

/**
 * Whether a chunk written to the socket now is the next chunk of the response. Reads no property of the response,
 * because with Express each response has its own hidden class, so every read is slow (bench `fanout`). `Exchange`
 * reports the response's end, and `noticeWrap` finds a wrapped `res.write`.
 * @param corks how many times the socket may be corked
 */
export function takesChunks(socket: Socket & OnSocket, res: StreamTarget, corks: number): boolean {
  return socket._httpMessage === res && socket.writable && socket.writableCorked <= corks
}

/** An internal property of Node's sockets. If it is missing, the slower way is used. */
interface OnSocket {
  /** The response whose turn it is on the connection. */
  readonly _httpMessage?: unknown
}

function socketForChunks(res: StreamResponse): Socket | undefined {
  if (!(res instanceof ServerResponse) || res.write !== nodeWrite) return undefined
  const { socket } = res
  // Without a socket, an earlier response on the same connection may still be writing.
  if (socket === null || !res.headersSent || !res.chunkedEncoding) return undefined
  return res.hasHeader('content-encoding') || 'flush' in res ? undefined : socket
}
