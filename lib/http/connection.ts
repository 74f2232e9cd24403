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
 * The application cannot tell: if it listens to one of them or has wrapped a method, both stay. If it only keeps one of
 * them, each use restores both.
 *
 * Internals of Node 20 to 24. Each is looked for first; if one is missing, nothing is released:
 *
 * - the socket's listeners `socketOnData`, `socketOnEnd`, `socketOnClose`, `socketOnDrain`, which hold the request
 * - `socket.parser`: its methods `unconsume`, `remove` and `close` are what Node calls when a socket is closed
 * - `socket._httpMessage`: the response whose turn it is. Node's listeners for errors and time-outs on a socket read its
 *   `_headerSent` and call its `emit`
 * - `socket.server`: its `closeAllConnections` closes only sockets that have a parser
 * - `assignSocket`, `detachSocket` and `shouldKeepAlive` of a response
 */
import { channel } from 'node:diagnostics_channel'
import { IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Blocks } from '../wire/blocks.js'

/** How many bytes a client may send while its response is open. They are ignored. */
const MAX_EXTRA_BYTES = 65_536
/** The last chunk of a response (RFC 9112, 7.1). */
const LAST_CHUNK = '0\r\n\r\n'

/** Node's listeners on a socket: event, name, and where it is unless somebody has prepended another one. */
const NODE_LISTENERS = [
  ['drain', 'bound socketOnDrain', 0],
  ['data', 'bound socketOnData', 0],
  ['end', 'bound socketOnEnd', 1],
  ['close', 'bound socketOnClose', 0],
] as const
const PARSER_METHODS = ['unconsume', 'remove', 'close'] as const
const ADD_LISTENER = ['on', 'once', 'addListener', 'prependListener', 'prependOnceListener'] as const
/** The uses of a response that the application has kept. All others call one of these, or only read. */
const USES = ['write', 'end', 'destroy', 'assignSocket', 'detachSocket', ...ADD_LISTENER] as const

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

type Listener = () => void
type Emitter = { readonly _eventsCount?: number; listenerCount(event: string): number }

/** What was released. */
interface Pair {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  /** Node's listener for `drain` on the socket, which emits it on the response. */
  readonly onDrain: Listener
  readonly restore: (pair: Pair) => void
}

/** Has the connection instead of the request and the response. */
interface Holder {
  /** The socket is closed. */
  onConnectionOver(): void
  /** The request and the response are in use again. */
  onRestore(req: IncomingMessage, res: ServerResponse): void
}

/** The events of a response to which Node listens. */
const NODE_EVENTS = ['finish']
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

/** Writes chunks to the socket, like the response whose place it takes. */
export class Connection {
  readonly socket: Socket
  writableEnded = false
  readonly #holder: Holder
  /** Exists as long as the application has the request or the response. */
  readonly #pair: WeakRef<Pair>
  #extraBytes = 0

  private constructor(socket: Socket, holder: Holder, pair: Pair) {
    this.socket = socket
    this.#holder = holder
    this.#pair = new WeakRef(pair)
  }

  /**
   * Takes the socket from the response, whose headers were sent after `prepareRelease`.
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
    if (socket?._httpMessage !== res || res.shouldKeepAlive || res.writableEnded || res.writableCorked > 0) return
    const { parser, server } = socket
    // The request is still being read, or a later one has been read and waits for its turn.
    if (parser?.incoming !== req || !req.complete || req.readableLength > 0) return
    if (server === undefined || responseFinish.hasSubscribers) return
    if (!isUnheard(req, res, own) || isWrapped(req, res)) return
    const listeners = NODE_LISTENERS.map(([event, name, at]) => listenerOf(socket, event, name, at))
    if (listeners.includes(undefined) || !PARSER_METHODS.every((name) => typeof parser[name] === 'function')) return
    for (const [i, [event]] of NODE_LISTENERS.entries()) socket.off(event, listeners[i] as Listener)
    res.detachSocket(socket)
    parser.unconsume()
    parser.remove()
    parser.socket = null
    socket.parser = null
    parser.close()
    // The application may read it.
    Object.assign(res, { socket })
    const onDrain = listeners[0] as Listener
    const pair: Pair = { req, res, onDrain, restore: () => connection.#restore(pair) }
    const connection = new Connection(socket, holder, pair)
    socket._httpMessage = connection
    socket.on('data', onData)
    socket.on('end', onEnd)
    socket.on('close', onClose)
    socketsOf(server).add(socket)
    watchUse(pair)
    return connection
  }

  get _headerSent(): boolean {
    return true
  }

  emit(): boolean {
    return false
  }

  on(event: 'drain' | 'finish' | 'error', listener: (error: Error) => void): void {
    this.socket.on(event, listener)
  }

  write(bytes: Uint8Array): boolean {
    return Blocks.of(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)).writeTo(this.socket)
  }

  end(): void {
    if (this.writableEnded) return
    this.writableEnded = true
    const pair = this.#pair.deref()
    if (pair !== undefined) {
      this.#restore(pair)
      pair.res.end()
    } else if (this.socket.writable) {
      this.socket.write(LAST_CHUNK, 'latin1')
      this.socket.destroySoon()
    }
  }

  onExtraBytes(bytes: number): void {
    this.#extraBytes += bytes
    if (this.#extraBytes > MAX_EXTRA_BYTES) this.socket.destroy()
  }

  onClosed(): void {
    const { socket } = this
    const pair = this.#pair.deref()
    if (pair === undefined) {
      this.#holder.onConnectionOver()
      return
    }
    const before = socket.listeners('close')
    this.#restore(pair)
    // Those that `close` would call if it came now.
    for (const listener of socket.listeners('close')) if (!before.includes(listener)) listener.call(socket, false)
  }

  #restore(pair: Pair): void {
    const socket: HttpSocket = this.socket
    const { req, res, onDrain } = pair
    stopWatching(pair)
    socket._httpMessage = null
    res.assignSocket(socket)
    socket.on('drain', onDrain)
    // As Node does.
    socket.once('close', () => {
      if (!req.destroyed) req.destroy(Object.assign(new Error('aborted'), { code: 'ECONNRESET' }))
    })
    this.#holder.onRestore(req, res)
  }
}

/** Shared by all sockets, instead of closures for each. */
function onData(this: HttpSocket, bytes: Buffer): void {
  if (this._httpMessage instanceof Connection) this._httpMessage.onExtraBytes(bytes.length)
}

/** The client has ended its side. As Node without `httpAllowHalfOpen`. */
function onEnd(this: Socket): void {
  this.end()
}

function onClose(this: HttpSocket): void {
  if (this.server !== undefined) socketsOf(this.server).delete(this)
  if (this._httpMessage instanceof Connection) this._httpMessage.onClosed()
}

/**
 * Whether nothing else listens to the request or the response.
 * @param own the events of the response to which Node and the caller have one listener each, and no others
 */
function isUnheard(req: Emitter, res: Emitter, own: readonly string[]): boolean {
  if (req._eventsCount !== 0 || res._eventsCount !== own.length) return false
  return own.every((event) => res.listenerCount(event) === 1)
}

/** Whether middleware has wrapped a method of the request or the response. */
function isWrapped(req: IncomingMessage, res: ServerResponse): boolean {
  const { write, end, destroy, emit, on } = ServerResponse.prototype
  return (
    res.write !== write ||
    res.end !== end ||
    res.destroy !== destroy ||
    res.emit !== emit ||
    res.on !== on ||
    req.emit !== IncomingMessage.prototype.emit ||
    req.on !== IncomingMessage.prototype.on
  )
}

function listenerOf(socket: Socket, event: string, name: string, at: number): Listener | undefined {
  const all = socket.listeners(event) as Listener[]
  return all[at]?.name === name ? all[at] : all.find((listener) => listener.name === name)
}

/** By the request, and by the response. */
const released = new WeakMap<object, Pair>()

/** By the prototype of responses, of which each Express application has its own: what replaces it. */
const watchedPrototypes = new WeakMap<object, object>()

/**
 * Restores both before the application uses one of them: adds a listener to the request, or calls or replaces a method of
 * the response. The prototype of the response is replaced, because with Express each response has its own hidden class,
 * and V8 would make another one for each property that is added (bench `join`).
 */
function watchUse(pair: Pair): void {
  const { req, res } = pair
  released.set(req, pair)
  released.set(res, pair)
  req.on('newListener', onNewListener)
  const prototype = Object.getPrototypeOf(res)
  let watched = watchedPrototypes.get(prototype)
  if (watched === undefined) {
    watched = watchedPrototype(prototype)
    watchedPrototypes.set(prototype, watched)
  }
  Object.setPrototypeOf(res, watched)
}

function stopWatching({ req, res }: Pair): void {
  released.delete(req)
  released.delete(res)
  req.off('newListener', onNewListener)
  Object.setPrototypeOf(res, Object.getPrototypeOf(Object.getPrototypeOf(res)))
}

function onNewListener(this: object): void {
  restore(this)
}

/** A prototype that inherits from another one. Reading or replacing one of its methods restores the object. */
function watchedPrototype(prototype: object): object {
  const watched = Object.create(prototype)
  for (const name of USES) {
    Object.defineProperty(watched, name, {
      get() {
        restore(this)
        return Reflect.get(this, name)
      },
      set(method: unknown) {
        restore(this)
        Reflect.set(this, name, method)
      },
    })
  }
  return watched
}

function restore(object: object): void {
  const pair = released.get(object)
  pair?.restore(pair)
}

const sockets = new WeakMap<Server, Set<Socket>>()

/** The sockets of a server without a parser. Its `closeAllConnections` closes them too. */
function socketsOf(server: Server): Set<Socket> {
  const known = sockets.get(server)
  if (known !== undefined) return known
  const all = new Set<Socket>()
  sockets.set(server, all)
  const { closeAllConnections } = server
  Object.assign(server, {
    closeAllConnections() {
      closeAllConnections.call(server)
      for (const socket of all) socket.destroy()
    },
  })
  return all
}
