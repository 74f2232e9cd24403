/**
 * clock ─► **lease clock** ─► leases: the time by which a process judges what it holds in a shared store (request leases, stream
 * leases, webhook claims). There the store's time counts, and it goes on while this machine stands still.
 *
 * The monotonic clock of a virtual machine that is suspended may stand still too; its wall clock is set right afterwards. So this clock
 * advances by whichever of the two went further: a lease has run out when either says so. If the wall clock was merely set forward, the
 * lease is renewed earlier than necessary, which is harmless.
 *
 * ```
 *   monotonic   ──────────┤ suspended ├──────────
 *   wall        ─────────────────────────────────     (set back: ignored)
 *   lease clock ─────────────────────────────────     never goes back
 * ```
 */
import type { Clock, Timer } from './clock.js'

/** Differences up to this come from reading the two clocks one after the other, in whole ms. */
const TOLERANCE_MS = 100
/** While the machine is suspended its timers wait too. So long afterwards at most, it is noticed. */
const LOOK_MS = 1000

export class LeaseClock implements Clock {
  /** For durations within this process, such as time-outs: what the wall clock says does not matter there. */
  readonly steady: Clock
  /** Wall time minus monotonic time, as last compared. */
  #difference: number
  /** By how much the wall clock went further than the monotonic one, in all. */
  #skippedMs = 0

  constructor(clock: Clock) {
    this.steady = clock
    this.#difference = clock.wallTime() - clock.now()
  }

  now(): number {
    const now = this.steady.now()
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
      timer = this.steady.after(Math.max(0, Math.min(leftMs, LOOK_MS)), () => {
        if (this.now() >= due) callback()
        else wait()
      })
    }
    wait()
    return { cancel: () => timer.cancel() }
  }
}
