import { outsideContext } from './async-context.js'
import type { Clock, Timer } from './clock.js'
import { TimerWheel } from './timer-wheel.js'

const TICK_MS = 50

/**
 * The process's own clock. Its timers run on one wheel for all streams of the process, as Node's timers share lists. Behind it is one
 * timer of Node's, for the next tick at which something may be due: waking up costs more than a heartbeat does (bench
 * `idle`). It does not keep the process alive, and belongs to no async context: whichever request sets it, it fires for all of them.
 */
class SystemClock implements Clock {
  readonly #wheel = new TimerWheel(TICK_MS)
  #timeout: NodeJS.Timeout | undefined
  #wakesAt = Number.POSITIVE_INFINITY

  now(): number {
    return performance.now()
  }

  wallTime(): number {
    return Date.now()
  }

  after(delayMs: number, callback: () => void): Timer {
    const now = this.now()
    this.#wheel.reset(now)
    const timer = this.#wheel.schedule(now + delayMs, callback)
    if (now + delayMs < this.#wakesAt) this.#sleep(now)
    return timer
  }

  #sleep(now: number): void {
    const next = this.#wheel.nextMs
    if (next === this.#wakesAt) return
    clearTimeout(this.#timeout)
    this.#wakesAt = next ?? Number.POSITIVE_INFINITY
    this.#timeout =
      next === undefined
        ? undefined
        : outsideContext(() => setTimeout(this.#wake, Math.max(1, Math.ceil(next - now))).unref())
  }

  readonly #wake = (): void => {
    this.#wakesAt = Number.POSITIVE_INFINITY
    this.#wheel.advance(this.now())
    this.#sleep(this.now())
  }
}

export const systemClock: Clock = new SystemClock()
