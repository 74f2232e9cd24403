import type { Clock } from '../core/clock.js'
import type { KeyValueStore } from '../store/store.js'

/** Keys asked for in one call. */
const BATCH = 1000
/** The oldest make room. They are still in the store. */
const MAX_KNOWN = 10_000

interface KnownRevocation {
  readonly at: number
  /** By the monotonic clock. */
  readonly until: number
}

/** The revocations that this process has made or was notified of, oldest first. */
export class KnownRevocations {
  readonly #store: KeyValueStore
  readonly #ttlMs: number
  readonly #clock: Clock
  readonly #entries = new Map<string, KnownRevocation>()

  constructor(store: KeyValueStore, ttlMs: number, clock: Clock) {
    this.#store = store
    this.#ttlMs = ttlMs
    this.#clock = clock
  }

  get size(): number {
    return this.#entries.size
  }

  add(key: string, at: number): void {
    const known = this.get(key) ?? 0
    this.#entries.delete(key)
    this.#entries.set(key, { at: Math.max(at, known), until: this.#clock.now() + this.#ttlMs })
    if (this.#entries.size > MAX_KNOWN) this.#deleteOldest()
  }

  /** In ms since 1970. */
  get(key: string): number | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    if (entry.until > this.#clock.now()) return entry.at
    this.#entries.delete(key)
    return undefined
  }

  /**
   * Puts back what the store has lost, such as a Redis that was restarted empty: other processes may not know it.
   * @throws BrokerError where the store does not answer
   */
  async restore(): Promise<void> {
    this.#deleteExpired()
    const keys = [...this.#entries.keys()]
    for (let start = 0; start < keys.length; start += BATCH) {
      const batch = keys.slice(start, start + BATCH)
      const values = await this.#store.get(batch)
      const lost = batch.filter((_, index) => values[index] === undefined)
      await Promise.all(lost.map((key) => this.#putBack(key)))
    }
  }

  /** Never in place of a later revocation. */
  async #putBack(key: string): Promise<void> {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    const leftMs = Math.floor(entry.until - this.#clock.now())
    if (leftMs > 0) await this.#store.claim(key, String(entry.at), leftMs)
  }

  /** All are kept for the same time, so those that expire first come first. */
  #deleteExpired(): void {
    const now = this.#clock.now()
    for (const [key, { until }] of this.#entries) {
      if (until > now) return
      this.#entries.delete(key)
    }
  }

  #deleteOldest(): void {
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest)
      return
    }
  }
}
