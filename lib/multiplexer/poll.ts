/**
 * channel ─► reader ─► **poll**: one answer in place of a stream. The same reader on the same logs, and the same cursor, so a
 * client may change between the two at any event. Owns when the answer is due:
 *
 *   short   as soon as nothing more is owed, or the answer is full
 *   long    not before there is something, or the wait is over
 */

import type { Clock } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { RequestError, type SseError } from '../core/errors.js'
import { wholeNumber } from '../core/validation.js'
import type { Exchange } from '../http/exchange.js'
import type { Query } from '../http/query.js'
import type { AnyResponse } from '../http/requester.js'
import type { PollAnswer } from '../wire/contract.js'
import { PollReader } from './reader/poll-reader.js'
import type { StartPosition } from './reader/positions.js'

/** Options of `Multiplexer.poll`. */
export interface PollOptions {
  /** Events in one answer, at most. @defaultValue 256 */
  readonly maxEvents?: number
  /** Bytes of events in one answer, at most, unless a single event is larger. @defaultValue 1_048_576 */
  readonly maxBytes?: number
  /** How long an answer may wait for an event, whatever `?wait=` asks for, in ms; below proxies' time-outs. @defaultValue 25_000 */
  readonly maxWaitMs?: number
  /** What a client that has all is told to wait before it polls again, in ms. @defaultValue 5000 */
  readonly pollMs?: number
}

type ResolvedPollOptions = Required<PollOptions>

/** @throws InvalidOptionError */
export function resolvePollOptions(options: PollOptions): ResolvedPollOptions {
  return {
    maxEvents: wholeNumber('maxEvents', options.maxEvents ?? 256, 1),
    maxBytes: wholeNumber('maxBytes', options.maxBytes ?? 1_048_576, 1),
    maxWaitMs: wholeNumber('maxWaitMs', options.maxWaitMs ?? 25_000, 0),
    pollMs: wholeNumber('pollMs', options.pollMs ?? 5000, 0),
  }
}

/**
 * How long a request may wait, in ms: what it asks for, within the bound and until its token runs out.
 * @throws RequestError `ERR_SSE_QUERY_INVALID`
 */
export function waitOf(query: Query, { maxWaitMs }: ResolvedPollOptions, leftMs = maxWaitMs): number {
  const wait = query.get('wait') ?? '0'
  if (!/^\d{1,9}$/.test(wait)) throw new RequestError('ERR_SSE_QUERY_INVALID', 'wait must be a whole number of ms')
  return Math.max(0, Math.min(Number(wait), maxWaitMs, leftMs))
}

/**
 * For how long a client was told to stay with polling when its stream was ended (`sse.poll`), in ms.
 * @param maxMs nobody is told longer
 */
export function pauseOf(query: Query, now: number, maxMs: number): number {
  return Math.min(maxMs, Math.max(0, Number(query.get('until') ?? 0) - now || 0))
}

/** A poll under way. */
export interface Poll {
  /** Resolves when it is answered, or its client is gone. Rejects with the refusal, or if the answer cannot be sent. */
  readonly done: Promise<void>
  /** Answers it soon with what there is, or refuses it. Idempotent. */
  end(refusal?: SseError): void
}

export interface PollParameters extends ResolvedPollOptions {
  readonly waitMs: number
  /** For how long there should be no stream, in ms. */
  readonly pausedMs: () => number
}

/**
 * Answers a request with the entries after the start positions.
 * @param onClosed called once, when the channels are no longer needed
 */
export function beginPoll(
  exchange: Exchange,
  res: AnyResponse,
  starts: readonly StartPosition[],
  parameters: PollParameters,
  clock: Clock,
  onClosed: () => void,
): Poll {
  const { waitMs, pollMs, pausedMs } = parameters
  let ended = false
  let settle: (answered: Promise<void>) => void = () => undefined
  const done = new Promise<void>((resolve) => {
    settle = resolve
  })
  const end = (refusal?: SseError): void => {
    if (ended) return
    ended = true
    reader.stop()
    waiting?.cancel()
    stopWatching()
    // Not immediately: while the channel delivers a batch, the cursor is still the one before the batch.
    setImmediate(() => settle(answer(refusal)))
  }
  const answer = async (refusal: SseError | undefined): Promise<void> => {
    const cursor = reader.finish()
    // A time-out middleware may have answered. The client keeps its cursor, so no event is lost.
    if (exchange.over || res.headersSent) return
    if (refusal !== undefined) throw refusal
    const paused = pausedMs()
    if (paused > 0) {
      res.setHeader('X-Stream-Pause', 'true')
      res.setHeader('X-Stream-Pause-Ms', Math.ceil(paused))
    }
    if (diagnostics.pollAnswer.hasSubscribers) diagnostics.pollAnswer.publish({ events: reader.count })
    const afterMs = reader.full || waitMs > 0 ? 0 : pollMs
    send(res, { events: reader.events, cursor, stream: paused === 0, afterMs })
  }
  const onProgress = (): void => {
    if (reader.full || (!reader.lagging && (waitMs === 0 || reader.events.length > 0))) end()
  }
  const reader = new PollReader(starts, onClosed, parameters, onProgress)
  const waiting = waitMs > 0 ? clock.after(waitMs, () => end()) : undefined
  const stopWatching = exchange.onOver(() => end())
  reader.begin()
  return { end, done }
}

function send(res: AnyResponse, answer: PollAnswer): void {
  const body = Buffer.from(JSON.stringify(answer))
  res.statusCode = 200
  res.setHeader('Content-Type', 'application/json; charset=utf-8')
  res.setHeader('Content-Length', body.length)
  res.setHeader('Cache-Control', 'private, no-store')
  res.end(body)
}
