import type { Socket } from 'node:net'
import { RequestError, SseError } from '../core/errors.js'
import { streamHeaders } from '../wire/headers.js'
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
  return stream
}

/** Sends the headers; the caller starts the stream, unless it is closed already. With `openStream`'s errors. */
export function beginStream(
  req: StreamRequest,
  res: AnyResponse,
  options: ResolvedStreamOptions,
  id?: string,
): EventStream {
  if (res.headersSent) {
    throw new SseError('ERR_SSE_HEADERS_SENT', 'The response has begun; open the stream before anything is sent')
  }
  if (!METHODS.includes(req.method)) {
    throw new RequestError('ERR_SSE_METHOD_NOT_ALLOWED', `A stream cannot be opened with ${req.method}`, {
      headers: { Allow: 'GET, HEAD, POST' },
    })
  }
  if (options.refuseWith === 'status') options.pressure?.admit()
  const pollUrl = typeof options.pollUrl === 'function' ? options.pollUrl(req) : options.pollUrl
  const response = res as unknown as StreamResponse
  if (response.statusCode !== 200) response.statusCode = 200
  for (const [name, value] of streamHeaders(req.httpVersionMajor, req.httpVersionMinor)) response.setHeader(name, value)
  if (req.httpVersionMajor === 1) prepareSocket(req.socket as Socket)
  if (!response.destroyed) response.flushHeaders()
  const stream = new EventStream(req, response, options, id === undefined ? { pollUrl } : { pollUrl, id })
  response.sseStream = stream
  if (response.destroyed) void stream.close('client_gone')
  else if (req.method === 'HEAD') void stream.close('head')
  else if (options.pressure && options.pressure.level !== 'none') void stream.close('overloaded')
  return stream
}

function prepareSocket(socket: Socket): void {
  // A server-wide time-out for idle sockets does not fit a stream; its own deadlines bound it.
  socket.setTimeout(0)
  // Headers, first block and what is sent at once leave in one write: it shows when many reconnect (bench join).
  socket.cork()
  process.nextTick(() => socket.uncork())
}
