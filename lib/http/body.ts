/**
 * request ─► **body** ─► acknowledgements, tickets, webhooks: the only place that reads request bodies. Owns the limit
 * in bytes, and the check whether a body was read before. Express's parsers are not used: without `Content-Length` they
 * treat an HTTP/2 request as one without a body, although HTTP/2 does not require the header.
 */
import { RequestError } from '../core/errors.js'
import type { AnyRequest, Exchange } from './exchange.js'

/** What body parsers and platforms set. */
interface Parsed {
  readonly body?: unknown
}

/**
 * The bytes of a body as they arrived; empty if the request has none. The rest of a body above the limit is read and
 * discarded, so that the client can read the response and keep the connection.
 * @returns `undefined` if a parser or the application has read the body, completely or in part
 * @throws RequestError `ERR_SSE_PAYLOAD_TOO_LARGE`; `ERR_SSE_PAYLOAD_UNREADABLE` if the body has a `Content-Encoding`,
 * or if the client has left
 */
export function readBody(req: AnyRequest, exchange: Exchange, maxBytes: number): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    if (exchange.over) return reject(clientGone())
    if (req.readableDidRead || req.readableEncoding !== null) return resolve(undefined)
    const chunks: Buffer[] = []
    let bytes = 0
    const stop = (): void => {
      stopWatching()
      req.off('data', onData)
      req.off('end', onEnd)
    }
    const refuse = (error: RequestError): void => {
      stop()
      req.resume()
      reject(error)
    }
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length
      if (bytes > maxBytes) refuse(tooLarge(maxBytes))
      else chunks.push(chunk)
    }
    const onEnd = (): void => {
      stop()
      resolve(Buffer.concat(chunks, bytes))
    }
    const stopWatching = exchange.onOver(() => refuse(clientGone()))
    req.on('error', ignore)
    if (isEncoded(req)) return refuse(unreadable('The body must not have a Content-Encoding'))
    if (Number(req.headers['content-length']) > maxBytes) return refuse(tooLarge(maxBytes))
    req.on('data', onData)
    req.on('end', onEnd)
    // An earlier middleware may have paused the request.
    req.resume()
  })
}

/**
 * A body as JSON, regardless of its type: `navigator.sendBeacon` cannot set `application/json`. A parsed body is
 * returned as it is.
 * @returns `undefined` if there is no body
 * @throws RequestError as `readBody`; `ERR_SSE_PAYLOAD_INVALID` if the body is not JSON
 */
export async function readJson(req: AnyRequest, exchange: Exchange, maxBytes: number): Promise<unknown> {
  const body: unknown = (await readBody(req, exchange, maxBytes)) ?? (req as Parsed).body
  if (typeof body !== 'string' && !Buffer.isBuffer(body)) return body
  return body.length === 0 ? undefined : parseJson(body)
}

/**
 * Reads and discards a body that is not needed. An unread large body would keep Node from reading its HTTP/1
 * connection, and so from noticing that the client leaves. A reader that is already attached still gets the body.
 */
export function discardBody(req: AnyRequest): void {
  // Most requests have no body, and reading costs time (bench `join`). On HTTP/2 a body blocks only its own stream.
  if (req.headers['content-length'] === undefined && req.headers['transfer-encoding'] === undefined) return
  req.on('error', ignore)
  req.resume()
}

/** @throws RequestError `ERR_SSE_PAYLOAD_INVALID` */
export function parseJson(body: string | Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch (cause) {
    throw new RequestError('ERR_SSE_PAYLOAD_INVALID', 'The body is not JSON', { cause })
  }
}

export function tooLarge(maxBytes: number): RequestError {
  return new RequestError('ERR_SSE_PAYLOAD_TOO_LARGE', `The body has more than ${maxBytes} bytes`)
}

function unreadable(message: string): RequestError {
  return new RequestError('ERR_SSE_PAYLOAD_UNREADABLE', message)
}

/** No client receives this response. */
function clientGone(): RequestError {
  return unreadable('The client left before its body had arrived')
}

function isEncoded({ headers }: AnyRequest): boolean {
  const encoding = headers['content-encoding']
  return encoding !== undefined && !/^\s*(?:identity)?\s*$/i.test(encoding)
}

function ignore(): void {
  // The exchange reports that the client has left. The listener stays, because without one an error on HTTP/2 would end
  // the process.
}
