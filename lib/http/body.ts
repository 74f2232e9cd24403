/**
 * request ─► **body** ─► acknowledgements, tickets, webhooks: the one place where the kit reads a request's body. Owns its bound, and
 * whether somebody else has read it before. Not Express's parsers: they take an HTTP/2 request for one without a body unless it has a
 * `Content-Length`, which HTTP/2 does not ask for.
 */
import { RequestError } from '../core/errors.js'
import type { AnyRequest, Exchange } from './exchange.js'

/** What parsers and platforms leave behind. */
interface Parsed {
  readonly body?: unknown
}

/**
 * The bytes of a body as they came; empty if the request has none. What exceeds the bound is read and thrown away, so that the client can
 * read the answer on a connection that goes on.
 * @returns `undefined`: a parser or the application has read it already, wholly or in part
 * @throws RequestError `ERR_SSE_PAYLOAD_TOO_LARGE`; `ERR_SSE_PAYLOAD_UNREADABLE` if it has a `Content-Encoding`, or its client is gone
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
    // Somebody may have paused it, to wait for something before.
    req.resume()
  })
}

/**
 * A body as JSON, whatever its type says: `navigator.sendBeacon` cannot set one. What a parser has made of it is taken as it is.
 * @returns `undefined`: there is none
 * @throws RequestError as `readBody`; `ERR_SSE_PAYLOAD_INVALID` if it is not JSON
 */
export async function readJson(req: AnyRequest, exchange: Exchange, maxBytes: number): Promise<unknown> {
  const body: unknown = (await readBody(req, exchange, maxBytes)) ?? (req as Parsed).body
  if (typeof body !== 'string' && !Buffer.isBuffer(body)) return body
  return body.length === 0 ? undefined : parseJson(body)
}

/**
 * Reads and throws away a body in which nobody is interested. Left alone, a large one stops Node from reading its HTTP/1 connection, and
 * then nobody notices that the client leaves. A reader that is there already goes on.
 */
export function discardBody(req: AnyRequest): void {
  // Most requests have none, and this costs (bench `join`). On HTTP/2 a body holds up only its own stream.
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

/** Nobody reads this answer. */
function clientGone(): RequestError {
  return unreadable('The client left before its body had arrived')
}

function isEncoded({ headers }: AnyRequest): boolean {
  const encoding = headers['content-encoding']
  return encoding !== undefined && !/^\s*(?:identity)?\s*$/i.test(encoding)
}

function ignore(): void {
  // The client has left, which the exchange reports. Without a listener, which stays, an error on HTTP/2 would end the process.
}
