/**
 * stream ─► **writer** ─► socket: how bytes leave. Owns which of two ways a response allows, and the wait for room.
 *
 * - Plain HTTP/1.1 with chunks and Node's own `res.write`: blocks shared by many streams are framed as a chunk once, and
 *   that buffer goes to the socket of each. It saves what `res.write` does per stream: two more writes, a string for the
 *   chunk's length, corking, and a timer on the next tick (`npm run bench -- fanout`).
 * - Everything else (HTTP/2, HTTP/1.0, compressing or otherwise wrapped responses): `res.write`, and `res.flush` where
 *   there is one.
 *
 * Both ways end in the same socket, in order. The response belongs to the application as well, so each write looks whether its way
 * is still open.
 */
import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock, Timer } from '../core/clock.js'
import type { Exchange, StreamResponse } from '../http/exchange.js'
import { Blocks, chunkText } from '../wire/blocks.js'

/** Whose bytes they are. */
interface Owner {
  /** There is room again. @param fullMs for how long there was none */
  onRoom(fullMs: number): void
  /** The client has taken nothing for too long. */
  onStalled(): void
}

interface WriterOptions {
  readonly clock: Clock
  /** 0: no wait is too long. */
  readonly stallMs: number
}

/** While there is no room. Most streams never wait. */
interface Wait {
  readonly since: number
  timer: Timer | undefined
  stopListening: (() => void) | undefined
  /** How much the client had taken when that was last looked at (see `bytesTaken`), and when that was first seen. */
  taken: number
  takenAt: number
}

/** Looks at what the client takes, in each `stallMs`: a client that stops is noticed up to an eighth later. */
const LOOKS = 8

/** On HTTP/2: as much as a frame holds by default. */
const PORTION_BYTES = 16_384

const nodeWrite = ServerResponse.prototype.write

export class Writer {
  /**
   * Set where whole chunks may go to the socket directly. The stream does so itself: every object that is touched for
   * each event of each stream is a miss in the processor's cache (`npm run bench -- fanout`).
   */
  socket: Socket | undefined
  readonly #res: StreamResponse
  readonly #exchange: Exchange
  readonly #owner: Owner
  readonly #options: WriterOptions
  #corked: Socket | undefined
  #wait: Wait | undefined

  /**
   * @param res its headers have been flushed: they are in the socket, or before everything that `res.write` will queue
   * @param corked the socket, if it is: until `uncork`
   */
  constructor(
    res: StreamResponse,
    exchange: Exchange,
    owner: Owner,
    options: WriterOptions,
    corked: Socket | undefined,
  ) {
    this.#res = res
    this.#exchange = exchange
    this.#owner = owner
    this.#options = options
    this.#corked = corked
    this.socket = socketForChunks(res)
    if (this.socket === undefined) this.#listenOnResponse()
  }

  /** A write was answered with `false`: the owner is told when there is room. */
  awaitRoom(): void {
    const { clock, stallMs } = this.#options
    const now = clock.now()
    const wait: Wait = { since: now, timer: undefined, stopListening: undefined, taken: 0, takenAt: now }
    this.#wait = wait
    // What waits for nothing but the end of this tick is not the client's fault.
    if (this.#corked !== undefined) return
    const { socket } = this
    if (socket !== undefined) {
      const onDrain = (): void => this.#onRoom()
      socket.on('drain', onDrain)
      wait.stopListening = () => socket.off('drain', onDrain)
    }
    if (stallMs === 0) return
    wait.taken = bytesTaken(this.#exchange)
    const look = (): void => {
      const taken = bytesTaken(this.#exchange)
      const lookedAt = clock.now()
      if (taken > wait.taken) wait.takenAt = lookedAt
      wait.taken = taken
      const leftMs = wait.takenAt + stallMs - lookedAt
      if (leftMs > 0) wait.timer = clock.after(Math.min(leftMs, stallMs / LOOKS), look)
      else this.#owner.onStalled()
    }
    wait.timer = clock.after(stallMs / LOOKS, look)
  }

  /** What has been written so far leaves. Idempotent. */
  uncork(): void {
    const socket = this.#corked
    if (socket === undefined) return
    this.#corked = undefined
    socket.uncork()
    if (this.#wait === undefined) return
    if (this.socket?.writableLength === 0) this.#onRoom()
    else this.awaitRoom()
  }

  /**
   * Takes the blocks in any case, unless the response has ended.
   * @returns whether more may follow before there is room again; `undefined`: the response has ended
   */
  write(blocks: Blocks): boolean | undefined {
    const res = this.#res
    this.noticeWrap()
    const { socket } = this
    if (socket !== undefined && takesChunks(socket, res, this.#corked === undefined ? 0 : 1)) {
      return blocks.writeTo(socket)
    }
    if (this.#exchange.over || res.writableEnded) return undefined
    if (socket !== undefined) {
      if (takesChunks(socket, res, socket.writableCorked)) return this.#writeCorked(socket, blocks)
      // The application has taken the socket away.
      this.#leaveSocket()
    }
    const room = this.#writeToResponse(blocks.bytes)
    // Compressing middleware holds bytes back until it is told to let go.
    res.flush?.()
    return room
  }

  /**
   * Of a write on HTTP/2 only its end can be seen, so a large one is split: a client that takes long for one event is not stalled. Node
   * would join the portions that wait into one write again.
   */
  #writeToResponse(bytes: Buffer): boolean {
    const stream = this.#exchange.http2Stream
    if (stream === undefined || bytes.length <= PORTION_BYTES) return this.#res.write(bytes)
    Object.assign(stream, { _writev: undefined })
    let room = true
    for (let at = 0; at < bytes.length; at += PORTION_BYTES) {
      room = this.#res.write(bytes.subarray(at, at + PORTION_BYTES))
    }
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
    const wait = this.#wait
    if (wait === undefined) return
    this.#wait = undefined
    wait.timer?.cancel()
    wait.stopListening?.()
  }

  /** Somebody else has corked the socket. If it was through the response, what the response holds back comes first. */
  #writeCorked(socket: Socket, blocks: Blocks): boolean {
    if (!(this.#res instanceof ServerResponse) || this.#res.writableCorked === 0) return blocks.writeTo(socket)
    this.#res.write(blocks.bytes)
    // A response that is corked reports no `drain`.
    return !socket.writableNeedDrain
  }

  /** Goes through `res.write` from now on if the application has wrapped it. */
  noticeWrap(): void {
    if (this.socket !== undefined && this.#res.write !== nodeWrite) this.#leaveSocket()
  }

  #leaveSocket(): void {
    this.socket = undefined
    this.#listenOnResponse()
  }

  #listenOnResponse(): void {
    this.#res.on('drain', () => this.#onRoom())
  }

  #onRoom(): void {
    if (this.#wait === undefined) return
    const fullMs = this.#options.clock.now() - this.#wait.since
    this.release()
    this.#owner.onRoom(fullMs)
  }
}

/**
 * Whether a chunk written to the socket now comes next on the response. Nothing of the response is read: under Express each response has
 * a shape of its own, so that every look costs (bench `fanout`). Its end is reported by `Exchange`, and a wrapped `res.write` is looked
 * for by `noticeWrap`.
 * @param corks how often the socket may be corked
 */
export function takesChunks(socket: Socket & OnSocket, res: StreamResponse, corks: number): boolean {
  return socket._httpMessage === res && socket.writable && socket.writableCorked <= corks
}

/** What Node keeps on a socket. Where a property is missing, the slower way is taken. */
interface OnSocket {
  /** The response that has the connection now. */
  readonly _httpMessage?: unknown
  readonly _handle?: Handle | null
}

interface Handle {
  /** Given to the handle so far. */
  readonly bytesWritten?: number
  /** Of these, what the kernel has not taken yet. For TLS what is encrypted and not yet given to the connection below. */
  readonly writeQueueSize?: number
  /** Of TLS: the connection below. */
  readonly _parent?: Handle
}

/**
 * A number that grows when the client takes bytes of this exchange, and never otherwise.
 *
 * On HTTP/1 the bytes that the kernel has taken from the connection, and so, because its buffers are bounded, the client. Unlike `drain`
 * it grows while a single large write is under way. The streams of an HTTP/2 connection share its socket, and each has its own window
 * of flow control: there it is what waits in the exchange's own stream, negative.
 */
function bytesTaken(exchange: Exchange): number {
  const { http2Stream } = exchange
  if (http2Stream !== undefined) return -http2Stream.writableLength
  const socket: Socket & OnSocket = exchange.socket
  const handle = socket._handle
  if (typeof handle?.bytesWritten !== 'number') return socket.bytesWritten - socket.writableLength
  let taken = handle.bytesWritten
  for (let each: Handle | undefined = handle; each !== undefined; each = each._parent) taken -= each.writeQueueSize ?? 0
  return taken
}

function socketForChunks(res: StreamResponse): Socket | undefined {
  if (!(res instanceof ServerResponse) || res.write !== nodeWrite) return undefined
  const { socket } = res
  // Not before the response has its socket: an earlier one on the same connection may still be sending.
  if (socket === null || !res.headersSent || !res.chunkedEncoding) return undefined
  return res.hasHeader('content-encoding') || 'flush' in res ? undefined : socket
}
