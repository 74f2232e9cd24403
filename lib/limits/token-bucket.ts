/** The rate of a token bucket. */
export interface Rate {
  /** The most tokens that the bucket holds, and so the largest burst. */
  readonly capacity: number
  /** Tokens that are added per second, continuously, up to the capacity. */
  readonly refillPerSecond: number
  /** What costs a token: an event, or a byte of an event. @defaultValue 'event' */
  readonly cost?: 'event' | 'byte'
}

/**
 * Tokens that rounding may lose. Every comparison with a number of tokens allows for it, otherwise a caller that waits
 * exactly as long as `msUntil` returned could have to wait again.
 */
const EPSILON = 1e-6

/** The number of whole tokens that can be spent. */
export function wholeTokens(tokens: number): number {
  return Math.floor(tokens + EPSILON)
}

/**
 * A token bucket. It computes the refill from a monotonic clock on each access, so it needs no timer.
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

  /** The tokens in the bucket. Negative after a cost above the capacity was spent. */
  tokens(now: number): number {
    const { capacity, refillPerSecond } = this.#rate
    const elapsedMs = now - this.#updatedAt
    if (elapsedMs > 0) {
      this.#tokens = Math.min(capacity, this.#tokens + (elapsedMs * refillPerSecond) / 1000)
      this.#updatedAt = now
    }
    return this.#tokens
  }

  /** A full bucket can be discarded: a new one has the same state. */
  isFull(now: number): boolean {
    return this.tokens(now) >= this.#rate.capacity
  }

  /** Whether `cost` can be spent now. */
  has(cost: number, now: number): boolean {
    return this.tokens(now) + EPSILON >= cost
  }

  spend(cost: number, now: number): void {
    this.#tokens = this.tokens(now) - cost
  }

  /** Reverts a `spend`. Tokens above the capacity are lost. */
  giveBack(cost: number, now: number): void {
    this.#tokens = Math.min(this.#rate.capacity, this.tokens(now) + cost)
  }

  /** In how many ms the bucket will have `tokens`, if nothing else is spent. 0: it has them now. */
  msUntil(tokens: number, now: number): number {
    const missing = tokens - this.tokens(now)
    return missing <= EPSILON ? 0 : (missing * 1000) / this.#rate.refillPerSecond
  }

  /** Changes the rate. The bucket keeps its tokens, at most the new capacity. */
  configure(rate: Rate, now: number): void {
    this.#tokens = Math.min(this.tokens(now), rate.capacity)
    this.#rate = rate
  }
}
