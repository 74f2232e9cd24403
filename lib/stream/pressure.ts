/**
 * What all streams of a process may hold together, and what happens when that, or the event loop, is at its end. Owns the rungs of
 * the ladder that many streams climb down together; what a single one does is its own affair.
 *
 * ```
 *   none ──a bound is passed──► pressed ──for sustainMs──► sustained ──nothing passed for sustainMs──► none
 *                  new streams are refused,      streams are moved to polling, some each second
 *                  polls are told to stay,
 *                  the largest backlogs dropped
 * ```
 * Share one between everything that opens streams: only then are its bounds the process's.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { outsideContext } from '../core/async-context.js'
import type { Clock, Timer } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { SseError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { wholeNumber } from '../core/validation.js'

/** Options of `createPressure`. */
export interface PressureOptions {
  /**
   * Bytes that events may take while they wait in the queues of all streams together, with what it takes to keep them.
   * Above it the largest queues are dropped until a quarter is free. @defaultValue 67_108_864 (64 MiB)
   */
  readonly maxBacklogBytes?: number
  /**
   * The event loop's delay above which the process has too much to do, in ms: the 99th percentile of a second, looked at every
   * 100 ms, so that a delay may count as up to 100 ms less. 0: not looked at. @defaultValue 500
   */
  readonly maxLoopDelayMs?: number
  /**
   * How long a bound must be passed again and again before streams are moved to polling, and for how long none may be
   * passed before all is well again, in ms. @defaultValue 5000
   */
  readonly sustainMs?: number
  /** For how long clients that are moved or refused are asked to stay away from streams, in ms. @defaultValue 30_000 */
  readonly pauseMs?: number
  /** For tests. @defaultValue the system's clock */
  readonly clock?: Clock
}

/** A stream, as the pressure sees it. */
export interface Pressed {
  /** Whether its client can poll instead. */
  readonly canPoll: boolean
  /** Drops what waits. */
  shed(): void
  /** Ends, and asks the client to poll, or to come back much later. */
  giveWay(): void
}

/** `none`; `pressed`: new streams are refused; `sustained`: streams are moved to polling as well. */
export type PressureLevel = 'none' | 'pressed' | 'sustained'
/** Which bound was passed. */
export type PressureCause = 'backlog' | 'loop_delay'

const SAMPLE_MS = 1000
const LOOP_RESOLUTION_MS = 100
/** What is left after the largest queues were dropped. */
const SHED_TO = 0.75
/** Which part of the streams is moved each second, so that their polls do not come all at once. */
const MOVED_PART = 0.1

/** Bounds on the load of a process, for all streams that share it. Made by `createPressure`. */
export class Pressure {
  /** For how long clients that are moved or refused are asked to stay away from streams, in ms. */
  readonly pauseMs: number
  readonly #maxBacklogBytes: number
  readonly #maxLoopDelayMs: number
  readonly #sustainMs: number
  readonly #clock: Clock
  readonly #streams = new Set<Pressed>()
  /** Those that hold something, and how much. */
  readonly #held = new Map<Pressed, number>()
  #bytes = 0
  /** When the present pressure began, and when a bound was last passed. */
  #since = Number.NEGATIVE_INFINITY
  #last = Number.NEGATIVE_INFINITY
  #cause: PressureCause = 'backlog'
  #sampling:
    | { readonly timer: Timer; readonly loopDelay: ReturnType<typeof monitorEventLoopDelay> | undefined }
    | undefined

  /** @internal Use `createPressure`. */
  constructor({ maxBacklogBytes, maxLoopDelayMs, sustainMs, pauseMs, clock }: Required<PressureOptions>) {
    this.#maxBacklogBytes = wholeNumber('maxBacklogBytes', maxBacklogBytes, 0)
    this.#maxLoopDelayMs = wholeNumber('maxLoopDelayMs', maxLoopDelayMs, 0)
    this.#sustainMs = wholeNumber('sustainMs', sustainMs, 1)
    this.pauseMs = wholeNumber('pauseMs', pauseMs, 1000)
    this.#clock = clock
  }

  /** How much pressure there is now. */
  get level(): PressureLevel {
    if (this.#clock.now() - this.#last >= this.#sustainMs) return 'none'
    return this.#last - this.#since >= this.#sustainMs ? 'sustained' : 'pressed'
  }

  /** Bytes held in all queues now. */
  get backlogBytes(): number {
    return this.#bytes
  }

  /** How long clients should stay away from streams yet, in ms; 0: not at all. */
  get pauseLeftMs(): number {
    return this.level === 'none' ? 0 : this.pauseMs
  }

  /** @internal Refuses while there is pressure. @throws SseError `ERR_SSE_OVERLOADED` */
  admit(): void {
    if (this.level === 'none') return
    throw new SseError('ERR_SSE_OVERLOADED', 'The server has too much to do to open another stream', {
      headers: { 'Retry-After': String(Math.ceil(this.pauseMs / 1000)) },
    })
  }

  /** @internal */
  join(stream: Pressed): void {
    this.#streams.add(stream)
    this.#sampling ??= this.#sampleLater()
  }

  /** @internal Idempotent. */
  leave(stream: Pressed): void {
    this.hold(stream, 0)
    this.#streams.delete(stream)
    if (this.#streams.size > 0) return
    this.#sampling?.timer.cancel()
    this.#sampling?.loopDelay?.disable()
    this.#sampling = undefined
  }

  /** @internal Notes how much a stream holds now. If it is too much together, the largest give up theirs at once. */
  hold(stream: Pressed, bytes: number): void {
    this.#bytes += bytes - (this.#held.get(stream) ?? 0)
    if (bytes > 0) this.#held.set(stream, bytes)
    else this.#held.delete(stream)
    if (this.#bytes <= this.#maxBacklogBytes) return
    this.#passed('backlog')
    for (const largest of this.#largest()) {
      if (this.#bytes <= this.#maxBacklogBytes * SHED_TO) break
      largest.shed()
    }
  }

  #largest(): Pressed[] {
    return [...this.#held].sort(([, a], [, b]) => b - a).map(([stream]) => stream)
  }

  #passed(cause: PressureCause): void {
    const now = this.#clock.now()
    const before = this.level
    if (before === 'none') this.#since = now
    this.#last = now
    this.#cause = cause
    const { level } = this
    if (level === before || !diagnostics.pressure.hasSubscribers) return
    diagnostics.pressure.publish({ level, cause, backlogBytes: this.#bytes, streams: this.#streams.size })
  }

  #sampleLater(loopDelay = this.#watchLoop()): { timer: Timer; loopDelay: typeof loopDelay } {
    return { timer: this.#clock.after(SAMPLE_MS, () => this.#sample()), loopDelay }
  }

  #watchLoop(): ReturnType<typeof monitorEventLoopDelay> | undefined {
    if (this.#maxLoopDelayMs === 0) return undefined
    // All streams share it, whichever request opens the first.
    const loopDelay = outsideContext(() => monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS }))
    loopDelay.enable()
    return loopDelay
  }

  #sample(): void {
    const loopDelay = this.#sampling?.loopDelay
    if (loopDelay !== undefined) {
      // The histogram counts from timer to timer, in ns.
      if (loopDelay.percentile(99) / 1e6 - LOOP_RESOLUTION_MS > this.#maxLoopDelayMs) this.#passed('loop_delay')
      loopDelay.reset()
    }
    if (this.level === 'sustained') this.#moveSome()
    if (this.#streams.size > 0) this.#sampling = this.#sampleLater(loopDelay)
  }

  /** Those that hold most first. For the loop's sake also others, if their clients can poll. */
  #moveSome(): void {
    const candidates = new Set(this.#largest())
    if (this.#cause === 'loop_delay') {
      for (const stream of this.#streams) if (stream.canPoll) candidates.add(stream)
    }
    let left = Math.ceil(this.#streams.size * MOVED_PART)
    for (const stream of candidates) {
      if (left-- === 0) break
      stream.giveWay()
    }
  }
}

/**
 * Bounds for all streams that share it, and for the event loop: `createMultiplexer({ stream: { pressure } })`,
 * `sseMiddleware({ pressure })`. Each of these makes one of its own if it is given none.
 * @throws InvalidOptionError
 */
export function createPressure(options: PressureOptions = {}): Pressure {
  return new Pressure({
    maxBacklogBytes: 67_108_864,
    maxLoopDelayMs: 500,
    sustainMs: 5000,
    pauseMs: 30_000,
    clock: systemClock,
    ...options,
  })
}
