import type { Socket } from 'node:net'
import { RequestError, SseError } from '../core/errors.js'
import { endingOf, setStreamOf } from '../core/stream-of.js'
import { setHead } from '../wire/headers.js'
import { EventStream } from './event-stream.js'
import { type ResolvedStreamOptions, resolveStreamOptions, type StreamOptions } from './options.js'
import type { AnyResponse, StreamRequest, StreamResponse } from './response.js'

/** GET as in WHATWG; POST for clients on fetch that send a body along; HEAD gets the headers alone. */
const METHODS: readonly (string | undefined)[] = ['GET', 'HEAD', 'POST']

/**
 * Opens a stream on any of Node's responses: HTTP/1.0, HTTP/1.1, HTTP/2 through the compatibility API, with or without
 * Express. Sends status 200, the headers and the first block. A HEAD request gets the headers, and a stream that closes
 * at once.
 * @throws SseError `ERR_SSE_HEADERS_SENT` if the response has begun
 * @throws RequestError `ERR_SSE_METHOD_NOT_ALLOWED` for a method other than GET, HEAD and POST
 * @throws SseError `ERR_SSE_OVERLOADED` under pressure, unless `refuseWith` says otherwise
 * @throws InvalidOptionError
 */
export function openStream(req: StreamRequest, res: AnyResponse, options: StreamOptions = {}): EventStream {
  return openResolved(req, res, resolveStreamOptions(options))
}

/** `openStream` with options that have been resolved, and may be shared by many streams. */
export function openResolved(req: StreamRequest, res: AnyResponse, options: ResolvedStreamOptions): EventStream {
  const stream = beginStream(req, res, options)
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
  id?: string,
): EventStream {
  if (res.headersSent) {
    throw new SseError('ERR_SSE_HEADERS_SENT', 'The response has begun; open the stream before anything is sent')
  }
  const { method } = req
  if (!METHODS.includes(method)) {
    throw new RequestError('ERR_SSE_METHOD_NOT_ALLOWED', `A stream cannot be opened with ${method}`, {
      headers: { Allow: 'GET, HEAD, POST' },
    })
  }
  if (options.refuseWith === 'status') options.pressure?.admit()
  const pollUrl = typeof options.pollUrl === 'function' ? options.pollUrl(req) : options.pollUrl
  const response = res as unknown as StreamResponse
  // Each look at Express's request or response costs, for no two of them have the same shape (bench `join`).
  const { httpVersionMajor } = req
  const { destroyed } = response
  setHead(response, httpVersionMajor === 1 && req.httpVersionMinor >= 1)
  const corked = httpVersionMajor === 1 ? cork(req.socket as Socket) : undefined
  if (!destroyed) response.flushHeaders()
  const stream = new EventStream(req, response, options, { id, pollUrl, corked })
  setStreamOf(res, stream)
  const ending = endingOf(res)
  if (destroyed) void stream.close('client_gone')
  else if (method === 'HEAD') void stream.close('head')
  else if (ending !== undefined) void stream.close(ending)
  else if (options.pressure && options.pressure.level !== 'none') void stream.close('overloaded')
  return stream
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
