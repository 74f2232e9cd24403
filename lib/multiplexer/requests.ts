/**
 * request ─► **requests** ─► opener: what a request for a stream or poll asks for, and how its errors are answered. The
 * only place that reads the query parameters `from`, `window`, `wait` and `until`.
 */
import { CALLBACK_TIMEOUT_MS, settle, toError } from '../core/callbacks.js'
import { normalizeChannels } from '../core/channel-name.js'
import type { Clock } from '../core/clock.js'
import type { CloseReason } from '../core/close-reasons.js'
import { type ErrorCode, RequestError, SseError } from '../core/errors.js'
import type { Position } from '../core/position.js'
import { answerError } from '../http/answering.js'
import type { AnyResponse } from '../http/exchange.js'
import { Exchange } from '../http/exchange.js'
import { type Query, queryOf, requestedCursor } from '../http/query.js'
import type { StreamRequest } from '../http/requester.js'
import { parseCursor } from '../wire/cursor.js'
import type { ChannelRequest, ChannelsOf, StreamHandler } from './options.js'

/**
 * Makes a handler. The kit's errors are answered as problem+json, any other error goes to `next`. A client that has
 * left gets no answer.
 */
export function toHandler(
  handle: (exchange: Exchange, req: StreamRequest, res: AnyResponse) => Promise<void>,
): StreamHandler {
  return (req, res, next) => {
    const exchange = new Exchange(req, res)
    return handle(exchange, req, res).catch((error: unknown) => answerError(error, req, res, next))
  }
}

/**
 * Calls `channelsOf`. Returns no promise if `channelsOf` returns none: a promise for each stream is measurable when
 * many streams open (bench join).
 * @throws Error that `channelsOf` throws or rejects with
 * @throws SseError `ERR_SSE_CHANNEL_INVALID`; `ERR_SSE_CALLBACK_TIMEOUT` after 10 s
 */
export function channelNames(
  req: StreamRequest,
  channelsOf: ChannelsOf,
  clock: Clock,
): readonly string[] | Promise<readonly string[]> {
  let returned: ReturnType<ChannelsOf>
  try {
    returned = channelsOf(req as unknown as ChannelRequest)
  } catch (error) {
    throw toError('channelsOf', error)
  }
  if (typeof returned === 'string' || Array.isArray(returned)) return normalizeChannels(returned)
  const bounds = { clock, timeoutMs: CALLBACK_TIMEOUT_MS }
  return settle('channelsOf', () => returned, bounds).then(normalizeChannels)
}

/** The parameters of a request for a stream. */
export interface StreamParams {
  /** `undefined`: the request has no cursor. */
  readonly cursor: readonly Position[] | undefined
  /** `?from=earliest`: without a cursor, begin with the oldest entry kept. */
  readonly earliest: boolean
  /** `?window=`: the maximum number of unacknowledged events. */
  readonly window: number | undefined
}

/**
 * @param maxWindow 0: windows are not allowed
 * @throws RequestError `ERR_SSE_QUERY_INVALID`
 */
export function streamParams(req: StreamRequest, maxWindow: number): StreamParams {
  const query = queryOf(req)
  return {
    cursor: parseCursor(requestedCursor(req.headers, query)),
    earliest: isFromEarliest(query),
    window: windowOf(query, maxWindow),
  }
}

/** The parameters of a request for a poll. */
export interface PollParams {
  /** `undefined`: the request has no cursor. */
  readonly cursor: readonly Position[] | undefined
  /** See `StreamParams`. */
  readonly earliest: boolean
  /** `?wait=`: how long the client asks the answer to wait for an event, in ms. */
  readonly waitMs: number
  /** `?until=`: the end of the pause that the client got with `sse.poll`, in ms since 1970. 0: no pause. */
  readonly pollUntil: number
}

/** @throws RequestError `ERR_SSE_QUERY_INVALID` */
export function pollParams(req: StreamRequest): PollParams {
  const query = queryOf(req)
  return {
    cursor: parseCursor(query.get('cursor') ?? requestedCursor(req.headers, query)),
    earliest: isFromEarliest(query),
    waitMs: waitOf(query),
    pollUntil: Number(query.get('until')) || 0,
  }
}

function isFromEarliest(query: Query): boolean {
  return query.get('from') === 'earliest'
}

/** @throws RequestError `ERR_SSE_QUERY_INVALID` */
function windowOf(query: Query, maxWindow: number): number | undefined {
  const window = query.get('window')
  if (window === null) return undefined
  if (!/^[1-9]\d{0,8}$/.test(window)) throw invalidQuery('window must be a whole number of events from 1')
  if (maxWindow === 0) throw invalidQuery('This stream has no window: open it without ?window=')
  return Math.min(Number(window), maxWindow)
}

/** @throws RequestError `ERR_SSE_QUERY_INVALID` */
function waitOf(query: Query): number {
  const wait = query.get('wait') ?? '0'
  if (!/^\d{1,9}$/.test(wait)) throw invalidQuery('wait must be a whole number of ms')
  return Number(wait)
}

function invalidQuery(message: string): RequestError {
  return new RequestError('ERR_SSE_QUERY_INVALID', message)
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

/** The close reason of a stream that is refused by this error. `undefined`: reconnecting will not help. */
export function closeReasonOf(error: unknown): CloseReason | undefined {
  return error instanceof SseError ? CLOSE_REASON_OF[error.code] : undefined
}
