/**
 * One request and its response, on HTTP/1 or HTTP/2. Owns two questions: has the application ended the response, and is the exchange
 * over? Everything that lives as long as a request (streams, polls, leases, acknowledgements, webhooks) asks here and nowhere else.
 *
 * A response reports its own end with `close`, with one exception: Node gives a response to a pipelined HTTP/1 request no socket until
 * the responses before it are finished. If the connection is lost or the response destroyed first, neither the response nor the
 * request reports anything, so the connection and `res.destroy` are watched until then.
 *
 * A call of `res.end()` is reported by `prefinish`, but not by such a response before its turn, and on HTTP/2 not at all; there
 * `res.end` is watched.
 */
import { type IncomingMessage, OutgoingMessage, type ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse, ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'

/** A request of Node's HTTP/1 server or of its HTTP/2 compatibility API, plain or as Express passes it. */
export type AnyRequest = IncomingMessage | Http2ServerRequest
/** A response of Node's HTTP/1 server or of its HTTP/2 compatibility API. */
export type AnyResponse = ServerResponse | Http2ServerResponse

/** What a stream uses of a response. */
export interface StreamResponse {
  /** Whether the application has called `end()`. */
  readonly writableEnded: boolean
  write(chunk: Uint8Array): boolean
  end(): unknown
  on(event: 'drain' | 'finish', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  /** Added by compressing middleware. */
  flush?: () => void
}

export class Exchange {
  readonly #req: AnyRequest
  readonly #res: AnyResponse

  constructor(req: AnyRequest, res: AnyResponse) {
    this.#req = req
    this.#res = res
  }

  /** Nothing can reach the client through the response any more: it is closed, or its connection or HTTP/2 stream is gone. */
  get over(): boolean {
    const res = this.#res
    if (!isHttp2(res)) return res.destroyed || res.closed || !isOpen(this.#req.socket)
    return res.stream === undefined || res.stream.destroyed || res.stream.closed
  }

  /** The connection, which earlier and later exchanges use too. On HTTP/2 what can be read of it. */
  get socket(): Socket {
    return this.#req.socket
  }

  /** On HTTP/2 the stream that carries the response; else, or once it is gone, `undefined`. */
  get http2Stream(): ServerHttp2Stream | undefined {
    return isHttp2(this.#res) ? this.#res.stream : undefined
  }

  /**
   * Calls `listener` once when the exchange is over, however it ends; in the next tick if it is over already.
   * @returns removes the listener
   */
  onOver(listener: () => void): () => void {
    const res = this.#res
    const queued = this.#isQueued()
    if (!queued && !this.over) {
      // Almost always. The response reports its end once, and nothing else does (bench `idle`).
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
   * Calls `listener` when the application has ended the response, within `res.end()`; in the next tick if it has done so already. What
   * was written may still be on its way. Not called if the exchange is over without that.
   * @param listener called with the response as `this`; it may be called again if `res.end()` is
   */
  onEnded(listener: (this: object) => void): void {
    const res = this.#res
    if (res.writableEnded) process.nextTick(() => listener.call(res))
    else if (isHttp2(res) || this.#isQueued()) afterEach(res, 'end', listener)
    else res.on('prefinish', listener)
  }

  /**
   * The response's turn on its connection, or the end of the exchange. Node keeps what is written before its turn in memory, for every
   * pipelined request, so large answers are made only then.
   * @returns `undefined`: it is the response's turn
   */
  turn(): Promise<void> | undefined {
    if (!this.#isQueued() || this.over) return undefined
    return new Promise((resolve) => {
      const unwatch = this.onOver(resolve)
      this.#res.once('socket', () => {
        unwatch()
        resolve()
      })
    })
  }

  /** Cuts the exchange off; on HTTP/1 its connection ends, at the latest when it is the turn of the response. Idempotent. */
  destroy(): void {
    const res = this.#res
    if (isHttp2(res)) {
      res.stream?.destroy()
      return
    }
    // Node 24 would leave the connection open, with a response on it that never ends.
    if (this.#isQueued() && !res.destroyed) res.once('socket', (socket: Socket) => socket.destroy())
    res.destroy()
  }

  /** The response waits for its turn on an HTTP/1 connection. */
  #isQueued(): boolean {
    return !isHttp2(this.#res) && this.#res.socket === null
  }
}

/** An ended connection takes nothing more, even if what it has taken is still on its way. */
function isOpen(socket: Socket | null): boolean {
  return socket !== null && !socket.destroyed && !socket.writableEnded
}

function isHttp2(res: AnyResponse): res is Http2ServerResponse {
  return !(res instanceof OutgoingMessage)
}

/** Calls `listener` after each call of a method of this response. Costs a property of the response, so only where no event is emitted. */
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
