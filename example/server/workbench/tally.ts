/** Counts the events that one client received and missed, by their numbers. Bounded in memory. */
import type { Priority } from 'express-sse-kit'
import { priorityOf } from './feed.js'

/** Far more than the number of events that a queue can reorder or repeat. */
const REMEMBERED = 4096

export class Tally {
  #got = 0
  #repeated = 0
  #lowest = 0
  #highest = 0
  readonly #missing: Record<Priority, number> = { high: 0, normal: 0, low: 0 }
  /** The latest numbers, each at the index of its remainder. */
  readonly #seen = new Uint32Array(REMEMBERED)

  get got(): number {
    return this.#got
  }

  get repeated(): number {
    return this.#repeated
  }

  /** Missed events between the first and the last one received. */
  get missed(): number {
    return this.#missing.high + this.#missing.normal + this.#missing.low
  }

  get missedHigh(): number {
    return this.#missing.high
  }

  get highest(): number {
    return this.#highest
  }

  add(number: number): void {
    const place = number % REMEMBERED
    if (this.#seen[place] === number) {
      this.#repeated++
      return
    }
    this.#seen[place] = number
    if (this.#got++ === 0) this.#lowest = this.#highest = number
    // A reordering queue delivers some events late. They were counted as missed, except those before the first.
    if (number < this.#lowest) this.#miss(number + 1, this.#lowest)
    else if (number > this.#highest) this.#miss(this.#highest + 1, number)
    else if (this.#got > 1) this.#missing[priorityOf(number)]--
    this.#lowest = Math.min(this.#lowest, number)
    this.#highest = Math.max(this.#highest, number)
  }

  /** @param to the first number that is not missing */
  #miss(from: number, to: number): void {
    for (let number = from; number < to; number++) this.#missing[priorityOf(number)]++
  }
}
