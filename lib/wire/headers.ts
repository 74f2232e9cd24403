import type { IncomingHttpHeaders } from 'node:http'
import type { Query } from './query.js'

/** What is sent before the first block. */
interface Head {
  statusCode: number
  setHeader(name: string, value: string): unknown
}

/**
 * Sets status and headers of a stream (WHATWG HTML 9.2; Cache-Control after RFC 9111). `no-transform` keeps compressing middleware
 * and proxies away, `X-Accel-Buffering` turns nginx's buffering off.
 * @param keptAlive on HTTP/2 there must be no `Connection` header (RFC 9113 8.2.2); an HTTP/1.0 response has no chunks, so that only
 * closing the connection ends it
 */
export function setHead(res: Head, keptAlive: boolean): void {
  res.statusCode = 200
  res.setHeader('Content-Type', 'text/event-stream')
  res.setHeader('Cache-Control', 'private, no-store, no-transform')
  res.setHeader('X-Accel-Buffering', 'no')
  if (keptAlive) res.setHeader('Connection', 'keep-alive')
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
