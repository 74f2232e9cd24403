/**
 * stream limits ─► **leases in Redis**: the quotas of this process's streams, where all processes see them. Owns the
 * connection, what is known about Redis being away, and the one timer on which quotas are renewed; which streams there
 * are, it is told.
 *
 * ```
 *            a command fails, or the connection
 *   in use ─────────────────────────────────────► away: nothing is asked
 *      ▲                                            │ connected again, else every second
 *      └── all leases are in again ◄── renew ◄──────┘
 * ```
 *
 * Places that are not renewed run out, so a process that dies leaves none behind. One that was only stopped, or cut off, takes its
 * quotas again like any other, and ends the streams for which there is no room any more.
 */
import { outsideContext } from '../../core/async-context.js'
import type { Timer } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError, type SseError } from '../../core/errors.js'
import { systemClock } from '../../core/system-clock.js'
import type { RedisClient } from '../../redis/connect.js'
import { toBrokerError } from '../../redis/errors.js'
import { RedisHandle } from '../../redis/handle.js'
import type { RedisSource } from '../../redis/source.js'
import type { LossReason, StreamLease } from './lease.js'
import {
  type AcquireAttempt,
  type AcquireResult,
  acquireLeases,
  type LeaseTimes,
  releaseLeases,
  renewLeases,
} from './lease-commands.js'
import type { ResolvedStreamLimits } from './options.js'
import { type LeaseScripts, withLeaseScripts } from './scripts.js'

/** Leases in one call: Redis does nothing else meanwhile. */
const BATCH = 500
/** Attempts in one call. They cost Redis more than a renewal does: so many with a user, a tenant and an address each, some 3 ms. */
const ATTEMPTS_BATCH = 50
/**
 * Turns of the event loop over which attempts are gathered, while each brings another: Node accepts one connection a turn, however
 * many wait (bench `join`). A lone attempt waits for one empty turn.
 */
const GATHERING_TURNS = 50
/** With the default lease, the rhythm of the heartbeats: a renewal may fail once before a lease runs out. */
const RENEWALS_PER_LEASE = 2.4
const RETRY_MS = 1000
/** Leases that wait to be given back while Redis is away. Those beyond run out. */
const MAX_WAITING = 10_000
/**
 * How long an eviction is kept for a process that does not reach Redis, in ms: as long as streams live by default. One that
 * comes back later puts its stream in again.
 */
const EVICTION_TTL_MS = 3_600_000

/** Attempts that go in one call, and what will have become of each. */
interface Batch {
  readonly attempts: AcquireAttempt[]
  readonly taken: Promise<readonly AcquireResult[] | undefined>
}

export class RedisLeases {
  readonly #options: ResolvedStreamLimits
  readonly #redis: RedisHandle<RedisClient & LeaseScripts>
  /** The caller's, by stream: all that are to be kept. */
  readonly #leases: ReadonlyMap<string, StreamLease>
  readonly #onLost: (id: string, reason: LossReason) => void
  readonly #times: LeaseTimes
  /** What goes with the next call. */
  #batch: Batch | undefined
  readonly #waiting: StreamLease[] = []
  #releasing: Promise<void> | undefined
  #timer: Timer | undefined
  #renewing = false
  #away = false
  #failure: SseError | undefined
  #closed = false

  /** @param onLost is called for streams that another process has evicted, and for those whose quotas are taken */
  constructor(
    redis: RedisSource,
    options: ResolvedStreamLimits,
    leases: ReadonlyMap<string, StreamLease>,
    onLost: (id: string, reason: LossReason) => void,
  ) {
    const { timeoutMs, leaseMs, evictOldest } = options
    this.#options = options
    this.#times = { leaseMs, evictionTtlMs: evictOldest ? EVICTION_TTL_MS : 0 }
    this.#leases = leases
    this.#onLost = onLost
    this.#redis = new RedisHandle(redis, {
      connectionName: 'express-sse-kit:leases',
      commandTimeoutMs: timeoutMs,
      clock: systemClock,
      use: 'own',
      prepare: withLeaseScripts,
    })
    this.#redis.client.on('close', () =>
      this.#markAway(new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', 'Redis is not connected', this.#redis.failure)),
    )
    this.#redis.client.on('ready', () => {
      if (this.#away) void this.#renew()
    })
  }

  /** Redis is known not to answer: nothing is to be asked. */
  get away(): boolean {
    return this.#away
  }

  /** Why it last did not answer. */
  get failure(): SseError | undefined {
    return this.#failure
  }

  /**
   * Takes all quotas, or none. Attempts that come one upon the other go in one call, and count in their order.
   * @returns `undefined` if Redis does not answer within the time-out, twice that while the first connection is made. The quotas may
   * have been taken: they are given back, unless the lease is kept by then.
   */
  acquire(attempt: AcquireAttempt): Promise<AcquireResult | undefined> {
    const batch = this.#batch ?? this.#nextBatch()
    const index = batch.attempts.push(attempt) - 1
    if (batch.attempts.length === ATTEMPTS_BATCH) this.#batch = undefined
    return batch.taken.then((taken) => taken?.[index])
  }

  /** To be called after each new lease: sees that it is renewed in time. */
  scheduleRenewal(): void {
    if (this.#timer === undefined && !this.#renewing) this.#schedule()
  }

  /** Does not wait and does not fail: all that come in one turn of the event loop go in one call. */
  release(lease: StreamLease): void {
    if (this.#closed || lease.quotas.length === 0 || (this.#away && this.#waiting.length >= MAX_WAITING)) return
    this.#waiting.push(lease)
    if (this.#waiting.length > 1 || this.#away) return
    outsideContext(() => setImmediate(() => void this.#releaseWaiting()))
  }

  /** Gives back what there still is, unless Redis is away or goes away meanwhile. */
  async close(): Promise<void> {
    await this.#releasing
    if (!this.#away) await this.#releaseWaiting()
    this.#closed = true
    this.#timer?.cancel()
    this.#redis.close()
  }

  #nextBatch(): Batch {
    const attempts: AcquireAttempt[] = []
    this.#batch = { attempts, taken: this.#acquireGathered(attempts) }
    return this.#batch
  }

  /** @param attempts to which more may be added meanwhile */
  async #acquireGathered(attempts: readonly AcquireAttempt[]): Promise<readonly AcquireResult[] | undefined> {
    try {
      if (this.#redis.ready) await allGathered(attempts)
      return await this.#run((client) => {
        // Sent now: what comes later goes with the next call.
        if (this.#batch?.attempts === attempts) this.#batch = undefined
        // Places that have become free go first.
        if (this.#waiting.length > 0) void this.#releaseWaiting()
        return acquireLeases(client, attempts, this.#times)
      })
    } catch (cause) {
      if (this.#batch?.attempts === attempts) this.#batch = undefined
      this.#markAway(toBrokerError(cause))
      for (const { lease } of attempts) this.release(lease)
      return undefined
    }
  }

  #run<T>(call: (client: LeaseScripts) => Promise<T>): Promise<T> {
    return this.#redis.run(call, { report: { to: diagnostics.redisCommand, command: 'lease' } })
  }

  #markAway(error: SseError): void {
    this.#failure = error
    if (this.#away || this.#closed) return
    this.#away = true
    if (diagnostics.storeError.hasSubscribers) diagnostics.storeError.publish({ operation: 'lease streams', error })
    if (!this.#renewing) this.#schedule()
  }

  #schedule(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#closed || (!this.#away && this.#leases.size === 0)) return
    const { clock, leaseMs } = this.#options
    this.#timer = clock.after(this.#away ? RETRY_MS : leaseMs / RENEWALS_PER_LEASE, () => void this.#renew())
  }

  /** Renews all leases. If Redis was away, it is back when all of them are in: until then nothing else is asked. */
  async #renew(): Promise<void> {
    if (this.#renewing || this.#closed) return
    this.#renewing = true
    this.#timer?.cancel()
    try {
      if (this.#redis.ready) {
        await this.#renewAll()
        this.#away = false
        void this.#releaseWaiting()
      }
    } catch (cause) {
      this.#markAway(toBrokerError(cause))
    }
    this.#renewing = false
    this.#schedule()
  }

  async #renewAll(): Promise<void> {
    // Where nothing is answered, little is to wait in the socket.
    if (this.#away) await this.#redis.run((client) => client.ping(), { readOnly: true })
    // An iterator of a Map meets what is added meanwhile: nothing that was let in while Redis was away is left out.
    const leases = this.#leases.values()
    for (;;) {
      const batch: StreamLease[] = []
      for (let next = leases.next(); !next.done; next = leases.next()) {
        if (batch.push(next.value) === BATCH) break
      }
      if (batch.length === 0) return
      const { evicted, expired: gone } = await this.#run((client) => renewLeases(client, batch, this.#times))
      for (const id of evicted) this.#onLost(id, 'evicted')
      await this.#reacquire(gone)
    }
  }

  /** The oldest first. Streams for which there is no room any more end. */
  async #reacquire(gone: readonly string[]): Promise<void> {
    for (let i = 0; i < gone.length; i += ATTEMPTS_BATCH) {
      const leases = gone.slice(i, i + ATTEMPTS_BATCH).flatMap((id) => this.#leases.get(id) ?? [])
      if (leases.length === 0) continue
      leases.sort((a, b) => a.openedAt - b.openedAt)
      const attempts = leases.map((lease) => ({ lease, quotas: lease.quotas, opens: undefined, mayEvict: false }))
      const taken = await this.#run((client) => acquireLeases(client, attempts, this.#times))
      taken.forEach(({ refusedBy }, index) => {
        const { lease } = attempts[index] as AcquireAttempt
        if (refusedBy === undefined || this.#leases.get(lease.id) !== lease) return
        const evicts = this.#options.evictOldest && refusedBy.scope === 'user'
        this.#onLost(lease.id, evicts ? 'evicted' : 'limited')
      })
    }
  }

  #releaseWaiting(): Promise<void> {
    this.#releasing ??= this.#releaseBatches().finally(() => {
      this.#releasing = undefined
    })
    return this.#releasing
  }

  async #releaseBatches(): Promise<void> {
    try {
      while (this.#waiting.length > 0 && !this.#away) {
        // Whose attempt to take a quota got no answer may have been let in all the same.
        const batch = this.#waiting.slice(0, BATCH)
        const free = batch.filter((lease) => this.#leases.get(lease.id) !== lease)
        await this.#run((client) => releaseLeases(client, free))
        this.#waiting.splice(0, batch.length)
      }
    } catch (cause) {
      this.#markAway(toBrokerError(cause))
    }
  }
}

/** Resolves when a turn of the event loop has brought no more of them, or enough turns have passed. */
function allGathered(attempts: readonly AcquireAttempt[]): Promise<void> {
  return new Promise((resolve) => {
    let known = 0
    let turns = 0
    const look = (): void => {
      if (attempts.length === known || turns++ === GATHERING_TURNS) {
        resolve()
        return
      }
      known = attempts.length
      setImmediate(look)
    }
    setImmediate(look)
  })
}
