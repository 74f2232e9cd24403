import type { Timer } from './ports.js'

const SLOTS = 512

interface WheelTimer extends Timer {
  readonly dueTick: number
  readonly callback: () => void
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
    const slot = this.#slots[dueTick % SLOTS] as Set<WheelTimer>
    const timer: WheelTimer = {
      dueTick,
      callback,
      cancel: () => {
        if (slot.delete(timer)) this.#size--
      },
    }
    slot.add(timer)
    this.#size++
    return timer
  }

  /** Fires all that is due at `nowMs`. A callback that throws does not keep the others from firing. */
  advance(nowMs: number): void {
    const target = Math.floor(nowMs / this.#tickMs)
    while (this.#tick < target) {
      this.#tick++
      const slot = this.#slots[this.#tick % SLOTS] as Set<WheelTimer>
      for (const timer of slot) {
        if (timer.dueTick > this.#tick || !slot.delete(timer)) continue
        this.#size--
        fire(timer.callback)
      }
    }
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
