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

/** What time does to an open stream: its heartbeats, its greatest age, its token's end. */
export class Deadlines {
  readonly #age: Timer | undefined
  readonly #expiry: Timer | undefined
  #beat: Timer | undefined

  constructor(stream: Mortal, { clock, heartbeatMs, maxAgeMs, expiresAt }: DeadlineOptions) {
    const beatAfter = (delayMs: number): void => {
      this.#beat = clock.after(delayMs, () => {
        stream.beat()
        beatAfter(heartbeatMs)
      })
    }
    // The first beat at random, so that the beats of streams opened together spread over the whole interval.
    if (heartbeatMs > 0) beatAfter(heartbeatMs * Math.random())
    if (maxAgeMs > 0) this.#age = clock.after(maxAgeMs * (1 - Math.random() / 10), () => stream.close('max_age'))
    if (expiresAt) {
      this.#expiry = clock.after(Math.max(0, expiresAt - clock.wallTime()), () => stream.close('expired'))
    }
  }

  cancel(): void {
    this.#beat?.cancel()
    this.#age?.cancel()
    this.#expiry?.cancel()
  }
}
