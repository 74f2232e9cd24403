/**
 * request ─► **stream limits** ─► stream: how many streams may be open, by user, tenant, address and process. Owns the leases of
 * this process and what they add up to here; what they add up to everywhere is Redis's (redis-leases.ts).
 */
import { Listeners, runDetached } from '../../core/callbacks.js'
import { diagnostics } from '../../core/diagnostics.js'
import { RequestError, SseError } from '../../core/errors.js'
import { createdBy } from '../../core/validation.js'
import type { Requester } from '../../http/requester.js'
import { BucketRegistry } from '../pacing/bucket-registry.js'
import { type LeasedStream, type LossReason, type ReleasableLease, StreamLease } from './lease.js'
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
   * notify that process, which then calls `evict`. Without a notification that process finds out when it next renews its
   * leases.
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
  /** Leases of this process by key; `quota` is the one object that all of them have. */
  readonly #counts = new Map<string, { readonly quota: Quota; count: number }>()
  /** Openings of this process by key, for when it decides alone. */
  readonly #opens: BucketRegistry | undefined
  readonly #shared: RedisLeases | undefined
  /** So that streams keep their order when the wall clock is set. */
  readonly #wallOffset: number
  /** Streams about to be let in or refused. */
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
   * Takes a quota for a stream everywhere it counts, or nowhere. One call to Redis, for all that ask one upon the other.
   * @throws RequestError `ERR_SSE_STREAM_LIMIT`: its `members` are the `scope` that is full and its `cap`;
   * `ERR_SSE_LIMITER_UNAVAILABLE` where Redis is away and `onError` is `closed`
   * @throws SseError `ERR_SSE_CLOSED`
   */
  async acquire(requester: Requester, holder: LeasedStream): Promise<ReleasableLease> {
    this.#assertOpen()
    const { perProcess } = this.#options
    if (perProcess > 0 && this.#leases.size + this.#opening.size >= perProcess) {
      throw refusal({ scope: 'process', cap: perProcess })
    }
    const attempt = this.#attempt(requester, holder)
    const asked = this.#ask(attempt)
    if (asked === undefined) return this.#admit(attempt, undefined)
    this.#opening.add(asked)
    try {
      return this.#admit(attempt, await asked)
    } finally {
      this.#opening.delete(asked)
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
    // Those under way give back what they get.
    await Promise.allSettled(this.#opening)
    await this.#shared?.close()
  }

  #attempt(requester: Requester, holder: LeasedStream): AcquireAttempt {
    const { quotas: asked, opens } = requiredQuotas(requester, this.#options)
    const quotas: Quota[] = []
    for (const quota of asked) quotas.push(this.#counts.get(quota.key)?.quota ?? quota)
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

  /** @returns `undefined` if Redis has nothing to say to it, or is away */
  #ask(attempt: AcquireAttempt): Promise<AcquireResult | undefined> | undefined {
    return this.#shared?.away === false && needsQuota(attempt) ? this.#shared.acquire(attempt) : undefined
  }

  /**
   * Lets a stream in, or not, at once: no other can take the same quota meanwhile.
   * @param taken what Redis said; `undefined`: nothing, so that this process has to decide, if it may
   */
  #admit(attempt: AcquireAttempt, taken: AcquireResult | undefined): ReleasableLease {
    const { lease, quotas, opens } = attempt
    if (taken === undefined) this.#assertMayDecideLocally(attempt)
    else if (taken.refusedBy !== undefined) throw refusal(taken.refusedBy, taken.retryAfterMs)
    // Who lost its own to this one, in the same call, has come by here before.
    for (const id of taken?.evicted ?? []) if (!this.evict(id)) this.#evictListeners.notify(id)
    if (this.#closing !== undefined) this.#shared?.release(lease)
    this.#assertOpen()
    if (taken === undefined) this.#acquireLocally(quotas, opens)
    this.#keep(lease)
    return lease
  }

  /** @throws RequestError if Redis should have decided */
  #assertMayDecideLocally(attempt: AcquireAttempt): void {
    if (this.#shared === undefined || this.#options.onError === 'open' || !needsQuota(attempt)) return
    throw new RequestError('ERR_SSE_LIMITER_UNAVAILABLE', 'How many streams are open cannot be told now', {
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

  /** Makes room within this process alone. @throws RequestError if there is none */
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

  /** Looks at all, since it is rare and the order is kept already. */
  #oldest(key: string): StreamLease | undefined {
    for (const lease of this.#leases.values()) if (lease.quotas[0]?.key === key) return lease
    return undefined
  }

  /** One for all leases. */
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

/** Who asked for the quota must not be refused for it, and where Redis chose the stream nobody waits at all. */
function reportEviction(error: unknown): void {
  if (diagnostics.limiterError.hasSubscribers) diagnostics.limiterError.publish({ operation: 'evict', error })
}

/**
 * Limits on open streams: over all processes with `redis`, else in this one.
 * `createStreamLimits({ redis, perUser: 20, perTenant: 2000 })`
 * @throws InvalidOptionError
 */
export function createStreamLimits(options: StreamLimitsOptions = {}): StreamLimits {
  return new StreamLeases(resolveStreamLimits(options))
}

/** The object behind an option. @throws InvalidOptionError unless `createStreamLimits` created it */
export function streamLimitsOption(name: string, value: StreamLimits): StreamLeases {
  return createdBy('createStreamLimits', name, value, StreamLeases)
}
