/**
 * clock ─► **lease clock** ─► leases: the clock for what a process holds in a shared store (request leases, stream
 * leases, webhook claims). Their expiry follows the store's clock, which continues while this machine is suspended.
 *
 * While a virtual machine is suspended, its monotonic clock may stop too; its wall clock is corrected afterwards. So
 * this clock advances by the larger step of the two: a lease has expired if either clock shows that. If only the wall
 * clock was set forward, leases are renewed earlier than necessary, which is harmless.
 *
 * ```
 *   monotonic   ──────────┤ suspended ├──────────
 *   wall        ─────────────────────────────────     (set back: ignored)
 *   lease clock ─────────────────────────────────     never goes back
 * ```
 */
import type { Clock, Timer } from './clock.js'

/** Smaller differences only come from reading the two clocks one after the other, in whole ms. */
const TOLERANCE_MS = 100
/**
 * While the monotonic clock runs, the two are compared only this often, because reading both for each request is
 * measurable (bench `limiter`).
 */
const COMPARE_MS = 0.1
/** Timers stop while the machine is suspended. A suspension is detected at most this long afterwards. */
const CHECK_MS = 1000

export class LeaseClock implements Clock {
  /** The underlying clock, for durations within this process, such as time-outs. They ignore the wall clock. */
  readonly steady: Clock
  /** When the clocks were last compared. */
  #comparedAt = Number.NEGATIVE_INFINITY
  /** Wall time minus monotonic time, when they were last compared. */
  #difference: number
  /** The total time by which the wall clock has advanced more than the monotonic clock. */
  #skippedMs = 0

  constructor(clock: Clock) {
    this.steady = clock
    this.#difference = clock.wallTime() - clock.now()
  }

  now(): number {
    const now = this.steady.now()
    const sinceMs = now - this.#comparedAt
    // 0: the clock may have stopped.
    if (sinceMs > 0 && sinceMs < COMPARE_MS) return now + this.#skippedMs
    this.#comparedAt = now
    const difference = this.steady.wallTime() - now
    const aheadMs = difference - this.#difference
    if (Math.abs(aheadMs) > TOLERANCE_MS) {
      this.#difference = difference
      if (aheadMs > 0) this.#skippedMs += aheadMs
    }
    return now + this.#skippedMs
  }

  wallTime(): number {
    return this.steady.wallTime()
  }

  after(delayMs: number, callback: () => void): Timer {
    const due = this.now() + delayMs
    let timer: Timer
    const wait = (): void => {
      const leftMs = due - this.now()
      timer = this.steady.after(Math.max(0, Math.min(leftMs, CHECK_MS)), () => {
        if (this.now() >= due) callback()
        else wait()
      })
    }
    wait()
    return { cancel: () => timer.cancel() }
  }
}
