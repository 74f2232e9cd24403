import type { Clock, Timer } from '../../lib/core/clock.js'

interface FakeTimer {
  readonly due: number
  readonly callback: () => void
}

/** A clock that the test advances. */
export class FakeClock implements Clock {
  #now = 1000
  #wallOffset = 1_700_000_000_000
  readonly #timers = new Set<FakeTimer>()

  now(): number {
    return this.#now
  }

  wallTime(): number {
    return this.#wallOffset + this.#now
  }

  after(delayMs: number, callback: () => void): Timer {
    const timer = { due: this.#now + delayMs, callback }
    this.#timers.add(timer)
    return { cancel: () => void this.#timers.delete(timer) }
  }

  /** Sets the wall clock forward or back, without time passing on the monotonic clock. */
  setWallClock(byMs: number): void {
    this.#wallOffset += byMs
  }

  /** The number of timers that have neither fired nor been cancelled. */
  get pending(): number {
    return this.#timers.size
  }

  /** Advances by `ms` and fires the due timers in order of their time. */
  advance(ms: number): void {
    const target = this.#now + ms
    for (;;) {
      const next = [...this.#timers].filter(({ due }) => due <= target).sort((a, b) => a.due - b.due)[0]
      if (next === undefined) break
      this.#timers.delete(next)
      this.#now = Math.max(this.#now, next.due)
      next.callback()
    }
    this.#now = target
  }
}
