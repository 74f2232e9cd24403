/**
 * Whether the request and the response of a stream may be released. Owns what Node's HTTP server looks like inside, and
 * the signs that something besides Node and the caller uses one of the two.
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

const CLOSES = /\r\nConnection: close\r\n/i

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
const [response, request] = [ServerResponse.prototype, IncomingMessage.prototype]
/** Node's methods. The two classes inherit them, unless an agent has patched the classes for all requests. */
const { write, end, destroy, emit, on } = response
const responseMethods = { write, end, destroy, emit, on }
const requestMethods = { destroy: request.destroy, emit: request.emit, on: request.on }
const { _destroy: destroyRequest } = request

type Parser = { readonly [name in (typeof PARSER_METHODS)[number]]: () => void } & {
  /** The request that was read last. */
  readonly incoming: unknown
  socket: unknown
}
export type HttpSocket = Socket & {
  _httpMessage?: unknown
  parser?: Parser | null
  readonly server?: Server & { readonly httpAllowHalfOpen?: boolean }
}
type HeadSent = ServerResponse & { readonly _header?: string | null }
type Listener = () => void
/** Node's listeners on a socket, by event. */
export type NodeListeners = { readonly [event in (typeof NODE_LISTENERS)[number][0]]: Listener }
type Emitter = { readonly _eventsCount?: number; listenerCount(event: string): number }

/** What a request and its response are attached to. */
export interface Releasable {
  readonly socket: HttpSocket
  readonly parser: Parser
  readonly server: Server
  readonly listeners: NodeListeners
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
 * Looks at a response whose headers were sent after `prepareRelease`.
 * @param own the events of the response to which Node and the caller have one listener each
 * @returns `undefined`: something else uses the request or the response, or Node is of another kind
 */
export function releasable(req: IncomingMessage, res: ServerResponse, own: readonly string[]): Releasable | undefined {
  const socket: HttpSocket | null = res.socket
  if (socket?._httpMessage !== res || res.writableEnded || res.writableNeedDrain) return undefined
  // The application may have set or removed the header.
  if (!CLOSES.test((res as HeadSent)._header ?? '')) return undefined
  const { parser, server } = socket
  // The request is still being read, or a later one has been read and waits for its turn.
  if (parser?.incoming !== req || !req.complete || req.readableLength > 0 || res.writableCorked > 0) return undefined
  if (server === undefined || responseFinish.hasSubscribers) return undefined
  if (!isUnheard(req, res, own) || isWrapped(req, res)) return undefined
  if (!PARSER_METHODS.every((name) => typeof parser[name] === 'function')) return undefined
  const listeners = NODE_LISTENERS.map(([event, name, at]) => [event, listenerOf(socket, event, name, at)] as const)
  if (listeners.some(([, listener]) => listener === undefined)) return undefined
  return { socket, parser, server, listeners: Object.fromEntries(listeners) as NodeListeners }
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
export function isWrapped(req: IncomingMessage, res: ServerResponse): boolean {
  return (
    differs(res, response, responseMethods) || differs(req, request, requestMethods) || req._destroy !== destroyRequest
  )
}

function differs<T extends object>(object: T, prototype: T, methods: Partial<T>): boolean {
  for (const name in methods) if (object[name] !== methods[name] || Object.hasOwn(prototype, name)) return true
  return false
}

function listenerOf(socket: Socket, event: string, name: string, at: number): Listener | undefined {
  const all = socket.listeners(event) as Listener[]
  return all[at]?.name === name ? all[at] : all.find((listener) => listener.name === name)
}
