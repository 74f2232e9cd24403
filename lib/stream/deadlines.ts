import type { Clock, Timer } from '../core/clock.js'
import type { CloseReason } from '../core/close-reasons.js'

/** What has deadlines. */
interface Mortal {
  beat(): void
  close(reason: CloseReason): unknown
}

export interface DeadlineOptions {
  readonly clock: Clock
  readonly heartbeatMs: number
  readonly maxAgeMs: number
  /** In ms since 1970. */
  readonly expiresAt: number | undefined
}

/** Of a heartbeat's interval. */
const STEPS = 100
/** The longest time between two looks at the wall clock, where heartbeats are further apart or there are none. */
const LOOK_MS = 25_000

/**
 * What time does to an open stream: its heartbeats, its greatest age, its token's end. One timer, for whichever comes next, and one
 * closure: every open stream has them (bench `idle`).
 *
 * Durations are measured by the monotonic clock. A token's end is a time of the wall clock, which may be set forward or back, so it is
 * compared with the wall clock at every heartbeat.
 */
export class Deadlines {
  readonly #stream: Mortal
  readonly #clock: Clock
  readonly #heartbeatMs: number
  readonly #oldAt: number
  /** In ms since 1970. */
  readonly #expiresAt: number
  #beatsAt = Number.POSITIVE_INFINITY
  #timer: Timer | undefined

  constructor(stream: Mortal, { clock, heartbeatMs, maxAgeMs, expiresAt }: DeadlineOptions) {
    const now = clock.now()
    this.#stream = stream
    this.#clock = clock
    this.#heartbeatMs = heartbeatMs
    this.#oldAt = maxAgeMs > 0 ? now + maxAgeMs * (1 - Math.random() / 10) : Number.POSITIVE_INFINITY
    this.#expiresAt = expiresAt || Number.POSITIVE_INFINITY
    // The first beat at random, so that the beats of streams opened together spread over the whole interval.
    this.#planBeat(now, heartbeatMs * Math.random())
    this.#wait(now)
  }

  cancel(): void {
    this.#timer?.cancel()
  }

  #planBeat(now: number, inMs: number): void {
    const stepMs = this.#heartbeatMs / STEPS
    // Beats of many streams go out together: a processor that has just slept writes the first few slowly (bench `idle`).
    if (stepMs > 0) this.#beatsAt = Math.floor((now + inMs) / stepMs) * stepMs
  }

  #wait(now: number): void {
    let next = Math.min(this.#beatsAt, this.#oldAt)
    if (this.#expiresAt < Number.POSITIVE_INFINITY) {
      const leftMs = Math.max(0, this.#expiresAt - this.#clock.wallTime())
      next = Math.min(next, now + Math.min(leftMs, LOOK_MS))
    }
    if (next < Number.POSITIVE_INFINITY) this.#timer = this.#clock.after(next - now, this.#onTime)
  }

  readonly #onTime = (): void => {
    const now = this.#clock.now()
    if (this.#clock.wallTime() >= this.#expiresAt) {
      this.#stream.close('expired')
    } else if (now >= this.#oldAt) {
      this.#stream.close('max_age')
    } else {
      const beats = now >= this.#beatsAt
      if (beats) this.#planBeat(now, this.#heartbeatMs)
      // Before the beat, which may close the stream and cancel the timer.
      this.#wait(now)
      if (beats) this.#stream.beat()
    }
  }
}
