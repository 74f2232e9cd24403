/**
 * The bounds on the load of a process: bytes in the queues of all streams together, and the delay of the event loop.
 * Owns what happens to many streams when a bound is exceeded. A single stream decides alone about its own queue
 * (`StreamQueue`).
 *
 * ```
 *   none ──a bound is exceeded──► pressed ──for sustainMs──► sustained ──no bound exceeded for sustainMs──► none
 *                  new streams are refused,       some streams each second
 *                  polling clients keep polling,  are moved to polling
 *                  the largest queues are dropped
 * ```
 * Everything that opens streams must share one object: only then the bounds hold for the process.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { outsideContext } from '../core/async-context.js'
import type { Clock, Timer } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { SseError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { rejectFormerName, wholeNumber } from '../core/validation.js'

/** Options of `createPressure`. */
export interface PressureOptions {
  /**
   * Bytes that waiting events may take in the queues of all streams together, including what it takes to keep them.
   * Above it, the largest queues are dropped until a quarter is free. 0: no event may wait.
   * @defaultValue 67_108_864 (64 MiB)
   */
  readonly maxQueuedBytes?: number
  /**
   * The delay of the event loop above which the process is overloaded, in ms: the 99th percentile of each second. It is
   * sampled every 100 ms, so the measured delay may be up to 100 ms too short. 0: not measured. @defaultValue 500
   */
  readonly maxLoopDelayMs?: number
  /**
   * How long a bound must be exceeded repeatedly before streams are moved to polling, and how long no bound may be
   * exceeded before the pressure ends, in ms. @defaultValue 5000
   */
  readonly sustainMs?: number
  /** How long clients that were refused or moved to polling should open no streams, in ms. @defaultValue 30_000 */
  readonly pauseMs?: number
  /** A clock for tests. @defaultValue the system's clock */
  readonly clock?: Clock
}

/** Bounds on the load of a process, for all streams that share this object. Made by `createPressure`. */
export interface Pressure {
  /** The current level. */
  readonly level: PressureLevel
  /** How long clients that were refused or moved to polling should open no streams, in ms. */
  readonly pauseMs: number
  /** How long clients should open no streams from now on, in ms. 0: they may open streams. */
  readonly pauseLeftMs: number
  /** Bytes in the queues of all streams now. */
  readonly queuedBytes: number
}

/** `none`; `pressed`: new streams are refused; `sustained`: streams are moved to polling as well. */
export type PressureLevel = 'none' | 'pressed' | 'sustained'

/** A stream, as its `ProcessPressure` sees it. */
export interface PressureMember {
  /** Whether the client of the stream can poll instead. */
  readonly canPoll: boolean
  /** Drops all events in the queue. */
  shed(): void
  /** Closes the stream. Its client polls, or reconnects after `pauseMs`. */
  moveToPolling(): void
}

/** The bound that was exceeded. */
type PressureCause = 'queue' | 'loop_delay'

const SAMPLE_MS = 1000
const LOOP_RESOLUTION_MS = 100
/** The part of `maxQueuedBytes` that stays after the largest queues were dropped. */
const SHED_TO = 0.75
/** The part of the streams that is moved to polling each second, so that their polls are spread over time. */
const MOVED_PART = 0.1

export class ProcessPressure implements Pressure {
  readonly pauseMs: number
  readonly #maxQueuedBytes: number
  readonly #maxLoopDelayMs: number
  readonly #sustainMs: number
  readonly #clock: Clock
  readonly #streams = new Set<PressureMember>()
  /** Bytes in the queue of each stream whose queue is not empty. */
  readonly #held = new Map<PressureMember, number>()
  #bytes = 0
  #startedAt = Number.NEGATIVE_INFINITY
  #lastExceededAt = Number.NEGATIVE_INFINITY
  #cause: PressureCause = 'queue'
  #sampling:
    | { readonly timer: Timer; readonly loopDelay: ReturnType<typeof monitorEventLoopDelay> | undefined }
    | undefined

  constructor({ maxQueuedBytes, maxLoopDelayMs, sustainMs, pauseMs, clock }: Required<PressureOptions>) {
    this.#maxQueuedBytes = wholeNumber('maxQueuedBytes', maxQueuedBytes, 0)
    this.#maxLoopDelayMs = wholeNumber('maxLoopDelayMs', maxLoopDelayMs, 0)
    this.#sustainMs = wholeNumber('sustainMs', sustainMs, 1)
    this.pauseMs = wholeNumber('pauseMs', pauseMs, 1000)
    this.#clock = clock
  }

  get level(): PressureLevel {
    if (this.#clock.now() - this.#lastExceededAt >= this.#sustainMs) return 'none'
    return this.#lastExceededAt - this.#startedAt >= this.#sustainMs ? 'sustained' : 'pressed'
  }

  get queuedBytes(): number {
    return this.#bytes
  }

  get pauseLeftMs(): number {
    return this.level === 'none' ? 0 : this.pauseMs
  }

  /** Refuses a new stream while there is pressure. @throws SseError `ERR_SSE_OVERLOADED` */
  admit(): void {
    if (this.level === 'none') return
    throw new SseError('ERR_SSE_OVERLOADED', 'The server is overloaded and opens no streams now; retry later', {
      headers: { 'Retry-After': String(Math.ceil(this.pauseMs / 1000)) },
    })
  }

  join(stream: PressureMember): void {
    this.#streams.add(stream)
    this.#sampling ??= this.#sampleLater()
  }

  /** Idempotent. */
  leave(stream: PressureMember): void {
    this.hold(stream, 0)
    this.#streams.delete(stream)
    if (this.#streams.size > 0) return
    this.#sampling?.timer.cancel()
    this.#sampling?.loopDelay?.disable()
    this.#sampling = undefined
  }

  /** Sets the bytes that a stream holds now. If all streams together hold too many, drops the largest queues. */
  hold(stream: PressureMember, bytes: number): void {
    this.#bytes += bytes - (this.#held.get(stream) ?? 0)
    if (bytes > 0) this.#held.set(stream, bytes)
    else this.#held.delete(stream)
    if (this.#bytes <= this.#maxQueuedBytes) return
    this.#noteExceeded('queue')
    for (const largest of this.#largestFirst()) {
      if (this.#bytes <= this.#maxQueuedBytes * SHED_TO) break
      largest.shed()
    }
  }

  #largestFirst(): PressureMember[] {
    return [...this.#held].sort(([, a], [, b]) => b - a).map(([stream]) => stream)
  }

  #noteExceeded(cause: PressureCause): void {
    const now = this.#clock.now()
    const before = this.level
    if (before === 'none') this.#startedAt = now
    this.#lastExceededAt = now
    this.#cause = cause
    const { level } = this
    if (level === before || !diagnostics.pressure.hasSubscribers) return
    diagnostics.pressure.publish({ level, cause, queuedBytes: this.#bytes, streams: this.#streams.size })
  }

  #sampleLater(loopDelay = this.#watchLoop()): { timer: Timer; loopDelay: typeof loopDelay } {
    return { timer: this.#clock.after(SAMPLE_MS, () => this.#sample()), loopDelay }
  }

  #watchLoop(): ReturnType<typeof monitorEventLoopDelay> | undefined {
    if (this.#maxLoopDelayMs === 0) return undefined
    // All streams share the monitor, so it must not belong to the request that opened the first stream.
    const loopDelay = outsideContext(() => monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS }))
    loopDelay.enable()
    return loopDelay
  }

  #sample(): void {
    const loopDelay = this.#sampling?.loopDelay
    if (loopDelay !== undefined) {
      // The histogram measures from timer to timer, in ns.
      if (loopDelay.percentile(99) / 1e6 - LOOP_RESOLUTION_MS > this.#maxLoopDelayMs) this.#noteExceeded('loop_delay')
      loopDelay.reset()
    }
    if (this.level === 'sustained') this.#moveSome()
    if (this.#streams.size > 0) this.#sampling = this.#sampleLater(loopDelay)
  }

  /** Moves the streams with the largest queues first. If the event loop is slow, also other streams that can poll. */
  #moveSome(): void {
    const candidates = new Set(this.#largestFirst())
    if (this.#cause === 'loop_delay') {
      for (const stream of this.#streams) if (stream.canPoll) candidates.add(stream)
    }
    let left = Math.ceil(this.#streams.size * MOVED_PART)
    for (const stream of candidates) {
      if (left-- === 0) break
      stream.moveToPolling()
    }
  }
}

/**
 * Makes bounds for all streams that share them, and for the event loop: `createMultiplexer({ stream: { pressure } })`,
 * `sseMiddleware({ pressure })`. Without this option, each of these makes bounds for its own streams.
 * @throws InvalidOptionError
 */
export function createPressure(options: PressureOptions = {}): Pressure {
  rejectFormerName(options, 'maxBacklogBytes', 'maxQueuedBytes')
  return new ProcessPressure({
    maxQueuedBytes: 67_108_864,
    maxLoopDelayMs: 500,
    sustainMs: 5000,
    pauseMs: 30_000,
    clock: systemClock,
    ...options,
  })
}
