/**
 * The key-value store of a single process, for caches and de-duplication without Redis. Owns the entries, their expiry
 * and the bounds on their number and size. Must not know what the values mean.
 */

import type { Clock, Timer } from '../core/clock.js'
import { BrokerError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { wholeNumber } from '../core/validation.js'
import type { KeyValueStore } from './store.js'

export interface MemoryStoreOptions {
  /**
   * The maximum number of entries. When it is reached, the oldest hundredth (at least one) is evicted: their keys then
   * have no value.
   * @defaultValue 100_000
   */
  readonly maxEntries?: number
  /**
   * The maximum size of all entries in bytes, counted as two per character of keys and values. When it is exceeded, the
   * oldest entries are evicted until a hundredth is free. The newest entry is never evicted.
   * @defaultValue 134_217_728 (128 MiB)
   */
  readonly maxBytes?: number
  /** For tests. @defaultValue the system clock */
  readonly clock?: Clock
}

/** The approximate cost of an entry in addition to its characters. */
const ENTRY_BYTES = 200

interface Entry {
  readonly value: string
  readonly expiresAt: number
  readonly expiry: Timer
}

/**
 * All operations are O(1), amortised, and take effect synchronously, so exactly one caller of `claim` or `take`
 * succeeds.
 */
export class MemoryStore implements KeyValueStore {
  /** In the order in which they were set, the oldest first. */
  readonly #entries = new Map<string, Entry>()
  readonly #maxEntries: number
  readonly #maxBytes: number
  #bytes = 0
  readonly #clock: Clock
  #closed = false

  constructor({ maxEntries = 100_000, maxBytes = 134_217_728, clock = systemClock }: MemoryStoreOptions = {}) {
    this.#maxEntries = wholeNumber('maxEntries', maxEntries, 1)
    this.#maxBytes = wholeNumber('maxBytes', maxBytes, 1)
    this.#clock = clock
  }

  /** The number of entries, including those that expired since the clock's last tick. */
  get size(): number {
    return this.#entries.size
  }

  async get(keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    this.#assertOpen()
    return keys.map((key) => this.#alive(key)?.value)
  }

  async set(key: string, value: string, ttlMs: number): Promise<void> {
    this.#assertOpen()
    this.#put(key, value, ttlMs)
  }

  async claim(key: string, value: string, ttlMs: number): Promise<boolean> {
    this.#assertOpen()
    if (this.#alive(key)) return false
    this.#put(key, value, ttlMs)
    return true
  }

  async take(key: string): Promise<string | undefined> {
    this.#assertOpen()
    const value = this.#alive(key)?.value
    this.#remove(key)
    return value
  }

  async delete(key: string): Promise<void> {
    this.#assertOpen()
    this.#remove(key)
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const { expiry } of this.#entries.values()) expiry.cancel()
    this.#entries.clear()
    this.#bytes = 0
  }

  /** Compares the time as well, because the timer of an entry may fire a little late. */
  #alive(key: string): Entry | undefined {
    const entry = this.#entries.get(key)
    return entry && entry.expiresAt > this.#clock.now() ? entry : undefined
  }

  #put(key: string, value: string, ttlMs: number): void {
    wholeNumber('ttlMs', ttlMs, 1)
    this.#remove(key)
    if (this.#entries.size >= this.#maxEntries) this.#evictMany()
    const expiry = this.#clock.after(ttlMs, () => this.#remove(key))
    this.#entries.set(key, { value, expiresAt: this.#clock.now() + ttlMs, expiry })
    this.#bytes += bytesOf(key, value)
    if (this.#bytes > this.#maxBytes) this.#freeBytes(key)
  }

  /**
   * Evicts the oldest entries. Timers remove the expired ones. Evicts many at a time, because finding the first key of
   * a Map steps over all keys that were deleted before it.
   */
  #evictMany(): void {
    let surplus = Math.ceil(this.#maxEntries / 100)
    for (const key of this.#entries.keys()) {
      if (surplus-- === 0) break
      this.#remove(key)
    }
  }

  /** Evicts the oldest entries. @param newest is not evicted, even if it is larger than the bound */
  #freeBytes(newest: string): void {
    for (const key of this.#entries.keys()) {
      if (key === newest || this.#bytes <= this.#maxBytes * 0.99) break
      this.#remove(key)
    }
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    entry.expiry.cancel()
    this.#entries.delete(key)
    this.#bytes -= bytesOf(key, entry.value)
  }

  #assertOpen(): void {
    if (this.#closed) throw new BrokerError('ERR_SSE_CLOSED', 'The store was closed')
  }
}

function bytesOf(key: string, value: string): number {
  return 2 * (key.length + value.length) + ENTRY_BYTES
}
