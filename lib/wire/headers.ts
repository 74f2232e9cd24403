import type { IncomingHttpHeaders } from 'node:http'

type Header = readonly [name: string, value: string]

const HEADERS: readonly Header[] = [
  ['Content-Type', 'text/event-stream'],
  ['Cache-Control', 'private, no-store, no-transform'],
  ['X-Accel-Buffering', 'no'],
]
const KEPT_ALIVE: readonly Header[] = [...HEADERS, ['Connection', 'keep-alive']]

/**
 * The headers of a stream (WHATWG HTML 9.2; Cache-Control after RFC 9111). `no-transform` keeps compressing middleware
 * and proxies away, `X-Accel-Buffering` turns nginx's buffering off.
 * @param httpVersionMajor on HTTP/2 there must be no `Connection` header (RFC 9113 8.2.2)
 */
export function streamHeaders(httpVersionMajor: number, httpVersionMinor: number): readonly Header[] {
  // An HTTP/1.0 response has no chunks: only closing the connection ends it, so it must not be called keep-alive.
  return httpVersionMajor === 1 && httpVersionMinor >= 1 ? KEPT_ALIVE : HEADERS
}

/**
 * The cursor a request brings: the `Last-Event-ID` header, else `?last_event_id=`, else `?lastEventId=`, as some polyfills of
 * EventSource call it. Unparsed.
 */
export function requestedCursor(headers: IncomingHttpHeaders, query: URLSearchParams): string | undefined {
  const header = headers['last-event-id']
  const value = Array.isArray(header) ? header[0] : header
  return value || query.get('last_event_id') || query.get('lastEventId') || undefined
}
