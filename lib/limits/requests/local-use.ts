import type { TokenBucket } from '../token-bucket.js'

/**
 * What one process has taken of a key, under whatever points: all leases of the key share it, so that without Redis the
 * process admits no more of the key where `points` is a function.
 */
export class LocalCount {
  /** Stands in for a token bucket in Redis. */
  bucket: TokenBucket | undefined
  /** -1: none yet. */
  #window = -1
  #taken = 0

  /** Adds what was taken in a window; below 0: what was given back. */
  add(cost: number, window: number): void {
    if (window > this.#window) {
      this.#window = window
      this.#taken = 0
    }
    if (window === this.#window) this.#taken += cost
  }

  countIn(window: number): number {
    return window < this.#window ? Number.POSITIVE_INFINITY : window === this.#window ? this.#taken : 0
  }
}
