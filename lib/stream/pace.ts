import type { Clock, Timer } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import type { Pacer } from '../limits/pacing/pacing.js'

/** The credit of one stream from its token buckets: what was granted, and the wait for more tokens. */
export class Pace {
  /** There were too few tokens: the stream sends no event until `onReady`. */
  exhausted = false
  /** Events granted since the stream was opened. */
  events = 0
  /** Bytes granted since the stream was opened. */
  bytes = 0
  readonly #pacer: Pacer
  readonly #clock: Clock
  readonly #onReady: () => void
  #waiting: Timer | undefined
  #closed = false

  /** @param onReady called when there may be tokens again: time has passed, or the rates have changed */
  constructor(pacer: Pacer, clock: Clock, onReady: () => void) {
    this.#pacer = pacer
    this.#clock = clock
    this.#onReady = onReady
    pacer.onChange = () => this.#retry()
  }

  /** See `Sink.spend`. */
  spend(events: number, bytes: number): boolean {
    if (this.#pacer.spend(events, bytes)) {
      this.events += events
      this.bytes += bytes
      return true
    }
    if (events === 1 && !this.#closed) {
      this.exhausted = true
      if (diagnostics.streamPaced.hasSubscribers) {
        diagnostics.streamPaced.publish({ scope: this.#pacer.scarcest(events, bytes) })
      }
      this.#waiting = this.#clock.after(this.#pacer.msUntil(events, bytes), () => this.#retry())
    }
    return false
  }

  /** The tokens that would be granted now. */
  tokens(): number {
    return this.#pacer.tokens()
  }

  close(): void {
    this.#closed = true
    this.#waiting?.cancel()
    this.#pacer.close()
  }

  #retry(): void {
    if (!this.exhausted || this.#closed) return
    this.exhausted = false
    this.#waiting?.cancel()
    this.#onReady()
  }
}
