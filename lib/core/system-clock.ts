import { outsideContext } from './async-context.js'
import type { Clock, Timer } from './clock.js'
import { TimerWheel } from './timer-wheel.js'

const TICK_MS = 50

/**
 * The clock of the process. All its timers run on one timer wheel, and the wheel uses a single timer of Node, set for
 * the next tick at which a timer may be due: a wake-up costs more than a heartbeat (bench `idle`). That timer does not
 * keep the process alive and belongs to no async context, because it fires for all requests.
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
