import type { Clock, Timer } from '../core/clock.js'
import type { CloseReason } from '../core/close-reasons.js'

/** The stream that the deadlines belong to. */
interface Deadlined {
  sendHeartbeat(): void
  close(reason: CloseReason): unknown
}

export interface DeadlineOptions {
  readonly clock: Clock
  /** 0: no heartbeats. */
  readonly heartbeatMs: number
  /** 0: no maximum age. */
  readonly maxAgeMs: number
  /** In ms since 1970. 0 or `undefined`: never. */
  readonly expiresAt: number | undefined
}

/** Heartbeats are due at multiples of this part of `heartbeatMs`. */
const STEPS = 100
/** The longest time between two checks of the wall clock, if heartbeats are further apart or there are none. */
const WALL_CLOCK_CHECK_MS = 25_000
const NEVER = Number.POSITIVE_INFINITY

/**
 * The deadlines of an open stream: its heartbeats, its maximum age, and the end of its token. One timer, for the next
 * of them, and one closure, because every open stream has them (bench `idle`). Times are whole: V8 keeps a number with a
 * fraction, or Infinity, in an object of its own.
 *
 * Durations are measured by the monotonic clock. The end of a token is a time of the wall clock, which may be set
 * forward or back, so it is compared with the wall clock at every heartbeat.
 */
export class Deadlines {
  readonly #stream: Deadlined
  readonly #clock: Clock
  readonly #heartbeatMs: number
  readonly #maxAgeAt: number | undefined
  /** In ms since 1970. */
  readonly #expiresAt: number | undefined
  #heartbeatAt: number | undefined
  #timer: Timer | undefined

  constructor(stream: Deadlined, { clock, heartbeatMs, maxAgeMs, expiresAt }: DeadlineOptions) {
    const now = clock.now()
    this.#stream = stream
    this.#clock = clock
    this.#heartbeatMs = heartbeatMs
    this.#maxAgeAt = maxAgeMs > 0 ? Math.ceil(now + maxAgeMs * (1 - Math.random() / 10)) : undefined
    this.#expiresAt = expiresAt || undefined
    // The first heartbeat at random, so that the heartbeats of streams opened together spread over the interval.
    this.#planHeartbeat(now, heartbeatMs * Math.random())
    this.#wait(now)
  }

  cancel(): void {
    this.#timer?.cancel()
  }

  #planHeartbeat(now: number, inMs: number): void {
    const stepMs = this.#heartbeatMs / STEPS
    // Heartbeats of many streams are sent together: a processor that wakes up writes the first few slowly (bench
    // `idle`).
    if (stepMs > 0) this.#heartbeatAt = Math.ceil(Math.floor((now + inMs) / stepMs) * stepMs)
  }

  #wait(now: number): void {
    let next = Math.min(this.#heartbeatAt ?? NEVER, this.#maxAgeAt ?? NEVER)
    if (this.#expiresAt !== undefined) {
      const leftMs = Math.max(0, this.#expiresAt - this.#clock.wallTime())
      next = Math.min(next, now + Math.min(leftMs, WALL_CLOCK_CHECK_MS))
    }
    if (next < NEVER) this.#timer = this.#clock.after(next - now, this.#onTime)
  }

  readonly #onTime = (): void => {
    const now = this.#clock.now()
    if (this.#expiresAt !== undefined && this.#clock.wallTime() >= this.#expiresAt) {
      this.#stream.close('expired')
    } else if (now >= (this.#maxAgeAt ?? NEVER)) {
      this.#stream.close('max_age')
    } else {
      const heartbeatIsDue = now >= (this.#heartbeatAt ?? NEVER)
      if (heartbeatIsDue) this.#planHeartbeat(now, this.#heartbeatMs)
      // Before the heartbeat, whose write may close the stream and so cancel the timer.
      this.#wait(now)
      if (heartbeatIsDue) this.#stream.sendHeartbeat()
    }
  }
}
