import type { Timer } from './ports.js'

const SLOTS = 512

/** One object without closures: every open stream has one (bench `idle`). */
class WheelTimer implements Timer {
  readonly dueTick: number
  readonly callback: () => void
  readonly #wheel: TimerWheel

  constructor(dueTick: number, callback: () => void, wheel: TimerWheel) {
    this.dueTick = dueTick
    this.callback = callback
    this.#wheel = wheel
  }

  cancel(): void {
    this.#wheel.cancel(this)
  }
}

/**
 * A hashed timer wheel: any number of timers at O(1) to set and to cancel, on one tick. A timer fires at the first tick
 * at or after its due time; one further away than a turn of the wheel just stays in its slot for more turns, so delays
 * beyond 2³¹−1 ms (where `setTimeout` fires at once) are fine.
 *
 * ```
 *   tick 1030 ─► slot 1030 mod 512 = 6 : { due 1030 → fires } { due 1542 → next turn }
 * ```
 */
export class TimerWheel {
  readonly #slots: Set<WheelTimer>[] = Array.from({ length: SLOTS }, () => new Set())
  readonly #tickMs: number
  #tick = 0
  #size = 0

  constructor(tickMs: number) {
    this.#tickMs = tickMs
  }

  /** Timers set and not yet fired or cancelled. */
  get size(): number {
    return this.#size
  }

  /** Moves an empty wheel to `nowMs`, so that idle time is not walked through tick by tick. */
  reset(nowMs: number): void {
    if (this.#size === 0) this.#tick = Math.floor(nowMs / this.#tickMs)
  }

  schedule(dueMs: number, callback: () => void): Timer {
    const dueTick = Math.max(Math.ceil(dueMs / this.#tickMs), this.#tick + 1)
    const timer = new WheelTimer(dueTick, callback, this)
    this.#slotOf(dueTick).add(timer)
    this.#size++
    return timer
  }

  /** Idempotent. */
  cancel(timer: WheelTimer): void {
    if (this.#slotOf(timer.dueTick).delete(timer)) this.#size--
  }

  /** Fires all that is due at `nowMs`. A callback that throws does not keep the others from firing. */
  advance(nowMs: number): void {
    const target = Math.floor(nowMs / this.#tickMs)
    while (this.#tick < target) {
      this.#tick++
      const slot = this.#slotOf(this.#tick)
      for (const timer of slot) {
        if (timer.dueTick > this.#tick || !slot.delete(timer)) continue
        this.#size--
        fire(timer.callback)
      }
    }
  }

  #slotOf(tick: number): Set<WheelTimer> {
    return this.#slots[tick % SLOTS] as Set<WheelTimer>
  }
}

function fire(callback: () => void): void {
  try {
    callback()
  } catch (error) {
    // As an uncaught exception, like one from setTimeout, but without taking the other timers of this tick with it.
    queueMicrotask(() => {
      throw error
    })
  }
}
