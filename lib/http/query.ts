/** The query of a request, and the cursor that a request sends in it or in `Last-Event-ID`. */
import type { IncomingHttpHeaders } from 'node:http'

const NONE: Query = new URLSearchParams()

/** A read-only view, because all requests without parameters share one object. */
export type Query = Pick<URLSearchParams, 'get' | 'has'>

/**
 * The query of a request's URL. Not `req.query`, which depends on the application's query parser, and not `new URL()`,
 * which throws for some request targets that HTTP allows.
 */
export function queryOf({ url = '' }: { readonly url?: string | undefined }): Query {
  const start = url.indexOf('?')
  return start === -1 ? NONE : new URLSearchParams(url.slice(start + 1))
}

/**
 * The unparsed cursor of a request: the `Last-Event-ID` header, otherwise `?last_event_id=`, otherwise `?lastEventId=`,
 * which some polyfills of EventSource send.
 */
export function requestedCursor(headers: IncomingHttpHeaders, query: Query): string | undefined {
  const header = headers['last-event-id']
  const value = Array.isArray(header) ? header[0] : header
  return value || query.get('last_event_id') || query.get('lastEventId') || undefined
}

/** Where a request has its cursor: in the header (EventSource on reconnect, or fetch), or in the URL. */
export type CursorOrigin = 'header' | 'query'

/** Where a request has its cursor; `undefined` if it has none. */
export function cursorOrigin(req: {
  readonly headers: IncomingHttpHeaders
  readonly url?: string | undefined
}): CursorOrigin | undefined {
  if (req.headers['last-event-id']) return 'header'
  return requestedCursor(req.headers, queryOf(req)) === undefined ? undefined : 'query'
}
