import { type Rate, TokenBucket } from '../token-bucket.js'

/** Keys kept at most; above it those that nobody uses go, oldest first. */
const MAX_KEYS = 100_000
/** Unused keys looked at for each new one, so that they go as fast as they come. */
const LOOKED_AT = 2

interface Entry {
  readonly key: unknown
  readonly bucket: TokenBucket
  users: number
}

/**
 * The buckets of one scope, by key. A bucket that nobody uses is kept only until it is full again: then a new one would
 * be the same. So what is kept is bounded by what is in use and what was used a moment ago, without a timer.
 */
export class BucketRegistry {
  readonly #maxKeys: number
  readonly #entries = new Map<unknown, Entry>()
  /** Those without users, in the order in which they lost the last one. */
  readonly #unused = new Set<Entry>()
  #rate: Rate

  constructor(rate: Rate, maxKeys: number = MAX_KEYS) {
    this.#rate = rate
    this.#maxKeys = maxKeys
  }

  get size(): number {
    return this.#entries.size
  }

  /** The key's bucket, in use until it is released once for each acquisition. */
  acquire(key: unknown, now: number): TokenBucket {
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      this.#evict(now)
      entry = { key, bucket: new TokenBucket(this.#rate, now), users: 0 }
      this.#entries.set(key, entry)
    }
    entry.users++
    this.#unused.delete(entry)
    return entry.bucket
  }

  release(key: unknown, now: number): void {
    const entry = this.#entries.get(key)
    if (entry === undefined || --entry.users > 0) return
    if (entry.bucket.isFull(now)) this.#entries.delete(key)
    else this.#unused.add(entry)
  }

  /** Another rate for all keys, from now on. */
  configure(rate: Rate, now: number): void {
    this.#rate = rate
    for (const { bucket } of this.#entries.values()) bucket.configure(rate, now)
  }

  #evict(now: number): void {
    let looked = 0
    for (const entry of this.#unused) {
      const over = this.#entries.size >= this.#maxKeys
      if (!over && looked++ >= LOOKED_AT) break
      if (!over && !entry.bucket.isFull(now)) break
      this.#unused.delete(entry)
      this.#entries.delete(entry.key)
    }
  }
}
