/** How fast something may go, as a token bucket. */
export interface Rate {
  /** The most that may be spent at once after a rest: the burst. */
  readonly capacity: number
  /** What comes back each second, continuously, up to the capacity. */
  readonly refillPerSecond: number
  /** What is counted: events, or bytes of them. @defaultValue 'event' */
  readonly cost?: 'event' | 'byte'
}

/** Tokens that rounding may lose: without it, who waits to the moment would have to wait again. */
const EPSILON = 1e-6

/**
 * Tokens that are spent and come back with time. Refilled when it is looked at, from a monotonic clock: a bucket costs
 * nothing while nobody looks.
 *
 * ```
 *   tokens  capacity ┤‾‾\      /‾‾‾‾      spend: down at once
 *                    │   \__/           time: up by refillPerSecond
 *                  0 ┤
 * ```
 */
export class TokenBucket {
  #rate: Rate
  #tokens: number
  #updatedAt: number

  /** @param now monotonic, in ms */
  constructor(rate: Rate, now: number) {
    this.#rate = rate
    this.#tokens = rate.capacity
    this.#updatedAt = now
  }

  get rate(): Rate {
    return this.#rate
  }

  /** Tokens at this moment. Below 0 after one cost larger than the capacity. */
  tokens(now: number): number {
    const { capacity, refillPerSecond } = this.#rate
    const elapsedMs = now - this.#updatedAt
    if (elapsedMs > 0) {
      this.#tokens = Math.min(capacity, this.#tokens + (elapsedMs * refillPerSecond) / 1000)
      this.#updatedAt = now
    }
    return this.#tokens
  }

  /** A full bucket may be forgotten: a new one is the same. */
  isFull(now: number): boolean {
    return this.tokens(now) >= this.#rate.capacity
  }

  spend(cost: number, now: number): void {
    this.#tokens = this.tokens(now) - cost
  }

  /** Undoes a `spend`; what would be over the capacity is lost. */
  giveBack(cost: number, now: number): void {
    this.#tokens = Math.min(this.#rate.capacity, this.tokens(now) + cost)
  }

  /** In how many ms there will be `tokens`, if nobody else spends; 0 if there are. */
  msUntil(tokens: number, now: number): number {
    const missing = tokens - this.tokens(now)
    return missing <= EPSILON ? 0 : (missing * 1000) / this.#rate.refillPerSecond
  }

  /** Goes on at another rate, with the tokens there are, but not more than the new capacity. */
  configure(rate: Rate, now: number): void {
    this.#tokens = Math.min(this.tokens(now), rate.capacity)
    this.#rate = rate
  }
}
