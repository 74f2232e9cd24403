import type { Clock, Timer } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import type { Pacer } from '../limits/pacing/pacing.js'

/** One stream's credit from its token buckets: what was granted, and the wait for more. */
export class Pace {
  /** There were not enough tokens: nothing may go out until `onReady`. */
  out = false
  /** Granted, from the beginning. */
  events = 0
  bytes = 0
  readonly #pacer: Pacer
  readonly #clock: Clock
  readonly #onReady: () => void
  #waiting: Timer | undefined
  #closed = false

  /** @param onReady called when time has passed, or rates have changed: there may be tokens again */
  constructor(pacer: Pacer, clock: Clock, onReady: () => void) {
    this.#pacer = pacer
    this.#clock = clock
    this.#onReady = onReady
    pacer.onChange = () => this.#lookAgain()
  }

  /** See `Sink.spend`. */
  spend(events: number, bytes: number): boolean {
    if (this.#pacer.spend(events, bytes)) {
      this.events += events
      this.bytes += bytes
      return true
    }
    if (events === 1 && !this.#closed) {
      this.out = true
      if (diagnostics.streamPaced.hasSubscribers) {
        diagnostics.streamPaced.publish({ scope: this.#pacer.scarcest(events, bytes) })
      }
      this.#waiting = this.#clock.after(this.#pacer.msUntil(events, bytes), () => this.#lookAgain())
    }
    return false
  }

  /** What would be granted now. */
  tokens(): number {
    return this.#pacer.tokens()
  }

  close(): void {
    this.#closed = true
    this.#waiting?.cancel()
    this.#pacer.close()
  }

  #lookAgain(): void {
    if (!this.out || this.#closed) return
    this.out = false
    this.#waiting?.cancel()
    this.#onReady()
  }
}
