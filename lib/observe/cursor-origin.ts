import type { IncomingHttpHeaders } from 'node:http'
import { requestedCursor } from '../wire/headers.js'
import { queryOf } from '../wire/query.js'

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
