import type { CloseReason } from '../core/close-reasons.js'
import type { Clock, Timer } from '../core/ports.js'

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

/**
 * What time does to an open stream: its heartbeats, its greatest age, its token's end. One timer, for whichever comes next, and one
 * closure: every open stream has them (bench `idle`).
 */
export class Deadlines {
  readonly #stream: Mortal
  readonly #clock: Clock
  readonly #heartbeatMs: number
  readonly #reason: CloseReason
  readonly #endsAt: number
  #beatsAt = Number.POSITIVE_INFINITY
  #timer: Timer | undefined

  constructor(stream: Mortal, { clock, heartbeatMs, maxAgeMs, expiresAt }: DeadlineOptions) {
    const now = clock.now()
    const expiry = expiresAt ? now + Math.max(0, expiresAt - clock.wallTime()) : Number.POSITIVE_INFINITY
    const age = maxAgeMs > 0 ? now + maxAgeMs * (1 - Math.random() / 10) : Number.POSITIVE_INFINITY
    this.#stream = stream
    this.#clock = clock
    this.#heartbeatMs = heartbeatMs
    this.#reason = expiry < age ? 'expired' : 'max_age'
    this.#endsAt = Math.min(expiry, age)
    // The first beat at random, so that the beats of streams opened together spread over the whole interval.
    this.#wait(now, heartbeatMs * Math.random())
  }

  cancel(): void {
    this.#timer?.cancel()
  }

  #wait(now: number, beatInMs: number): void {
    const stepMs = this.#heartbeatMs / STEPS
    // Beats of many streams go out together: a processor that has just slept writes the first few slowly (bench `idle`).
    if (stepMs > 0) this.#beatsAt = Math.floor((now + beatInMs) / stepMs) * stepMs
    const next = Math.min(this.#beatsAt, this.#endsAt)
    if (next < Number.POSITIVE_INFINITY) this.#timer = this.#clock.after(next - now, this.#onTime)
  }

  readonly #onTime = (): void => {
    if (this.#endsAt <= this.#beatsAt) {
      this.#stream.close(this.#reason)
      return
    }
    const now = this.#clock.now()
    this.#wait(now, this.#heartbeatMs)
    this.#stream.beat()
  }
}
