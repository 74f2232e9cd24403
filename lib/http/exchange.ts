/**
 * One request and its response, on HTTP/1 or HTTP/2. Owns two questions: has the application ended the response, and is
 * the exchange over? Everything that lives as long as a request (streams, polls, leases, acknowledgements, webhooks)
 * uses this class and nothing else.
 *
 * A response reports its end with `close`, with one exception: Node gives the response to a pipelined HTTP/1 request no
 * socket until the responses before it have finished. If the connection is lost or the response is destroyed first,
 * neither the response nor the request emits anything, so the connection and `res.destroy` are watched until then.
 *
 * `prefinish` reports a call of `res.end()`, but not on such a response before its turn, and never on HTTP/2. There
 * `res.end` is watched.
 */
import { IncomingMessage, OutgoingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse, ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { Connection } from './connection.js'
import { prepareRelease } from './releasable.js'

/** The events of a response to which `onOver`, `onEnded`, a stream and Node listen. */
const OWN_EVENTS = ['close', 'prefinish', 'error', 'finish']

/** A request of Node's HTTP/1 server or of its HTTP/2 compatibility API, plain or as Express passes it. */
export type AnyRequest = IncomingMessage | Http2ServerRequest
/** A response of Node's HTTP/1 server or of its HTTP/2 compatibility API. */
export type AnyResponse = ServerResponse | Http2ServerResponse

/** What a stream uses of a response. */
export interface StreamResponse {
  /** Whether the application has called `end()`. */
  readonly writableEnded: boolean
  readonly writableNeedDrain?: boolean
  write(chunk: Uint8Array): boolean
  end(): unknown
  on(event: 'drain' | 'finish', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  /** Added by compressing middleware. */
  flush?: () => void
}

/** What a stream writes to: a response, or what remains of it after `Exchange.release`. */
export type StreamTarget = StreamResponse | Connection

/** Writes to the response of an exchange. */
export interface ExchangeUser {
  /** The exchange is over. */
  onExchangeOver(): void
  /** The response is in use again, so it must be used instead of what `release` returned. */
  onRestore(req: AnyRequest, res: AnyResponse): void
}

export class Exchange {
  #req: AnyRequest | Connection
  #res: AnyResponse | Connection
  #user: ExchangeUser | undefined

  constructor(req: AnyRequest, res: AnyResponse) {
    this.#req = req
    this.#res = res
  }

  /**
   * Whether nothing can reach the client through the response any more: it is closed, or its connection or HTTP/2
   * stream is.
   */
  get over(): boolean {
    const res = this.#res
    if (res instanceof Connection) return !res.writable
    if (!isHttp2(res)) return res.destroyed || res.closed || !isOpen(this.#req.socket)
    return res.stream === undefined || res.stream.destroyed || res.stream.closed
  }

  /** The connection, which earlier and later exchanges use too. On HTTP/2: what Node exposes of it. */
  get socket(): Socket {
    return this.#req.socket
  }

  /** The HTTP/2 stream of the response. `undefined` on HTTP/1, and when the stream is closed. */
  get http2Stream(): ServerHttp2Stream | undefined {
    const res = this.#res
    return !(res instanceof Connection) && isHttp2(res) ? res.stream : undefined
  }

  /**
   * Calls `listener` once when the exchange is over, in whatever way; in the next tick if it is over already.
   * @returns removes the listener
   */
  onOver(listener: () => void): () => void {
    const res = this.#response()
    const queued = this.#isQueued()
    if (!queued && !this.over) {
      // The most frequent case. The response reports its end once, and nothing else does (bench `idle`).
      res.on('close', listener)
      return () => res.off('close', listener)
    }
    const unwatch = queued ? watch(this.#req.socket, notify) : undefined
    if (queued) afterEach(res, 'destroy', () => process.nextTick(notify))
    let active = true
    function remove(): void {
      active = false
      res.off('close', notify)
      unwatch?.()
    }
    function notify(): void {
      if (!active) return
      remove()
      listener()
    }
    res.on('close', notify)
    if (this.over) process.nextTick(notify)
    return remove
  }

  /**
   * Calls `listener` within the application's call of `res.end()`; in the next tick if that has been called already.
   * Bytes may still be in flight. Not called if the exchange ends without `res.end()`.
   * @param listener is called with the response as `this`; it may be called again if `res.end()` is
   */
  onEnded(listener: (this: object) => void): void {
    const res = this.#response()
    if (res.writableEnded) process.nextTick(() => listener.call(res))
    else if (isHttp2(res) || this.#isQueued()) afterEach(res, 'end', listener)
    else res.on('prefinish', listener)
  }

  /**
   * Waits for the turn of the response on its connection, or the end of the exchange. Before its turn Node keeps
   * everything that is written in memory, for each pipelined request, so large responses are built only then.
   * @returns `undefined`: it is its turn
   */
  turn(): Promise<void> | undefined {
    if (!this.#isQueued() || this.over) return undefined
    return new Promise((resolve) => {
      const unwatch = this.onOver(resolve)
      this.#response().once('socket', () => {
        unwatch()
        resolve()
      })
    })
  }

  /**
   * Closes the exchange. On HTTP/1 the connection is closed, at the latest when it is the turn of the response.
   * Idempotent.
   */
  destroy(): void {
    const res = this.#res
    if (res instanceof Connection) {
      res.socket.destroy()
      return
    }
    if (isHttp2(res)) {
      res.stream?.destroy()
      return
    }
    // Node 24 would keep the connection open, with a response that never ends.
    if (this.#isQueued() && !res.destroyed) res.once('socket', (socket: Socket) => socket.destroy())
    res.destroy()
  }

  /** Called before the headers are sent, if `release` is wanted. */
  prepareRelease(): void {
    const [req, res] = [this.#req, this.#res]
    if (req instanceof IncomingMessage && res instanceof ServerResponse) prepareRelease(req, res)
  }

  /**
   * Releases the request and the response of an open stream on HTTP/1, to free their memory. Nothing may be registered
   * with this exchange afterwards.
   * @param user the only one who has registered listeners: with `onOver` and `onEnded`, and for `error`
   * @returns has the socket to write to; `undefined`: something else uses them, so they stay
   */
  release(user: ExchangeUser): Connection | undefined {
    const [req, res] = [this.#req, this.#res]
    if (!(req instanceof IncomingMessage && res instanceof ServerResponse)) return undefined
    const connection = Connection.release(req, res, OWN_EVENTS, this)
    if (connection === undefined) return undefined
    this.#user = user
    this.#req = connection
    this.#res = connection
    return connection
  }

  /** Undoes `release` if the application has wrapped a method of the request or the response. */
  noticeWrap(): void {
    if (this.#res instanceof Connection) this.#res.noticeWrap()
  }

  /** See `Connection`. */
  onConnectionOver(): void {
    this.#user?.onExchangeOver()
  }

  /** See `Connection`. */
  onRestore(req: IncomingMessage, res: ServerResponse): void {
    this.#req = req
    this.#res = res
    this.#user?.onRestore(req, res)
  }

  /** Whether the response waits for its turn on an HTTP/1 connection. */
  #isQueued(): boolean {
    const res = this.#res
    return !(res instanceof Connection) && !isHttp2(res) && res.socket === null
  }

  #response(): AnyResponse {
    if (this.#res instanceof Connection) throw new Error('The response has been released')
    return this.#res
  }
}

/** An ended connection accepts no more bytes, even while earlier bytes are in flight. */
function isOpen(socket: Socket | null): boolean {
  return socket !== null && !socket.destroyed && !socket.writableEnded
}

function isHttp2(res: AnyResponse): res is Http2ServerResponse {
  return !(res instanceof OutgoingMessage)
}

/**
 * Calls `listener` after each call of a method of this response. Costs a property of the response, so only where no
 * event is emitted.
 */
function afterEach(res: AnyResponse, method: 'end' | 'destroy', listener: (this: object) => void): void {
  const watched = new Proxy(res[method], {
    apply(call, self, args) {
      const returned: unknown = Reflect.apply(call, self, args)
      listener.call(res)
      return returned
    },
  })
  Object.assign(res, { [method]: watched })
}

/** One listener for each connection, because a client may pipeline any number of requests. */
const watched = new WeakMap<Socket, Set<() => void>>()

/** Calls `listener` when the connection is lost. @returns removes the listener */
function watch(socket: Socket, listener: () => void): () => void {
  let listeners = watched.get(socket)
  if (listeners === undefined) {
    const all = new Set<() => void>()
    socket.once('close', () => {
      for (const each of [...all]) each()
    })
    watched.set(socket, all)
    listeners = all
  }
  listeners.add(listener)
  return () => listeners.delete(listener)
}
