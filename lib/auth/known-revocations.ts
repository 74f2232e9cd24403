import { BoundedMap } from '../core/bounded-map.js'
import type { Clock } from '../core/clock.js'
import type { KeyValueStore } from '../store/store.js'

/** Keys that are read in one call. */
const BATCH = 1000
/** The oldest are evicted here. They stay in the store. */
const MAX_KNOWN = 10_000

interface KnownRevocation {
  /** When it was revoked, in ms since 1970. */
  readonly at: number
  /** By the monotonic clock. */
  readonly until: number
}

/** The revocations that this process has made or was notified of, the oldest first. */
export class KnownRevocations {
  readonly #store: KeyValueStore
  readonly #ttlMs: number
  readonly #clock: Clock
  readonly #entries = new BoundedMap<string, KnownRevocation>(MAX_KNOWN)

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
    this.#entries.set(key, { at: Math.max(at, known), until: this.#clock.now() + this.#ttlMs })
  }

  /** When the key was revoked, in ms since 1970. `undefined`: not known. */
  get(key: string): number | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    if (entry.until > this.#clock.now()) return entry.at
    this.#entries.delete(key)
    return undefined
  }

  /**
   * Writes revocations that the store has lost, for example a Redis that was restarted without its data. Other
   * processes may not know them.
   * @throws BrokerError if the store does not answer
   */
  async restore(): Promise<void> {
    this.#deleteExpired()
    const keys = [...this.#entries.keys()]
    for (let start = 0; start < keys.length; start += BATCH) {
      const batch = keys.slice(start, start + BATCH)
      const values = await this.#store.get(batch)
      const lost = batch.filter((_, index) => values[index] === undefined)
      await Promise.all(lost.map((key) => this.#restoreOne(key)))
    }
  }

  /** Never overwrites a later revocation. */
  async #restoreOne(key: string): Promise<void> {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    const leftMs = Math.floor(entry.until - this.#clock.now())
    if (leftMs > 0) await this.#store.claim(key, String(entry.at), leftMs)
  }

  /** All entries are kept for the same time, so the first ones expire first. */
  #deleteExpired(): void {
    const now = this.#clock.now()
    for (const [key, { until }] of this.#entries) {
      if (until > now) return
      this.#entries.delete(key)
    }
  }
}
