import type { CloseReason } from '../core/close-reasons.js'
import { type ErrorCode, RequestError, SseError } from '../core/errors.js'
import type { Position } from '../core/position.js'
import { answerError } from '../http/answering.js'
import type { AnyResponse } from '../http/exchange.js'
import { Exchange } from '../http/exchange.js'
import { type Query, queryOf, requestedCursor } from '../http/query.js'
import type { StreamRequest } from '../http/requester.js'
import { parseCursor } from '../wire/cursor.js'
import type { StreamHandler } from './options.js'

/** Answers the kit's errors, and leaves others to `next`. A client that is gone is answered nothing. */
export function answering(
  answer: (exchange: Exchange, req: StreamRequest, res: AnyResponse) => Promise<void>,
): StreamHandler {
  return (req, res, next) => {
    const exchange = new Exchange(req, res)
    return answer(exchange, req, res).catch((error: unknown) => answerError(error, req, res, next))
  }
}

/** What a request for a stream asks for beside its channels. */
export interface Asked {
  /** `undefined`: it has none. */
  readonly cursor: readonly Position[] | undefined
  /** Without a cursor, begin with all that is kept. */
  readonly earliest: boolean
  readonly window: number | undefined
}

/** @throws RequestError `ERR_SSE_QUERY_INVALID` */
export function askedBy(req: StreamRequest, maxWindow: number, replays: boolean): Asked {
  const query = queryOf(req)
  return {
    cursor: parseCursor(requestedCursor(req.headers, query)),
    earliest: beginsEarliest(query),
    window: windowOf(query, maxWindow, replays),
  }
}

export function beginsEarliest(query: Query): boolean {
  return query.get('from') === 'earliest'
}

/** The window a client asks for, within the bound. @throws RequestError `ERR_SSE_QUERY_INVALID` */
function windowOf(query: Query, max: number, replays: boolean): number | undefined {
  const window = query.get('window')
  if (window === null) return undefined
  if (!/^[1-9]\d{0,8}$/.test(window)) {
    throw new RequestError('ERR_SSE_QUERY_INVALID', 'window must be a whole number of events from 1')
  }
  if (max === 0 || !replays) throw new RequestError('ERR_SSE_QUERY_INVALID', 'This stream has no window')
  return Math.min(Number(window), max)
}

const CLOSE_REASON_OF: { readonly [code in ErrorCode]?: CloseReason } = {
  ERR_SSE_STREAM_LIMIT: 'limited',
  ERR_SSE_CLOSED: 'shutdown',
  ERR_SSE_OVERLOADED: 'overloaded',
  ERR_SSE_LIMITER_UNAVAILABLE: 'unavailable',
  ERR_SSE_BROKER_UNAVAILABLE: 'unavailable',
  ERR_SSE_BROKER_TIMEOUT: 'unavailable',
  ERR_SSE_BROKER_REFUSED: 'unavailable',
  ERR_SSE_CALLBACK_TIMEOUT: 'unavailable',
}

/** The reason with which a stream is ended at once that cannot be opened now; `undefined`: coming back will not help. */
export function closeReasonOf(error: unknown): CloseReason | undefined {
  return error instanceof SseError ? CLOSE_REASON_OF[error.code] : undefined
}
