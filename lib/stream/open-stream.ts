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
import { EventStream, type Opening } from './event-stream.js'
import { type ResolvedStreamOptions, resolveStreamOptions, type StreamOptions } from './options.js'
import { endingOf, setStreamOf } from './stream-of.js'

/** GET as in WHATWG; POST for clients on fetch that send a body along; HEAD gets the headers alone. */
const METHODS: readonly (string | undefined)[] = ['GET', 'HEAD', 'POST']

/**
 * Opens a stream on any of Node's responses: HTTP/1.0, HTTP/1.1, HTTP/2 through the compatibility API, with or without
 * Express. Sends status 200, the headers and the first block. Of the headers that were set before, `Content-Type`, `Cache-Control`,
 * `X-Accel-Buffering` and `Content-Length` are replaced.
 *
 * The stream closes at once where nothing can be sent on it: on a HEAD request, which gets the headers; where the client has gone; and
 * where a client reconnects to a stream that was closed with `completed`, which is answered with 204.
 * @throws SseError `ERR_SSE_HEADERS_SENT` if the response has begun
 * @throws RequestError `ERR_SSE_METHOD_NOT_ALLOWED` for a method other than GET, HEAD and POST
 * @throws SseError `ERR_SSE_AUTH_FOREIGN` if another library has set `req.auth`
 * @throws RequestError `ERR_SSE_TOKEN_REVOKED` if the token was revoked since the request was authenticated
 * @throws SseError `ERR_SSE_OVERLOADED` under pressure, unless `refuseWith` says otherwise
 * @throws InvalidOptionError
 */
export function openStream(req: StreamRequest, res: AnyResponse, options: StreamOptions = {}): EventStream {
  return openResolved(req, res, resolveStreamOptions(options))
}

/** `openStream` with options that have been resolved, and may be shared by many streams. */
export function openResolved(
  req: StreamRequest,
  res: AnyResponse,
  options: ResolvedStreamOptions,
  among?: Set<EventStream>,
): EventStream {
  const stream = begin(req, res, options, { among })
  if (stream.closeReason === undefined) stream.start()
  // What the caller sends at once leaves with it.
  process.nextTick(uncork, stream)
  return stream
}

/**
 * Sends the headers; the caller starts the stream and uncorks it, unless it is closed already. With `openStream`'s errors.
 */
export function beginStream(
  req: StreamRequest,
  res: AnyResponse,
  options: ResolvedStreamOptions,
  opening: Pick<Opening, 'id' | 'exchange'>,
): EventStream {
  return begin(req, res, options, opening)
}

/**
 * Refuses a request on which no stream can be opened. It costs nothing and holds nothing, so it comes before everything that does.
 * @returns with which reason a stream on this request closes at once; `undefined`: it stays open
 * @throws as `openStream`
 */
export function assertOpenable(
  req: StreamRequest,
  res: AnyResponse,
  { refuseWith, pressure }: Pick<ResolvedStreamOptions, 'refuseWith' | 'pressure'>,
  exchange: Exchange = new Exchange(req, res),
): CloseReason | undefined {
  if (res.headersSent) {
    throw new SseError('ERR_SSE_HEADERS_SENT', 'The response has begun; open the stream before anything is sent')
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
  const ending = endingOf(res)
  if (ending !== undefined) return ending
  return pressure === undefined || pressure.level === 'none' ? undefined : 'overloaded'
}

function begin(req: StreamRequest, res: AnyResponse, options: ResolvedStreamOptions, opening: Opening): EventStream {
  const { exchange = new Exchange(req, res) } = opening
  const reason = assertOpenable(req, res, options, exchange)
  // Before the headers, whoever needs it. From here until the stream is watched nothing else can run: no revocation is missed.
  const auth = authOf(req)
  options.revocations?.assertNotRevoked(auth)
  const pollUrl = pollUrlOf(req, options)
  let corked: Socket | undefined
  if (reason === 'completed') {
    res.statusCode = 204
    res.setHeader('Cache-Control', 'no-store')
  } else if (reason !== 'client_gone') {
    setHead(res)
    corked = req.httpVersionMajor === 1 ? cork(req.socket) : undefined
    if (res instanceof ServerResponse) res.flushHeaders()
    else res.writeHead(res.statusCode)
  }
  const stream = new EventStream(req, res, options, { ...opening, pollUrl, corked, exchange })
  setStreamOf(res, stream)
  if (reason === 'head' || reason === 'completed') stream.closeEmpty(reason)
  else if (reason !== undefined) void stream.close(reason)
  return stream
}

/** Checked here, because the goodbye that tells it runs outside every request. @throws InvalidOptionError */
function pollUrlOf(req: StreamRequest, { pollUrl }: ResolvedStreamOptions): string | undefined {
  if (typeof pollUrl !== 'function') return pollUrl
  const url: unknown = answeredAtOnce('pollUrl', pollUrl(req), () => undefined)
  if (typeof url === 'string' && url !== '') return url
  throw new InvalidOptionError('pollUrl must return a URL, as text')
}

/** The client has been told that the stream is complete, and is back all the same, as a native EventSource is. */
function isCompleted(req: StreamRequest): boolean {
  const { url, headers } = req
  // Most requests have no cursor, and a query is parsed only where it may have this one.
  if (headers['last-event-id'] === undefined && url?.includes(COMPLETED_ID) !== true) return false
  return requestedCursor(headers, queryOf(req)) === COMPLETED_ID
}

function uncork(stream: EventStream): void {
  stream.uncork()
}

/** Headers, first block and what is sent at once leave in one write: it shows when many reconnect (bench `join`). */
function cork(socket: Socket): Socket {
  // A server-wide time-out for idle sockets does not fit a stream; its own deadlines bound it.
  if (socket.timeout) socket.setTimeout(0)
  socket.cork()
  return socket
}
