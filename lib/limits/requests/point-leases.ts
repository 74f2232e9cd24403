import { randomBytes } from 'node:crypto'
import { compositeKey } from '../../core/composite-key.js'
import { BucketLease } from './bucket-lease.js'
import { LocalCount } from './local-use.js'
import type { LeaseContext, PointLease } from './point-lease.js'
import type { Message } from './scripts.js'
import { WindowLease } from './window-lease.js'

/** Keys kept at most for one limit; above it the oldest go. */
const MAX_KEYS = 100_000
/** Those that wait for Redis may not go; so many are passed over, then one more is kept. */
const PASSED_OVER = 100

/**
 * The leases of one limit, by key. Kept while something would be lost with them: until their window has turned, or their bucket
 * is full. So what is kept is bounded by the keys of one window, and by `MAX_KEYS`.
 */
export class PointLeases {
  readonly #context: LeaseContext
  readonly #byKey = new Map<string, PointLease>()
  /** Those of keys that may have several leases, each under other points. */
  readonly #uses = new Map<string, { readonly use: LocalCount; leases: number }>()
  readonly #holder = randomBytes(6).toString('base64url')
  #opened = 0

  constructor(context: LeaseContext) {
    this.#context = context
  }

  get size(): number {
    return this.#byKey.size
  }

  open(key: string, points: number): PointLease {
    const { limit, connection } = this.#context
    // Leases under other points are another lease's; what they have used, Redis adds up.
    const id = this.#hasSeveral ? compositeKey(String(points), key) : key
    const known = this.#byKey.get(id)
    if (known !== undefined) {
      if (connection === undefined) known.points = points
      return known
    }
    if (this.#byKey.size >= MAX_KEYS) this.#evict()
    const holder = this.#holder + (this.#opened++).toString(36)
    const lease = new (limit.bucket ? BucketLease : WindowLease)(key, holder, points, this.#context, this.#localOf(key))
    this.#byKey.set(id, lease)
    return lease
  }

  /** Forgets what is over. @returns what to tell Redis, composed when it is sent */
  releaseUnused(now: number): (() => Message)[] {
    const composers: (() => Message)[] = []
    const { connection } = this.#context
    for (const [id, lease] of this.#byKey) {
      if (lease.isDisposable(now)) this.#forget(id, lease)
      // While Redis is away a lease is worth more here.
      else if (connection?.available && lease.releaseUnused(now)) composers.push(() => lease.report())
    }
    return composers
  }

  /** What Redis may have lost. */
  reportAll(now: number): (() => Message)[] {
    return [...this.#byKey.values()]
      .filter((lease) => lease.hasState && !lease.isDisposable(now))
      .map((lease) => () => lease.report())
  }

  /** What Redis is asked now. */
  pendingRequests(): Promise<void>[] {
    return [...this.#byKey.values()].flatMap(({ pendingRequest: asking }) => asking ?? [])
  }

  /** Forgets all. @returns as `sweep` */
  releaseAll(now: number): (() => Message)[] {
    const composers = [...this.#byKey.values()]
      .filter((lease) => lease.mustReport(now))
      .map((lease) => () => lease.releaseAll())
    this.#byKey.clear()
    this.#uses.clear()
    return composers
  }

  /** A key has one lease for each number of points under which it is leased. */
  get #hasSeveral(): boolean {
    return typeof this.#context.limit.points === 'function' && this.#context.connection !== undefined
  }

  #localOf(key: string): LocalCount {
    if (!this.#hasSeveral) return new LocalCount()
    let known = this.#uses.get(key)
    if (known === undefined) {
      known = { use: new LocalCount(), leases: 0 }
      this.#uses.set(key, known)
    }
    known.leases++
    return known.use
  }

  #forget(id: string, { key }: PointLease): void {
    this.#byKey.delete(id)
    const known = this.#uses.get(key)
    if (known !== undefined && --known.leases === 0) this.#uses.delete(key)
  }

  #evict(): void {
    let passedOver = 0
    for (const [id, lease] of this.#byKey) {
      if (lease.pendingRequest && passedOver++ < PASSED_OVER) continue
      if (lease.pendingRequest) return
      this.#forget(id, lease)
      if (lease.mustReport(this.#context.clock.now()))
        void this.#context.connection?.sendAll([() => lease.releaseAll()])
      return
    }
  }
}
