import type { Clock, Timer } from './ports.js'
import { TimerWheel } from './timer-wheel.js'

const TICK_MS = 50

/**
 * The process's own clock. Its timers run on one wheel for all streams of the process, as Node's timers share lists:
 * the interval behind it exists only while a timer is set, and does not keep the process alive.
 */
class SystemClock implements Clock {
  readonly #wheel = new TimerWheel(TICK_MS)
  #interval: NodeJS.Timeout | undefined

  now(): number {
    return performance.now()
  }

  wallTime(): number {
    return Date.now()
  }

  after(delayMs: number, callback: () => void): Timer {
    if (this.#interval === undefined) {
      this.#wheel.reset(this.now())
      this.#interval = setInterval(() => this.#tick(), TICK_MS)
      this.#interval.unref()
    }
    return this.#wheel.schedule(this.now() + delayMs, callback)
  }

  #tick(): void {
    this.#wheel.advance(this.now())
    if (this.#wheel.size === 0) {
      clearInterval(this.#interval)
      this.#interval = undefined
    }
  }
}

export const systemClock: Clock = new SystemClock()
