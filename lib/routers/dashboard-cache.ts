/**
 * The cache behind dashboard.ts. Each tenant and each user has a stamp in the store. An entry names the two stamps
 * under which it was loaded, and is valid only while both still exist:
 *
 * ```
 *   entry:       "<tenant stamp> <user stamp>" LF body
 *   invalidate:  delete the stamp; the next lookup claims a new one
 * ```
 *
 * Stamps are random and are read before a load begins. If an invalidation happens during a load, the entry of that load
 * names a deleted stamp and never becomes valid, however late it is stored. A lost stamp (expired or evicted) costs one
 * load and never causes a stale answer.
 */
import { randomUUID } from 'node:crypto'
import { compositeKey } from '../core/composite-key.js'
import { diagnostics, reportTo } from '../core/diagnostics.js'
import type { KeyValueStore } from '../store/store.js'

/** Whose entries an invalidation concerns: one user, or all users of the tenant. */
export interface Owner {
  readonly tenant: string
  readonly user?: string
}

export interface Lookup {
  /** The cached body, if it is valid. */
  readonly body: string | undefined
  /** The owner with its current stamps. Loads with the same key may share their result. */
  readonly key: string
  /** Stores the result of a load that began after this lookup. Never rejects. */
  store(body: string): Promise<void>
}

/** Stamps must live much longer than entries: each expired stamp is a cache miss. */
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

  /** One round trip if the stamps exist. If the store is unavailable, nothing is cached and every request loads. */
  async find({ tenant, user }: Required<Owner>): Promise<Lookup> {
    const entryKey = this.#key('entry', tenant, user)
    const stampKeys = [this.#key('tenant', tenant), this.#key('user', tenant, user)] as const
    try {
      const [tenantStamp, userStamp, entry] = await this.#store.get([...stampKeys, entryKey])
      const tenantPart = tenantStamp ?? (await this.#claimStamp(stampKeys[0]))
      const userPart = userStamp ?? (await this.#claimStamp(stampKeys[1]))
      const stamps = `${tenantPart} ${userPart}\n`
      const body = entry?.startsWith(stamps) ? entry.slice(stamps.length) : undefined
      return { body, key: entryKey + stamps, store: (loaded) => this.#storeEntry(entryKey, stamps + loaded) }
    } catch (error) {
      reportTo(diagnostics.storeError, 'read the dashboard cache', error)
      return { body: undefined, key: entryKey, store: async () => undefined }
    }
  }

  async invalidate({ tenant, user }: Owner): Promise<void> {
    await this.#store.delete(user === undefined ? this.#key('tenant', tenant) : this.#key('user', tenant, user))
  }

  async #storeEntry(entryKey: string, entry: string): Promise<void> {
    try {
      await this.#store.set(entryKey, entry, this.#ttlMs)
    } catch (error) {
      reportTo(diagnostics.storeError, 'write the dashboard cache', error)
    }
  }

  /** Creates a stamp, or returns the one that another process created in the meantime. */
  async #claimStamp(key: string): Promise<string> {
    const stamp = randomUUID()
    if (await this.#store.claim(key, stamp, this.#stampTtlMs)) return stamp
    const [other] = await this.#store.get([key])
    // If the other stamp is deleted already, an entry under this unstored stamp is never valid.
    return other ?? stamp
  }

  /** The prefix `dashboard` keeps these keys apart from those of other parts of the kit in the same store. */
  #key(kind: 'entry' | 'tenant' | 'user', ...owner: readonly string[]): string {
    return compositeKey('dashboard', this.#prefix, kind, ...owner)
  }
}
