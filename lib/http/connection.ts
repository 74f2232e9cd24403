/**
 * exchange ─► **connection** ─► socket: what stays of an exchange whose request and response were released. With Express
 * those two and the HTTP parser of their socket are most of what an idle stream costs (bench `idle`), and an open stream
 * needs only the socket. Owns how they are released and restored. Must not know streams.
 *
 * ```
 *   request, response ──release──► connection ──the socket is closed──► over
 *          ▲                           │
 *          └─────────restore───────────┘   the application uses one of them, or still has it at the end
 * ```
 * If the application listens to one of them or has wrapped a method, both stay. Otherwise only the application can have
 * them in memory. If it does, a new listener restores them, and so does a write: the response has a proxy instead of its
 * socket.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { type HttpSocket, isWrapped, type NodeListeners, releasable } from './releasable.js'

/** How many bytes a client may send while its response is open. They are ignored. */
const MAX_EXTRA_BYTES = 65_536
/** The last chunk of a response (RFC 9112, 7.1). */
const LAST_CHUNK = '0\r\n\r\n'

/** Has the connection instead of the request and the response. */
interface Holder {
  /** The socket is closed. */
  onConnectionOver(): void
  /** The request and the response are in use again. */
  onRestore(req: IncomingMessage, res: ServerResponse): void
}

/**
 * What was released, and the handler of the proxy that the response has instead of its socket. The response and the
 * request have a reference to it, so it exists as long as one of them does.
 */
class Pair implements ProxyHandler<HttpSocket> {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  /** Node's listeners, which were removed from the socket. */
  readonly listeners: NodeListeners
  /** Restores both. */
  readonly onUse: () => void

  constructor(req: IncomingMessage, res: ServerResponse, listeners: NodeListeners, restore: (pair: Pair) => void) {
    this.req = req
    this.res = res
    this.listeners = listeners
    this.onUse = () => restore(this)
  }

  get(socket: HttpSocket, name: keyof HttpSocket): unknown {
    // `_httpMessage` is read by each method of the response that writes.
    this.onUse()
    if (name === '_httpMessage') return this.res
    const value: unknown = socket[name]
    const isMethod = typeof value === 'function' && !Object.hasOwn(socket, name) && value !== socket.constructor
    return isMethod ? value.bind(socket) : value
  }

  set(socket: HttpSocket, name: keyof HttpSocket, value: unknown): boolean {
    this.onUse()
    return Reflect.set(socket, name, value)
  }
}

/** Takes the place of the response. Its user writes chunks to the socket. */
export class Connection {
  readonly socket: Socket
  writableEnded = false
  readonly #holder: Holder
  /** Weak until it is restored. `undefined`: the application has neither. */
  #pair: WeakRef<Pair> | Pair | undefined
  #extraBytes = 0

  private constructor(socket: Socket, holder: Holder, pair: Pair) {
    this.socket = socket
    this.#holder = holder
    this.#pair = new WeakRef(pair)
  }

  /**
   * Takes the place of the response, whose headers were sent after `prepareRelease`.
   * @param own the events of the response to which the holder has one listener each, and Node's
   * @returns `undefined`: something else uses the request or the response, so they stay
   */
  static release(
    req: IncomingMessage,
    res: ServerResponse,
    own: readonly string[],
    holder: Holder,
  ): Connection | undefined {
    const found = releasable(req, res, own)
    const all = found === undefined ? undefined : socketsOf(found.server)
    if (found === undefined || all === undefined) return undefined
    const { socket, parser, listeners } = found
    const pair = new Pair(req, res, listeners, (used) => connection.#restore(used))
    const connection = new Connection(socket, holder, pair)
    const proxy = new Proxy(socket, pair)
    // Fails if the application has made the property its own. Nothing after this step can fail.
    Reflect.set(res, 'socket', proxy)
    if (res.socket !== proxy) return undefined
    for (const [event, listener] of Object.entries(listeners)) socket.off(event, listener)
    parser.unconsume()
    parser.remove()
    parser.socket = null
    socket.parser = null
    parser.close()
    socket._httpMessage = connection
    socket.prependListener('close', onSocketClose)
    socket.on('drain', onSocketDrain)
    socket.on('data', onSocketData)
    socket.on('end', onSocketEnd)
    all.add(socket)
    held.set(req, pair)
    req.on('newListener', pair.onUse)
    res.on('newListener', pair.onUse)
    return connection
  }

  /** Libraries that close servers look for responses without it. */
  get headersSent(): boolean {
    return true
  }

  get _headerSent(): boolean {
    return true
  }

  /** Node emits `close` when the socket is closed, and `timeout`. */
  emit(event: string): boolean {
    if (event === 'close') this.#holder.onConnectionOver()
    return false
  }

  /** Whether bytes can reach the client: the socket is open, and no other code has taken it. */
  get writable(): boolean {
    const { socket }: { socket: HttpSocket } = this
    return socket._httpMessage === this && !socket.destroyed && !socket.writableEnded
  }

  end(): void {
    if (this.writableEnded) return
    this.writableEnded = true
    const { socket } = this
    const pair = this.restore()
    if (pair !== undefined) {
      pair.res.end()
    } else if (socket.writable) {
      if (typeof socket.destroySoon === 'function') {
        socket.end(LAST_CHUNK, 'latin1')
        socket.destroySoon()
      } else {
        // Another kind of duplex stream. Its client closes the connection.
        socket.end(LAST_CHUNK, 'latin1', () => this.#holder.onConnectionOver())
      }
    }
  }

  /** Restores both, if the application has one of them. */
  restore(): Pair | undefined {
    const pair = this.#held
    if (pair !== undefined) this.#restore(pair)
    return pair
  }

  /** Restores both if the application has wrapped a method of one. */
  noticeWrap(): void {
    const pair = this.#held
    if (pair !== undefined && isWrapped(pair.req, pair.res)) this.#restore(pair)
  }

  get #held(): Pair | undefined {
    const pair = this.#pair instanceof WeakRef ? this.#pair.deref() : this.#pair
    if (pair === undefined) this.#pair = undefined
    return pair
  }

  onExtraBytes(bytes: number): void {
    this.#extraBytes += bytes
    if (this.#extraBytes > MAX_EXTRA_BYTES) this.socket.destroy()
  }

  #restore(pair: Pair): void {
    if (this.#pair === pair) return
    const { req, res, listeners, onUse } = pair
    const socket: HttpSocket = this.socket
    this.#pair = pair
    restored.set(socket, this)
    req.off('newListener', onUse)
    res.off('newListener', onUse)
    socket.off('drain', onSocketDrain)
    socket.on('drain', listeners.drain)
    // Otherwise the application has detached the socket.
    if (socket._httpMessage === this) socket._httpMessage = res
    if (res.socket !== null) Reflect.set(res, 'socket', socket)
    this.#holder.onRestore(req, res)
  }
}

/** A request has no other reference to its pair if the application removes all of its listeners. */
const held = new WeakMap<IncomingMessage, Pair>()

/** The connections of sockets whose responses are in use again. */
const restored = new WeakMap<Socket, Connection>()

function connectionOf(socket: HttpSocket): Connection | undefined {
  const { _httpMessage: current } = socket
  return current instanceof Connection ? current : restored.get(socket)
}

/** The listeners on sockets are shared, instead of closures for each. */
function onSocketData(this: HttpSocket, bytes: Buffer): void {
  connectionOf(this)?.onExtraBytes(bytes.length)
}

/** The client has ended its side. As Node without `httpAllowHalfOpen`. */
function onSocketEnd(this: Socket): void {
  this.end()
}

/** A response that the application has kept may wait for room. */
function onSocketDrain(this: HttpSocket): void {
  connectionOf(this)?.restore()?.listeners.drain()
}

/** Node's next listener emits `close` on the response, or on the connection. */
function onSocketClose(this: HttpSocket): void {
  if (this.server !== undefined) socketsOf(this.server)?.delete(this)
  connectionOf(this)?.restore()?.listeners.close()
}

const sockets = new WeakMap<Server, Set<Socket>>()

/** The sockets of a server without a parser. Its `closeAllConnections` closes them too. `undefined`: it cannot. */
function socketsOf(server: Server): Set<Socket> | undefined {
  const known = sockets.get(server)
  if (known !== undefined) return known
  const all = new Set<Socket>()
  const { closeAllConnections } = server
  const closeAll = (): void => {
    closeAllConnections.call(server)
    for (const socket of all) socket.destroy()
  }
  // HTTP/2 servers that accept HTTP/1 do not have it. It cannot be replaced in a frozen server, for example.
  const has = typeof closeAllConnections === 'function'
  if (has && !Reflect.set(server, 'closeAllConnections', closeAll)) return undefined
  sockets.set(server, all)
  return all
}
