/**
 * exchange ─► **connection** ─► socket: what stays of an exchange whose request and response were released. With Express
 * those two and the HTTP parser of their socket are most of what an idle stream costs (bench `idle`), and an open stream
 * needs only the socket. Owns when they may be released, and everything that is internal to Node about it. Must not know
 * streams.
 *
 * ```
 *   request, response ──release──► connection ──the socket is closed──► over
 *          ▲                           │
 *          └─────────restore───────────┘   the application uses one of them, or still has it at the end
 * ```
 * If the application listens to one of them or has wrapped a method, both stay. Otherwise only the application can have
 * them in memory. If it does, a new listener restores them, and so does a write: the response has a proxy instead of its
 * socket.
 *
 * Internals of Node 20 to 24. Each is looked for first; if one is missing, nothing is released:
 *
 * - the socket's listeners `socketOnData`, `socketOnEnd`, `socketOnClose`, `socketOnDrain`, which hold the request, and
 *   `onSocketPause`, `onSocketResume`, which belong to the parser
 * - `socket.parser`: its methods `unconsume`, `remove` and `close` are what Node calls when a socket is closed
 * - `socket._httpMessage`: the response whose turn it is. A response only writes if it is this one. Node's listeners for
 *   the end, errors and time-outs of a socket read its `_headerSent` and call its `emit`
 * - `socket.server`: its `closeAllConnections` closes only sockets that have a parser
 * - `response._header`: the head that was sent
 * - `_eventsCount`: how many events an emitter has listeners for
 */
import { channel } from 'node:diagnostics_channel'
import { IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Blocks } from '../wire/blocks.js'

/** How many bytes a client may send while its response is open. They are ignored. */
const MAX_EXTRA_BYTES = 65_536
const CLOSES = /\r\nConnection: close\r\n/i
/** The last chunk of a response (RFC 9112, 7.1). */
const LAST_CHUNK = '0\r\n\r\n'

/** Node's listeners on a socket: event, name, and where it is unless somebody has prepended another one. */
const NODE_LISTENERS = [
  ['drain', 'bound socketOnDrain', 0],
  ['close', 'bound socketOnClose', 0],
  ['data', 'bound socketOnData', 0],
  ['end', 'bound socketOnEnd', 1],
  ['pause', 'onSocketPause', 0],
  ['resume', 'onSocketResume', 0],
] as const
const PARSER_METHODS = ['unconsume', 'remove', 'close'] as const
/** The events of a response to which Node listens. */
const NODE_EVENTS = ['finish']
/** The classes of Node inherit these methods. Agents that patch the classes for all requests give them their own. */
const INHERITED = ['write', 'end', 'destroy', 'emit', 'on'] as const
const [response, request] = [ServerResponse.prototype, IncomingMessage.prototype]
const { write, end, destroy, emit, on } = response
const requestMethods = { emit: request.emit, on: request.on, destroy: request.destroy, _destroy: request._destroy }

type Parser = { readonly [name in (typeof PARSER_METHODS)[number]]: () => void } & {
  /** The request that was read last. */
  readonly incoming: unknown
  socket: unknown
}
type HttpSocket = Socket & {
  _httpMessage?: unknown
  parser?: Parser | null
  readonly server?: Server & { readonly httpAllowHalfOpen?: boolean }
}
type HeadSent = ServerResponse & { readonly _header?: string | null }
type Listener = () => void
type Emitter = { readonly _eventsCount?: number; listenerCount(event: string): number }

/** Has the connection instead of the request and the response. */
interface Holder {
  /** The socket is closed. */
  onConnectionOver(): void
  /** The request and the response are in use again. */
  onRestore(req: IncomingMessage, res: ServerResponse): void
}

const responseFinish = channel('http.server.response.finish')

/**
 * Prepares a response whose headers are not sent yet, if it could be released as it is now. Only for GET: the answer to a
 * POST usually ends soon, and then the client would need a new connection.
 */
export function prepareRelease(req: IncomingMessage, res: ServerResponse): void {
  const { server }: HttpSocket = req.socket
  if (req.method !== 'GET' || server?.httpAllowHalfOpen === true || !isUnheard(req, res, NODE_EVENTS)) return
  // Node will read no further request from the socket, so the client must not send one (RFC 9112, 9.6).
  res.shouldKeepAlive = false
}

/**
 * What was released, and the handler of the proxy that the response has instead of its socket. The response and the
 * request have a reference to it, so it exists as long as one of them does.
 */
class Pair implements ProxyHandler<HttpSocket> {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  /** Node's listener for `drain` on the socket. */
  readonly onDrain: Listener
  /** Node's listener for `close` on the socket. */
  readonly onClose: Listener
  /** Restores both. */
  readonly onUse: Listener

  constructor(
    req: IncomingMessage,
    res: ServerResponse,
    onDrain: Listener,
    onClose: Listener,
    restore: (pair: Pair) => void,
  ) {
    this.req = req
    this.res = res
    this.onDrain = onDrain
    this.onClose = onClose
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

/** Writes chunks to the socket, like the response whose place it takes. */
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
    const socket: HttpSocket | null = res.socket
    if (socket?._httpMessage !== res || res.writableEnded || res.writableNeedDrain) return
    // The application may have set or removed the header.
    if (!CLOSES.test((res as HeadSent)._header ?? '')) return
    const { parser, server } = socket
    // The request is still being read, or a later one has been read and waits for its turn.
    if (parser?.incoming !== req || !req.complete || req.readableLength > 0 || res.writableCorked > 0) return
    if (server === undefined || responseFinish.hasSubscribers) return
    if (!isUnheard(req, res, own) || isWrapped(req, res)) return
    const listeners = NODE_LISTENERS.map(([event, name, at]) => listenerOf(socket, event, name, at))
    if (listeners.includes(undefined) || !PARSER_METHODS.every((name) => typeof parser[name] === 'function')) return
    const all = socketsOf(server)
    if (all === undefined) return
    const [onDrain, onClose] = listeners as [Listener, Listener]
    const pair = new Pair(req, res, onDrain, onClose, (used) => connection.#restore(used))
    const connection = new Connection(socket, holder, pair)
    const proxy = new Proxy(socket, pair)
    // Fails if the application has made the property its own. Nothing after this step can fail.
    Reflect.set(res, 'socket', proxy)
    if (res.socket !== proxy) return
    for (const [i, [event]] of NODE_LISTENERS.entries()) socket.off(event, listeners[i] as Listener)
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

  on(event: 'drain' | 'finish' | 'error', listener: (error: Error) => void): void {
    this.socket.on(event, listener)
  }

  write(bytes: Uint8Array): boolean {
    const socket: HttpSocket = this.socket
    // The application may have detached the socket from its response.
    if (socket._httpMessage !== this) return false
    return Blocks.of(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)).writeTo(socket)
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
    if (this.#pair instanceof WeakRef && this.#pair.deref() === undefined) this.#pair = undefined
    return this.#pair instanceof WeakRef ? this.#pair.deref() : this.#pair
  }

  onExtraBytes(bytes: number): void {
    this.#extraBytes += bytes
    if (this.#extraBytes > MAX_EXTRA_BYTES) this.socket.destroy()
  }

  #restore(pair: Pair): void {
    if (this.#pair === pair) return
    const { req, res, onDrain, onUse } = pair
    const socket: HttpSocket = this.socket
    this.#pair = pair
    restored.set(socket, this)
    req.off('newListener', onUse)
    res.off('newListener', onUse)
    socket.off('drain', onSocketDrain)
    socket.on('drain', onDrain)
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
  connectionOf(this)?.restore()?.onDrain()
}

/** Node's next listener emits `close` on the response, or on the connection. */
function onSocketClose(this: HttpSocket): void {
  if (this.server !== undefined) socketsOf(this.server)?.delete(this)
  connectionOf(this)?.restore()?.onClose()
}

/**
 * Whether nothing else listens to the request or the response.
 * @param own the events of the response to which Node and the caller have one listener each, and no others
 */
function isUnheard(req: Emitter, res: Emitter, own: readonly string[]): boolean {
  if (req._eventsCount !== 0 || res._eventsCount !== own.length) return false
  return own.every((event) => res.listenerCount(event) === 1)
}

/** Whether something has wrapped a method of the request, the response or their classes, or they are of other classes. */
function isWrapped(req: IncomingMessage, res: ServerResponse): boolean {
  return (
    res.write !== write ||
    res.end !== end ||
    res.destroy !== destroy ||
    res.emit !== emit ||
    res.on !== on ||
    req.emit !== requestMethods.emit ||
    req.on !== requestMethods.on ||
    req.destroy !== requestMethods.destroy ||
    req._destroy !== requestMethods._destroy ||
    INHERITED.some((name) => Object.hasOwn(response, name) || Object.hasOwn(request, name))
  )
}

function listenerOf(socket: Socket, event: string, name: string, at: number): Listener | undefined {
  const all = socket.listeners(event) as Listener[]
  return all[at]?.name === name ? all[at] : all.find((listener) => listener.name === name)
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
