/**
 * channel ─► log reader ─► poll reader ─► **poll**: one answer in place of a stream. Polls and streams read the same
 * logs with the same cursors, so a client may change between them at any event. Owns when the answer is sent:
 *
 *   short poll   once the reader has caught up, or the answer is full; at the latest after `MAX_READ_MS`
 *   long poll    once there is an event, or the wait is over
 */
import type { Clock } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import type { SseError } from '../core/errors.js'
import type { AnyResponse, Exchange } from '../http/exchange.js'
import type { PollAnswer } from '../wire/contract.js'
import { CollectingReader, type CollectionBounds } from './reader/collecting-reader.js'
import type { ReaderUser } from './reader/log-reader.js'
import type { StartPosition } from './reader/positions.js'

/**
 * How long a short poll may wait for the history of its logs, in ms. While the history cannot be read, the answer has
 * the events collected so far: none is lost, because the cursor is the one after them.
 */
const MAX_READ_MS = 5000

/** An open poll. */
export interface Poll {
  /**
   * Resolves once it is answered, or its client has left. Rejects with the refusal, or if the answer cannot be sent.
   */
  readonly done: Promise<void>
  /** Answers the poll soon with the events collected so far, or refuses it. Idempotent. */
  end(refusal?: SseError): void
}

export interface PollSettings extends CollectionBounds {
  /** How long the answer may wait for an event, in ms. 0: a short poll. */
  readonly waitMs: number
  /** When a client that has caught up should poll again, in ms. */
  readonly pollMs: number
  /** Called once: for how long the client should open no stream, in ms. */
  readonly streamPauseMs: () => number
}

/** Answers a request with the entries after the start positions. */
export function beginPoll(
  exchange: Exchange,
  res: AnyResponse,
  starts: readonly StartPosition[],
  settings: PollSettings,
  clock: Clock,
  user: ReaderUser,
): Poll {
  const { waitMs, pollMs, streamPauseMs } = settings
  let ended = false
  let settle: (answered: Promise<void>) => void = () => undefined
  const done = new Promise<void>((resolve) => {
    settle = resolve
  })
  const end = (refusal?: SseError): void => {
    if (ended) return
    ended = true
    reader.stop()
    waiting.cancel()
    stopWatching()
    // Not immediately: while the channel delivers a batch, the cursor is still the one before the batch.
    setImmediate(() => settle(answer(refusal)))
  }
  const answer = async (refusal: SseError | undefined): Promise<void> => {
    const cursor = reader.finish()
    // A time-out middleware may have answered. The client keeps its cursor, so no event is lost.
    if (exchange.over || res.headersSent) return
    if (refusal !== undefined) throw refusal
    const pauseMs = streamPauseMs()
    if (pauseMs > 0) {
      res.setHeader('X-Stream-Pause', 'true')
      res.setHeader('X-Stream-Pause-Ms', Math.ceil(pauseMs))
    }
    if (diagnostics.pollAnswer.hasSubscribers) diagnostics.pollAnswer.publish({ events: reader.count })
    const afterMs = reader.full || waitMs > 0 ? 0 : pollMs
    const answered = { events: reader.events, cursor, stream: pauseMs === 0, afterMs }
    send(res, reader.ended ? { ...answered, ended: true } : answered)
  }
  const onProgress = (): void => {
    if (reader.full || reader.ended || (!reader.lagging && (waitMs === 0 || reader.events.length > 0))) end()
  }
  const reader = new CollectingReader(starts, user, settings, onProgress)
  const waiting = clock.after(waitMs > 0 ? waitMs : MAX_READ_MS, () => end())
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
