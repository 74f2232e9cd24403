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
import type { SendResult } from '../core/message.js'
import { wholeNumber } from '../core/validation.js'
import type { AnyResponse, Exchange } from '../http/exchange.js'
import type { Query } from '../http/query.js'
import type { StreamSource } from '../stream/source.js'
import type { Blocks } from '../wire/blocks.js'
import type { PollAnswer, PolledEvent } from '../wire/contract.js'
import { createParser, type ReceivedEvent } from '../wire/parse.js'
import type { Start } from './reader/positions.js'
import { Reader, type ReaderStream } from './reader/reader.js'

/** Collects what a reader sends, up to a bound. */
class PollSink implements ReaderStream {
  /** One event at a time, so that the bound is met. */
  readonly paced = true
  readonly replays = true
  readonly keepsUp = false
  readonly #maxEvents: number
  readonly #maxBytes: number
  readonly #onProgress: () => void
  readonly #blocks: Buffer[] = []
  #source: StreamSource | undefined
  #count = 0
  #bytes = 0
  #full = false
  #caughtUp = false
  #ended = false

  constructor({ maxEvents, maxBytes }: ResolvedPollOptions, onProgress: () => void) {
    this.#maxEvents = maxEvents
    this.#maxBytes = maxBytes
    this.#onProgress = onProgress
  }

  get writable(): boolean {
    return !this.#ended && !this.full
  }

  /** It has as many events or bytes as an answer may have. */
  get full(): boolean {
    return this.#full
  }

  /** Events collected. */
  get count(): number {
    return this.#count
  }

  /** Nothing is owed. */
  get caughtUp(): boolean {
    return this.#caughtUp
  }

  get isEmpty(): boolean {
    return this.#blocks.length === 0
  }

  attach(source: StreamSource): void {
    this.#source = source
  }

  spend(events: number, bytes: number): boolean {
    const fits = this.#count + events <= this.#maxEvents && (this.#count === 0 || this.#bytes + bytes <= this.#maxBytes)
    if (!fits) {
      this.#full = true
      this.#onProgress()
    }
    return fits
  }

  write({ bytes }: Blocks, events: number): boolean {
    this.#blocks.push(bytes)
    this.#bytes += bytes.length
    this.#count += events
    this.#full = this.#count >= this.#maxEvents || this.#bytes >= this.#maxBytes
    this.#onProgress()
    return this.writable
  }

  offer(block: Blocks): SendResult {
    if (!this.writable || !this.spend(1, block.length)) return 'closed'
    this.write(block, 1)
    return 'sent'
  }

  onLive(): void {
    this.#caughtUp = true
    this.#onProgress()
  }

  /** Takes no more events. */
  end(): void {
    this.#ended = true
  }

  /** The reader is needed no more. */
  close(): void {
    this.#source?.onClose()
  }

  events(): readonly PolledEvent[] {
    const events: PolledEvent[] = []
    const onEvent = ({ id, event = 'message', data }: ReceivedEvent): void =>
      void events.push(id === undefined ? { event, data } : { id, event, data })
    const parse = createParser({ onEvent, onId: ignore, onRetry: ignore }, ignore)
    parse(Buffer.concat(this.#blocks).toString())
    return events
  }
}

function ignore(): void {
  // The kit's own blocks: no retry:, and none too large. Nothing is to be settled before there is a promise.
}

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
 * Answers a request with what comes after the starts.
 * @param onClosed called once, when the channels are no longer needed
 */
export function beginPoll(
  exchange: Exchange,
  res: AnyResponse,
  starts: readonly Start[],
  parameters: PollParameters,
  clock: Clock,
  onClosed: () => void,
): Poll {
  const { waitMs, pollMs, pausedMs } = parameters
  let ended = false
  let settle: (answer: () => void) => void = ignore
  const done = new Promise<void>((resolve, reject) => {
    settle = (answer) => {
      try {
        answer()
        resolve()
      } catch (error) {
        reject(error)
      }
    }
  })
  const end = (refusal?: SseError): void => {
    if (ended) return
    ended = true
    sink.end()
    waiting?.cancel()
    stopWatching()
    // Not at once: in the middle of a batch the channel has not moved on yet, and the position would be the one before it.
    setImmediate(() => settle(() => answer(refusal)))
  }
  const answer = (refusal: SseError | undefined): void => {
    const cursor = reader.conclude()
    sink.close()
    // A time-out middleware may have answered already. The client still has its cursor, so nothing is lost.
    if (exchange.over || res.headersSent) return
    if (refusal !== undefined) throw refusal
    const paused = pausedMs()
    if (paused > 0) {
      res.setHeader('X-Stream-Pause', 'true')
      res.setHeader('X-Stream-Pause-Ms', Math.ceil(paused))
    }
    if (diagnostics.pollAnswer.hasSubscribers) diagnostics.pollAnswer.publish({ events: sink.count })
    const afterMs = sink.full || waitMs > 0 ? 0 : pollMs
    send(res, { events: sink.events(), cursor, stream: paused === 0, afterMs })
  }
  const onProgress = (): void => {
    if (sink.full || (sink.caughtUp && (waitMs === 0 || !sink.isEmpty))) end()
  }
  const sink = new PollSink(parameters, onProgress)
  const reader = new Reader(sink, starts, onClosed)
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
