/**
 * request ─► **open** ─► stream. Owns the one order in which a stream on a response is opened:
 *
 *   1. check     `assertOpenable`: the response, the method, a completed stream, pressure. Sends and holds nothing
 *   2. token     a foreign `req.auth`, or a revocation since the request was authenticated, refuses the stream
 *   3. headers   are sent, with the socket corked
 *   4. stream    the `SseStream`; where no stream can stay open, it closes immediately
 *   5. start     the first block, deadlines, the watch for revocations
 *   6. uncork    headers, first block and first events leave in one write
 *
 * `beginStream` does steps 1 to 4, for callers that have to do something before or between 5 and 6. Nothing else can
 * run between 2 and 5, so no revocation is missed.
 */
import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { answeredAtOnce } from '../core/callbacks.js'
import type { CloseReason } from '../core/close-reasons.js'
import { InvalidOptionError, RequestError, SseError } from '../core/errors.js'
import { authOf } from '../http/auth-of.js'
import type { AnyResponse } from '../http/exchange.js'
import { Exchange } from '../http/exchange.js'
import { setHead } from '../http/head.js'
import { queryOf, requestedCursor } from '../http/query.js'
import type { StreamRequest } from '../http/requester.js'
import { COMPLETED_ID } from '../wire/control.js'
import type { EventStream } from './event-stream.js'
import { type ResolvedStreamOptions, resolveStreamOptions, type StreamOptions } from './options.js'
import { type Opening, SseStream } from './sse-stream.js'
import { pendingCloseReason, setStreamOf } from './stream-of.js'

/** GET as in WHATWG; POST for clients on `fetch` that send a body; HEAD gets only the headers. */
const METHODS: readonly (string | undefined)[] = ['GET', 'HEAD', 'POST']

/**
 * Opens a stream on any response of Node: HTTP/1.0, HTTP/1.1, HTTP/2 through the compatibility API, with or without
 * Express. Sends status 200, the headers and the first block. Replaces the headers `Content-Type`, `Cache-Control`,
 * `X-Accel-Buffering` and `Content-Length` if they were set before.
 *
 * The stream closes immediately where nothing can be sent on it: on a HEAD request, which gets the headers; if the
 * client has left; and if a client reconnects to a stream that was closed with `completed`, which is answered with 204.
 * @throws SseError `ERR_SSE_HEADERS_SENT` if the response has begun
 * @throws RequestError `ERR_SSE_METHOD_NOT_ALLOWED` for a method other than GET, HEAD and POST
 * @throws SseError `ERR_SSE_AUTH_FOREIGN` if another library has set `req.auth`
 * @throws RequestError `ERR_SSE_TOKEN_REVOKED` if the token was revoked after the request was authenticated
 * @throws SseError `ERR_SSE_OVERLOADED` under pressure, if `refuseWith` is `status`
 * @throws InvalidOptionError
 */
export function openStream(req: StreamRequest, res: AnyResponse, options: StreamOptions = {}): EventStream {
  return openResolved(req, res, resolveStreamOptions(options))
}

/** `openStream` with resolved options, which many streams may share. */
export function openResolved(
  req: StreamRequest,
  res: AnyResponse,
  options: ResolvedStreamOptions,
  openStreams?: Set<SseStream>,
): SseStream {
  const stream = beginStream(req, res, options, { openStreams })
  if (stream.closeReason === undefined) stream.start()
  // Events that the caller sends in the same turn leave in the same write.
  process.nextTick(uncork, stream)
  return stream
}

/** What the caller of `beginStream` decides. */
export interface StreamOpening extends Pick<Opening, 'id' | 'exchange' | 'openStreams'> {
  /** The stream closes immediately, with this reason unless the check finds another. */
  readonly reason?: CloseReason | undefined
}

/**
 * Refuses a request that cannot have a stream. Holds nothing, so it comes before everything that does.
 * @returns the reason with which a stream on this request closes immediately; `undefined`: the stream may stay open
 * @throws as `openStream`
 */
export function assertOpenable(
  req: StreamRequest,
  res: AnyResponse,
  { refuseWith, pressure }: Pick<ResolvedStreamOptions, 'refuseWith' | 'pressure'>,
  exchange: Exchange = new Exchange(req, res),
): CloseReason | undefined {
  if (res.headersSent) {
    throw new SseError(
      'ERR_SSE_HEADERS_SENT',
      'The response has already begun: open the stream before the response is written',
    )
  }
  const { method } = req
  if (!METHODS.includes(method)) {
    throw new RequestError('ERR_SSE_METHOD_NOT_ALLOWED', `A stream cannot be opened with ${method}`, {
      headers: { Allow: 'GET, HEAD, POST' },
    })
  }
  if (exchange.over) return 'client_gone'
  if (isCompleted(req)) return 'completed'
  if (refuseWith === 'status') pressure?.admit()
  if (method === 'HEAD') return 'head'
  const pending = pendingCloseReason(res)
  if (pending !== undefined) return pending
  return pressure === undefined || pressure.level === 'none' ? undefined : 'overloaded'
}

/** Steps 1 to 4. The caller starts and uncorks the stream, unless it has closed already. @throws as `openStream` */
export function beginStream(
  req: StreamRequest,
  res: AnyResponse,
  options: ResolvedStreamOptions,
  opening: StreamOpening,
): SseStream {
  const { exchange = new Exchange(req, res) } = opening
  const reason = assertOpenable(req, res, options, exchange) ?? opening.reason
  // Before the headers: each of the three may refuse the stream.
  const auth = authOf(req)
  options.revocations?.assertNotRevoked(auth)
  const pollUrl = pollUrlOf(req, options)
  let corked: Socket | undefined
  if (reason === 'completed') {
    res.statusCode = 204
    res.setHeader('Cache-Control', 'no-store')
  } else if (reason !== 'client_gone') {
    setHead(res)
    if (reason === undefined && !options.keepRequest) exchange.prepareRelease()
    corked = req.httpVersionMajor === 1 ? cork(req.socket) : undefined
    if (res instanceof ServerResponse) res.flushHeaders()
    else res.writeHead(res.statusCode)
  }
  const stream = new SseStream(req, res, options, { ...opening, pollUrl, corked, exchange })
  setStreamOf(res, stream)
  if (reason === 'head' || reason === 'completed') stream.closeEmpty(reason)
  else if (reason !== undefined) void stream.close(reason)
  return stream
}

/** Called before the stream is open, so that an error can be answered. @throws InvalidOptionError */
function pollUrlOf(req: StreamRequest, { pollUrl }: ResolvedStreamOptions): string | undefined {
  if (typeof pollUrl !== 'function') return pollUrl
  const url: unknown = answeredAtOnce('pollUrl', pollUrl(req), () => undefined)
  if (typeof url === 'string' && url !== '') return url
  throw new InvalidOptionError('pollUrl must return a URL as a non-empty string')
}

/** The client reconnects to a completed stream, as a native EventSource does. */
function isCompleted(req: StreamRequest): boolean {
  const { url, headers } = req
  // Most requests have no cursor. The query is parsed only if it may contain this id.
  if (headers['last-event-id'] === undefined && url?.includes(COMPLETED_ID) !== true) return false
  return requestedCursor(headers, queryOf(req)) === COMPLETED_ID
}

function uncork(stream: SseStream): void {
  stream.uncork()
}

/**
 * Headers, first block and first events leave in one write, which is measurable when many clients reconnect (bench
 * join).
 */
function cork(socket: Socket): Socket {
  // The stream has its own deadlines. The server's time-out for idle sockets does not apply to it.
  if (socket.timeout) socket.setTimeout(0)
  socket.cork()
  return socket
}
