/**
 * request ─► **stream limits** ─► stream: how many streams may be open, by user, tenant, address and process. Owns the
 * leases of this process and their counts. redis-leases.ts owns the counts of all processes.
 */
import { Listeners, runDetached } from '../../core/callbacks.js'
import { diagnostics, reportTo } from '../../core/diagnostics.js'
import { RequestError, SseError } from '../../core/errors.js'
import { madeBy } from '../../core/validation.js'
import type { Requester } from '../../http/requester.js'
import { BucketRegistry } from '../pacing/bucket-registry.js'
import { type LeasedStream, type LossReason, StreamLease } from './lease.js'
import { type AcquireAttempt, type AcquireResult, needsQuota } from './lease-commands.js'
import { type ResolvedStreamLimits, resolveStreamLimits, type StreamLimitsOptions } from './options.js'
import { type Quota, refusal, requiredQuotas } from './quotas.js'
import { RedisLeases } from './redis-leases.js'

/** Limits how many streams are open, over all processes on one Redis. Created by `createStreamLimits`. */
export interface StreamLimits {
  /** The number of streams of this process that have a lease. */
  readonly size: number

  /**
   * Ends a stream of this process with the reason `evicted`.
   * @param streamId the `id` in its `StreamStatus`
   * @returns `false` if no stream of this process with this id has a lease
   */
  evict(streamId: string): boolean

  /**
   * Calls `listener` with the id of each stream of another process that this process evicts. A multiplexer uses it to
   * notify that process, which then calls `evict`. Without a notification that process finds out when it next renews
   * its leases.
   * @returns removes the listener
   */
  onEvictRemote(listener: (streamId: string) => void): () => void

  /** Releases all leases. Their streams stay open, but no stream can be opened any more. Idempotent. */
  close(): Promise<void>
}

export class StreamLeases implements StreamLimits {
  readonly #evictListeners = new Listeners<string>()
  readonly #options: ResolvedStreamLimits
  /** By stream, the oldest first. */
  readonly #leases = new Map<string, StreamLease>()
  /** Leases of this process by key. `quota` is shared by all of them. */
  readonly #counts = new Map<string, { readonly quota: Quota; count: number }>()
  /** Openings of this process by key, for when it decides alone. */
  readonly #opens: BucketRegistry | undefined
  readonly #shared: RedisLeases | undefined
  /** Keeps the order of streams when the wall clock is set. */
  readonly #wallOffset: number
  /** Streams that wait for the decision. */
  readonly #opening = new Set<Promise<unknown>>()
  #closing: Promise<void> | undefined

  constructor(options: ResolvedStreamLimits) {
    const { redis, opensPerMinute } = options
    this.#options = options
    this.#wallOffset = options.clock.wallTime() - options.clock.now()
    if (opensPerMinute > 0) {
      this.#opens = new BucketRegistry({ capacity: opensPerMinute, refillPerSecond: opensPerMinute / 60 })
    }
    if (redis !== undefined) {
      this.#shared = new RedisLeases(redis, options, this.#leases, (id, reason) => this.#lose(id, reason))
    }
  }

  get size(): number {
    return this.#leases.size
  }

  /**
   * Acquires a lease in all quotas of a stream, or in none. Attempts in quick succession share a command to Redis.
   * @throws RequestError `ERR_SSE_STREAM_LIMIT`: its `members` are the `scope` that is exhausted and its `cap`
   * @throws RequestError `ERR_SSE_LIMITER_UNAVAILABLE` if Redis does not answer and `onError` is `closed`
   * @throws SseError `ERR_SSE_CLOSED`
   */
  async acquire(requester: Requester, holder: LeasedStream): Promise<StreamLease> {
    this.#assertOpen()
    const { perProcess } = this.#options
    if (perProcess > 0 && this.#leases.size + this.#opening.size >= perProcess) {
      throw refusal({ scope: 'process', cap: perProcess })
    }
    const attempt = this.#attempt(requester, holder)
    const pending = this.#request(attempt)
    if (pending === undefined) return this.#admit(attempt, undefined)
    this.#opening.add(pending)
    try {
      return this.#admit(attempt, await pending)
    } finally {
      this.#opening.delete(pending)
    }
  }

  evict(streamId: string): boolean {
    return this.#lose(streamId, 'evicted')
  }

  onEvictRemote(listener: (streamId: string) => void): () => void {
    return this.#evictListeners.add(listener)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    for (const lease of [...this.#leases.values()]) this.#release(lease)
    // Pending attempts release what they acquire.
    await Promise.allSettled(this.#opening)
    await this.#shared?.close()
  }

  #attempt(requester: Requester, holder: LeasedStream): AcquireAttempt {
    const { quotas: required, opens } = requiredQuotas(requester, this.#options)
    const quotas: Quota[] = []
    for (const quota of required) quotas.push(this.#counts.get(quota.key)?.quota ?? quota)
    const lease = new StreamLease(
      holder,
      Math.floor(this.#wallOffset + this.#options.clock.now()),
      quotas,
      this.#release,
    )
    return { lease, quotas, opens, mayEvict: true }
  }

  #lose(streamId: string, reason: LossReason): boolean {
    const lease = this.#leases.get(streamId)
    if (lease === undefined) return false
    this.#release(lease)
    runDetached(() => lease.holder.close(reason), reportEviction)
    return true
  }

  /** @returns `undefined` if Redis need not decide, or is away */
  #request(attempt: AcquireAttempt): Promise<AcquireResult | undefined> | undefined {
    return this.#shared?.away === false && needsQuota(attempt) ? this.#shared.acquire(attempt) : undefined
  }

  /**
   * Admits or refuses a stream synchronously, so that no other stream can take the same quota meanwhile.
   * @param taken the result of Redis; `undefined`: this process decides, if the options allow it
   */
  #admit(attempt: AcquireAttempt, taken: AcquireResult | undefined): StreamLease {
    const { lease, quotas, opens } = attempt
    if (taken === undefined) this.#assertMayDecideLocally(attempt)
    else if (taken.refusedBy !== undefined) throw refusal(taken.refusedBy, taken.retryAfterMs)
    // A stream that the same command both admitted and evicted was admitted here before.
    for (const id of taken?.evicted ?? []) if (!this.evict(id)) this.#evictListeners.notify(id)
    if (this.#closing !== undefined) this.#shared?.release(lease)
    this.#assertOpen()
    if (taken === undefined) this.#acquireLocally(quotas, opens)
    this.#keep(lease)
    return lease
  }

  /** @throws RequestError if only Redis may decide */
  #assertMayDecideLocally(attempt: AcquireAttempt): void {
    if (this.#shared === undefined || this.#options.onError === 'open' || !needsQuota(attempt)) return
    throw new RequestError('ERR_SSE_LIMITER_UNAVAILABLE', 'Stream limits are temporarily unavailable', {
      cause: this.#shared.failure,
      headers: { 'Retry-After': '1' },
    })
  }

  #keep(lease: StreamLease): void {
    this.#leases.set(lease.id, lease)
    for (const quota of lease.quotas) {
      const known = this.#counts.get(quota.key)
      if (known === undefined) this.#counts.set(quota.key, { quota, count: 1 })
      else known.count++
    }
    this.#shared?.scheduleRenewal()
  }

  /** Takes the quotas within this process alone. @throws RequestError if one is exhausted */
  #acquireLocally(quotas: readonly Quota[], opens: Quota | undefined): void {
    const now = this.#options.clock.now()
    const full = quotas.filter(({ key, cap }) => (this.#counts.get(key)?.count ?? 0) >= cap)
    const victim = full[0]?.scope === 'user' && this.#options.evictOldest ? this.#oldest(full[0].key) : undefined
    const refusing = full.find(({ key }) => victim?.quotas.some((quota) => quota.key === key) !== true)
    if (refusing !== undefined) throw refusal(refusing)
    if (opens !== undefined && this.#opens !== undefined) {
      const bucket = this.#opens.acquire(opens.key, now)
      const waitMs = bucket.msUntil(1, now)
      if (waitMs === 0) bucket.spend(1, now)
      this.#opens.release(opens.key, now)
      if (waitMs > 0) throw refusal(opens, waitMs)
    }
    if (victim !== undefined) this.evict(victim.id)
  }

  /** A linear search, because it is rare and the leases are in order. */
  #oldest(key: string): StreamLease | undefined {
    for (const lease of this.#leases.values()) if (lease.quotas[0]?.key === key) return lease
    return undefined
  }

  /** One function for all leases. */
  readonly #release = (lease: StreamLease): void => {
    if (this.#leases.get(lease.id) !== lease) return
    this.#leases.delete(lease.id)
    for (const { key } of lease.quotas) {
      const known = this.#counts.get(key)
      if (known !== undefined && --known.count === 0) this.#counts.delete(key)
    }
    this.#shared?.release(lease)
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new SseError('ERR_SSE_CLOSED', 'The stream limits were closed')
  }
}

/** The stream that takes the quota must not fail because of this error. */
function reportEviction(error: unknown): void {
  reportTo(diagnostics.limiterError, 'evict', error)
}

/**
 * Creates limits on open streams: over all processes with `redis`, otherwise in this process. `createStreamLimits({
 * redis, perUser: 20, perTenant: 2000 })`
 * @throws InvalidOptionError
 */
export function createStreamLimits(options: StreamLimitsOptions = {}): StreamLimits {
  return new StreamLeases(resolveStreamLimits(options))
}

/** The object behind an option. @throws InvalidOptionError unless `createStreamLimits` created it */
export function streamLimitsOption(name: string, value: StreamLimits): StreamLeases {
  return madeBy('createStreamLimits', name, value, StreamLeases)
}
