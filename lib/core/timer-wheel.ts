import type { Timer } from './clock.js'

const SLOTS = 512

/** A list is a ring of links, its slot's own among them: in and out without a search, and without anything to allocate. */
class Link {
  next: Link = this
  previous: Link = this

  /** At the end of the slot's list. */
  addTo(slot: Link): void {
    this.previous = slot.previous
    this.next = slot
    slot.previous.next = this
    slot.previous = this
  }

  /** All of another slot's list, which is not empty; this one is. */
  takeAll(slot: Link): void {
    this.next = slot.next
    this.previous = slot.previous
    this.next.previous = this
    this.previous.next = this
    slot.next = slot
    slot.previous = slot
  }

  remove(): void {
    this.previous.next = this.next
    this.next.previous = this.previous
    this.next = this
    this.previous = this
  }
}

/** One object without closures: every open stream has one (bench `idle`). */
class WheelTimer extends Link implements Timer {
  readonly dueTick: number
  readonly callback: () => void
  readonly #wheel: TimerWheel

  constructor(dueTick: number, callback: () => void, wheel: TimerWheel) {
    super()
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
  readonly #slots: readonly Link[] = Array.from({ length: SLOTS }, () => new Link())
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

  /** When the next timer may be due; it may also be one of a later turn. `undefined`: there is none. */
  get nextMs(): number | undefined {
    if (this.#size === 0) return undefined
    let tick = this.#tick + 1
    while (this.#slotOf(tick).next === this.#slotOf(tick)) tick++
    return tick * this.#tickMs
  }

  schedule(dueMs: number, callback: () => void): Timer {
    const dueTick = Math.max(Math.ceil(dueMs / this.#tickMs), this.#tick + 1)
    const timer = new WheelTimer(dueTick, callback, this)
    timer.addTo(this.#slotOf(dueTick))
    this.#size++
    return timer
  }

  /** Idempotent. */
  cancel(timer: WheelTimer): void {
    if (timer.next === timer) return
    timer.remove()
    this.#size--
  }

  /** Fires all that is due at `nowMs`. A callback that throws does not keep the others from firing. */
  advance(nowMs: number): void {
    const target = Math.floor(nowMs / this.#tickMs)
    while (this.#tick < target) {
      this.#tick++
      this.#fire(this.#slotOf(this.#tick))
    }
  }

  #fire(slot: Link): void {
    if (slot.next === slot) return
    // Apart from the slot, for callbacks may set timers that come into it; those that they cancel are in this list no more.
    const met = new Link()
    met.takeAll(slot)
    while (met.next !== met) {
      const timer = met.next as WheelTimer
      timer.remove()
      if (timer.dueTick > this.#tick) {
        timer.addTo(slot)
      } else {
        this.#size--
        call(timer.callback)
      }
    }
  }

  #slotOf(tick: number): Link {
    return this.#slots[tick % SLOTS] as Link
  }
}

function call(callback: () => void): void {
  try {
    callback()
  } catch (error) {
    // As an uncaught exception, like one from setTimeout, but without taking the other timers of this tick with it.
    queueMicrotask(() => {
      throw error
    })
  }
}
