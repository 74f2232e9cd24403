import type { IncomingHttpHeaders } from 'node:http'
import { type Query, queryOf } from './query.js'

/** What is sent before the first block. */
interface Head {
  statusCode: number
  setHeader(name: string, value: string): unknown
  hasHeader(name: string): boolean
  removeHeader(name: string): unknown
}

/**
 * Sets status and headers of a stream (WHATWG HTML 9.2; Cache-Control after RFC 9111). `no-transform` keeps compressing middleware
 * and proxies away, `X-Accel-Buffering` turns nginx's buffering off. These three replace what the application has set before: a stream
 * of another type, cached, transformed or buffered does not work. A `Content-Length` is removed. All other headers stay, and
 * `Connection` is left to Node, which knows what the client, the server and the application want.
 */
export function setHead(res: Head): void {
  res.statusCode = 200
  if (res.hasHeader('Content-Length')) res.removeHeader('Content-Length')
  res.setHeader('Content-Type', 'text/event-stream')
  res.setHeader('Cache-Control', 'private, no-store, no-transform')
  res.setHeader('X-Accel-Buffering', 'no')
}

/**
 * The cursor a request brings: the `Last-Event-ID` header, else `?last_event_id=`, else `?lastEventId=`, as some polyfills of
 * EventSource call it. Unparsed.
 */
export function requestedCursor(headers: IncomingHttpHeaders, query: Query): string | undefined {
  const header = headers['last-event-id']
  const value = Array.isArray(header) ? header[0] : header
  return value || query.get('last_event_id') || query.get('lastEventId') || undefined
}

/** Who keeps a client's cursor: the one that sets `Last-Event-ID` (EventSource by itself, or fetch), or the URL. */
export type CursorOrigin = 'header' | 'query'

/** How a request says where its stream goes on; `undefined`: it begins one. */
export function cursorOrigin(req: {
  readonly headers: IncomingHttpHeaders
  readonly url?: string | undefined
}): CursorOrigin | undefined {
  if (req.headers['last-event-id']) return 'header'
  return requestedCursor(req.headers, queryOf(req)) === undefined ? undefined : 'query'
}
