/**
 * The cache behind dashboard.ts. An entry is good only under the stamps it was loaded under, one of its tenant and one
 * of its user:
 *
 * ```
 *   entry  "<tenant stamp> <user stamp>" LF body        good while both stamps are there and the same
 *   invalidate: delete the stamp                        a new one is claimed by the next load
 * ```
 *
 * Stamps are random and read before a load begins, so an entry of a load that an invalidation overtook can never become
 * good, however late it is stored. A stamp that is lost (expired, evicted) costs a load, never a stale answer.
 */
import { randomUUID } from 'node:crypto'
import { compositeKey } from '../core/composite-key.js'
import { diagnostics } from '../core/diagnostics.js'
import type { KeyValueStore } from '../store/store.js'

export interface Owner {
  readonly tenant: string
  readonly user?: string
}

export interface Lookup {
  /** What is cached and good. */
  readonly body: string | undefined
  /** Names the owner under the stamps of now: loads with the same key may share their outcome. */
  readonly key: string
  /** Stores what a load gave that began after this lookup. Does not fail. */
  keep(body: string): Promise<void>
}

/** Stamps outlive their entries by far, or the loss of one would be the usual miss. */
const STAMP_TTL_FACTOR = 10
const MIN_STAMP_TTL_MS = 3_600_000

export class DashboardCache {
  readonly #store: KeyValueStore
  readonly #prefix: string
  readonly #ttlMs: number
  readonly #stampTtlMs: number

  constructor(store: KeyValueStore, prefix: string, ttlMs: number) {
    this.#store = store
    this.#prefix = prefix
    this.#ttlMs = ttlMs
    this.#stampTtlMs = Math.max(MIN_STAMP_TTL_MS, ttlMs * STAMP_TTL_FACTOR)
  }

  /** One round trip where the stamps are there. Fails open: without the store nothing is cached, and all is loaded. */
  async find({ tenant, user }: Required<Owner>): Promise<Lookup> {
    const entryKey = this.#key('entry', tenant, user)
    const stampKeys = [this.#key('tenant', tenant), this.#key('user', tenant, user)] as const
    try {
      const [tenantStamp, userStamp, entry] = await this.#store.get([...stampKeys, entryKey])
      const stamps = `${tenantStamp ?? (await this.#stamp(stampKeys[0]))} ${userStamp ?? (await this.#stamp(stampKeys[1]))}\n`
      const body = entry?.startsWith(stamps) ? entry.slice(stamps.length) : undefined
      return { body, key: entryKey + stamps, keep: (loaded) => this.#keep(entryKey, stamps + loaded) }
    } catch (error) {
      report('read the dashboard cache', error)
      return { body: undefined, key: entryKey, keep: async () => undefined }
    }
  }

  async invalidate({ tenant, user }: Owner): Promise<void> {
    await this.#store.delete(user === undefined ? this.#key('tenant', tenant) : this.#key('user', tenant, user))
  }

  async #keep(entryKey: string, entry: string): Promise<void> {
    try {
      await this.#store.set(entryKey, entry, this.#ttlMs)
    } catch (error) {
      report('write the dashboard cache', error)
    }
  }

  /** The stamp of now, which may just have been made by another process. */
  async #stamp(key: string): Promise<string> {
    const stamp = randomUUID()
    if (await this.#store.claim(key, stamp, this.#stampTtlMs)) return stamp
    const [other] = await this.#store.get([key])
    // Gone again within a moment: a stamp that is stored nowhere makes for an entry that is never good.
    return other ?? stamp
  }

  /** Begins with what no other part of the kit begins its keys with, because the store may be shared with them. */
  #key(kind: 'entry' | 'tenant' | 'user', ...owner: readonly string[]): string {
    return compositeKey('dashboard', this.#prefix, kind, ...owner)
  }
}

function report(operation: string, error: unknown): void {
  if (diagnostics.storeError.hasSubscribers) diagnostics.storeError.publish({ operation, error })
}
