import { type Rate, TokenBucket } from '../token-bucket.js'

/** The maximum number of keys. Above it unused keys are evicted, the oldest first. */
const MAX_KEYS = 100_000
/** Unused keys that are checked for each new key, so that they are removed as fast as they are added. */
const CHECKED = 2

interface Entry {
  readonly key: unknown
  readonly bucket: TokenBucket
  users: number
}

/**
 * The buckets of one scope, by key. An unused bucket is kept only until it is full, because then a new one has the same
 * state. So the number of buckets is bounded by those in use and those used recently, without a timer.
 */
export class BucketRegistry {
  readonly #maxKeys: number
  readonly #entries = new Map<unknown, Entry>()
  /** Buckets without users, in the order in which they lost the last one. */
  readonly #unused = new Set<Entry>()
  #rate: Rate

  constructor(rate: Rate, maxKeys: number = MAX_KEYS) {
    this.#rate = rate
    this.#maxKeys = maxKeys
  }

  get size(): number {
    return this.#entries.size
  }

  /** The bucket of the key. It is in use until `release` was called as often as `acquire`. */
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

  /** Changes the rate of all keys. */
  configure(rate: Rate, now: number): void {
    this.#rate = rate
    for (const { bucket } of this.#entries.values()) bucket.configure(rate, now)
  }

  #evict(now: number): void {
    let checked = 0
    for (const entry of this.#unused) {
      const over = this.#entries.size >= this.#maxKeys
      if (!over && checked++ >= CHECKED) break
      if (!over && !entry.bucket.isFull(now)) break
      this.#unused.delete(entry)
      this.#entries.delete(entry.key)
    }
  }
}
