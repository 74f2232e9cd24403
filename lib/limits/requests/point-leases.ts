import { randomBytes } from 'node:crypto'
import { compositeKey } from '../../core/composite-key.js'
import { BucketLease } from './bucket-lease.js'
import { type LeaseContext, LocalCount, type PointLease } from './point-lease.js'
import type { Message } from './scripts.js'
import { WindowLease } from './window-lease.js'

/** Leases in memory for one limit. The oldest are evicted. */
const MAX_KEYS = 100_000
/** A lease with a pending request cannot be evicted. After so many of them the limit is exceeded by one. */
const PASSED_OVER = 100

/**
 * The leases of one limit, by key. A lease is kept until its window ends or its bucket is full, because then a new one
 * has the same state. So their number is bounded by the keys of one window, and by `MAX_KEYS`.
 */
export class PointLeases {
  readonly #context: LeaseContext
  readonly #byKey = new Map<string, PointLease>()
  /** Local counts of keys that may have several leases, one for each number of points. */
  readonly #localCounts = new Map<string, { readonly count: LocalCount; leases: number }>()
  readonly #holder = randomBytes(6).toString('base64url')
  #created = 0

  constructor(context: LeaseContext) {
    this.#context = context
  }

  get size(): number {
    return this.#byKey.size
  }

  open(key: string, points: number): PointLease {
    const { limit, connection } = this.#context
    // With other points a key has another lease. Redis adds up what they have consumed.
    const id = this.#hasSeveral ? compositeKey(String(points), key) : key
    const known = this.#byKey.get(id)
    if (known !== undefined) {
      if (connection === undefined) known.points = points
      return known
    }
    if (this.#byKey.size >= MAX_KEYS) this.#evict()
    const holder = this.#holder + (this.#created++).toString(36)
    const lease = new (limit.bucket ? BucketLease : WindowLease)(
      key,
      holder,
      points,
      this.#context,
      this.#localCountOf(key),
    )
    this.#byKey.set(id, lease)
    return lease
  }

  /** Discards leases without state. @returns the messages to send; each is composed when it is sent */
  releaseUnused(now: number): (() => Message)[] {
    const composers: (() => Message)[] = []
    const { connection } = this.#context
    for (const [id, lease] of this.#byKey) {
      if (lease.isDisposable(now)) this.#discard(id, lease)
      // While Redis does not answer, unused points are kept.
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

  /** The requests to Redis that are pending. */
  pendingRequests(): Promise<void>[] {
    return [...this.#byKey.values()].flatMap(({ pendingRequest: asking }) => asking ?? [])
  }

  /** Discards all leases. @returns as `releaseUnused` */
  releaseAll(now: number): (() => Message)[] {
    const composers = [...this.#byKey.values()]
      .filter((lease) => lease.mustReport(now))
      .map((lease) => () => lease.releaseAll())
    this.#byKey.clear()
    this.#localCounts.clear()
    return composers
  }

  /** Whether a key has a lease for each number of points that the function returns. */
  get #hasSeveral(): boolean {
    return typeof this.#context.limit.points === 'function' && this.#context.connection !== undefined
  }

  #localCountOf(key: string): LocalCount {
    if (!this.#hasSeveral) return new LocalCount()
    let known = this.#localCounts.get(key)
    if (known === undefined) {
      known = { count: new LocalCount(), leases: 0 }
      this.#localCounts.set(key, known)
    }
    known.leases++
    return known.count
  }

  #discard(id: string, { key }: PointLease): void {
    this.#byKey.delete(id)
    const known = this.#localCounts.get(key)
    if (known !== undefined && --known.leases === 0) this.#localCounts.delete(key)
  }

  #evict(): void {
    let passedOver = 0
    for (const [id, lease] of this.#byKey) {
      if (lease.pendingRequest && passedOver++ < PASSED_OVER) continue
      if (lease.pendingRequest) return
      this.#discard(id, lease)
      if (lease.mustReport(this.#context.clock.now()))
        void this.#context.connection?.sendAll([() => lease.releaseAll()])
      return
    }
  }
}
