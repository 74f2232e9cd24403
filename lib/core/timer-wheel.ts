import type { Timer } from './clock.js'

const SLOTS = 512

/**
 * A doubly linked ring that contains the slot itself: insertion and removal need neither a search nor an allocation.
 */
class Link {
  next: Link = this
  previous: Link = this

  /** Appends this link to the slot's list. */
  addTo(slot: Link): void {
    this.previous = slot.previous
    this.next = slot
    slot.previous.next = this
    slot.previous = this
  }

  /** Moves the list of another slot, which must not be empty, into this one, which must be. */
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
 * A hashed timer wheel: setting and cancelling a timer is O(1) for any number of timers. A timer fires at the first
 * tick at or after its due time. A timer that is due after more than one turn of the wheel stays in its slot for
 * further turns, so delays beyond 2³¹−1 ms work (`setTimeout` would fire immediately).
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

  /** The number of pending timers. */
  get size(): number {
    return this.#size
  }

  /** Moves an empty wheel to `nowMs`, so that `advance` does not step through idle time. */
  reset(nowMs: number): void {
    if (this.#size === 0) this.#tick = Math.floor(nowMs / this.#tickMs)
  }

  /** The earliest time at which a timer may be due: its slot may hold timers of later turns. `undefined`: no timer. */
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

  /** Fires every timer that is due at `nowMs`, also if a callback throws. */
  advance(nowMs: number): void {
    const target = Math.floor(nowMs / this.#tickMs)
    while (this.#tick < target) {
      this.#tick++
      this.#fire(this.#slotOf(this.#tick))
    }
  }

  #fire(slot: Link): void {
    if (slot.next === slot) return
    // In a list of their own: callbacks may set timers in this slot, and may cancel timers that have not fired yet.
    const pending = new Link()
    pending.takeAll(slot)
    while (pending.next !== pending) {
      const timer = pending.next as WheelTimer
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
    // Becomes an uncaught exception, as with setTimeout, but the other timers of this tick still fire.
    queueMicrotask(() => {
      throw error
    })
  }
}
