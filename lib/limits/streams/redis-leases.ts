/**
 * stream limits ─► **leases in Redis**: the leases of this process's streams, where all processes see them. Owns the
 * connection, whether Redis is away, and the one timer that renews leases. The caller owns which streams there are.
 *
 * ```
 *            a command fails, or the connection is lost
 *   in use ─────────────────────────────────────────────► away: no command is sent
 *      ▲                                                     │ connected again, otherwise every second
 *      └── all leases are renewed or acquired ◄── renew ◄────┘
 * ```
 *
 * Leases that are not renewed expire, so a process that crashes leaves none behind. A process that was suspended or cut
 * off acquires its leases again like any other, and ends the streams that exceed a limit by then.
 */
import { outsideContext } from '../../core/async-context.js'
import type { Timer } from '../../core/clock.js'
import { diagnostics, reportTo } from '../../core/diagnostics.js'
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

/** Leases in one command, because Redis executes nothing else meanwhile. */
const BATCH = 500
/**
 * Attempts in one command. They cost Redis more than renewals: so many with a user, a tenant and an address each take
 * some 3 ms.
 */
const ATTEMPTS_BATCH = 50
/**
 * The maximum number of turns of the event loop in which attempts are gathered, as long as each turn adds one: Node
 * accepts one connection a turn, however many wait (bench `join`). A single attempt waits for one turn without another.
 */
const GATHERING_TURNS = 50
/** One renewal may fail before a lease expires. With the default `leaseMs` this is the interval of the heartbeats. */
const RENEWALS_PER_LEASE = 2.4
const RETRY_MS = 1000
/** Leases that wait to be released while Redis is away. Further ones expire. */
const MAX_WAITING = 10_000
/**
 * How long an eviction is kept for a process that does not reach Redis, in ms: the default maximum age of streams. A
 * process that reconnects later acquires the lease again.
 */
const EVICTION_TTL_MS = 3_600_000

/** Attempts of one command, and their results. */
interface Batch {
  readonly attempts: AcquireAttempt[]
  readonly taken: Promise<readonly AcquireResult[] | undefined>
}

export class RedisLeases {
  readonly #options: ResolvedStreamLimits
  readonly #redis: RedisHandle<RedisClient & LeaseScripts>
  /** The leases of the caller by stream: all that must be renewed. */
  readonly #leases: ReadonlyMap<string, StreamLease>
  readonly #onLost: (id: string, reason: LossReason) => void
  readonly #times: LeaseTimes
  /** The attempts of the next command. */
  #batch: Batch | undefined
  /** The leases that the next command releases. */
  readonly #waiting: StreamLease[] = []
  /** The releases in flight. */
  readonly #releasing = new Set<Promise<void>>()
  #timer: Timer | undefined
  #renewing = false
  #away = false
  #failure: SseError | undefined
  #closed = false

  /** @param onLost is called for streams that another process has evicted, and for those that exceed a limit */
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

  /** Whether Redis is known not to answer. Then no command is sent. */
  get away(): boolean {
    return this.#away
  }

  /** The last error. */
  get failure(): SseError | undefined {
    return this.#failure
  }

  /**
   * Acquires a lease. Attempts in quick succession share a command and count in their order.
   * @returns `undefined` if Redis does not answer within the time-out, or twice the time-out during the first
   * connection. The lease may have been acquired; then it is released, unless the caller keeps it.
   */
  acquire(attempt: AcquireAttempt): Promise<AcquireResult | undefined> {
    const batch = this.#batch ?? this.#nextBatch()
    const index = batch.attempts.push(attempt) - 1
    if (batch.attempts.length === ATTEMPTS_BATCH) this.#batch = undefined
    return batch.taken.then((taken) => taken?.[index])
  }

  /** Call it after each new lease, so that the lease is renewed in time. */
  scheduleRenewal(): void {
    if (this.#timer === undefined && !this.#renewing) this.#schedule()
  }

  /** Does not wait and does not throw. All releases of one turn of the event loop share a command. */
  release(lease: StreamLease): void {
    if (this.#closed || lease.quotas.length === 0 || (this.#away && this.#waiting.length >= MAX_WAITING)) return
    this.#waiting.push(lease)
    if (this.#waiting.length > 1 || this.#away) return
    outsideContext(() => setImmediate(() => void this.#releaseWaiting()))
  }

  /** Releases the remaining leases, unless Redis is away. */
  async close(): Promise<void> {
    void this.#releaseWaiting()
    // A release of the last turn may begin while others are in flight.
    while (this.#releasing.size > 0) await Promise.all(this.#releasing)
    this.#closed = true
    this.#timer?.cancel()
    this.#redis.close()
  }

  #nextBatch(): Batch {
    const attempts: AcquireAttempt[] = []
    this.#batch = { attempts, taken: this.#acquireGathered(attempts) }
    return this.#batch
  }

  /** @param attempts more may be added until the command is sent */
  async #acquireGathered(attempts: readonly AcquireAttempt[]): Promise<readonly AcquireResult[] | undefined> {
    try {
      if (this.#redis.ready) await allGathered(attempts)
      return await this.#run((client) => {
        // Sent now. Later attempts use the next command.
        if (this.#batch?.attempts === attempts) this.#batch = undefined
        // Releases go first, because they free quotas.
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
    reportTo(diagnostics.storeError, 'lease streams', error)
    if (!this.#renewing) this.#schedule()
  }

  #schedule(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#closed || (!this.#away && this.#leases.size === 0)) return
    const { clock, leaseMs } = this.#options
    this.#timer = clock.after(this.#away ? RETRY_MS : leaseMs / RENEWALS_PER_LEASE, () => void this.#renew())
  }

  /** Renews all leases. After Redis was away no other command is sent until all leases are renewed or acquired. */
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
    // While Redis does not answer, only this small command waits in the socket.
    if (this.#away) await this.#redis.run((client) => client.ping(), { readOnly: true })
    // The iterator of a Map includes entries that are added meanwhile, so no lease is missed.
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

  /** The oldest first. Streams that exceed a limit end. */
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

  /** Does not wait for the releases in flight: an attempt that follows must find all quotas free. */
  #releaseWaiting(): Promise<void> {
    const releasing = this.#releaseBatches().finally(() => this.#releasing.delete(releasing))
    this.#releasing.add(releasing)
    return releasing
  }

  async #releaseBatches(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#away) {
      const batch = this.#waiting.splice(0, BATCH)
      try {
        await this.#run((client) => {
          // If an attempt got no answer, its stream may have been admitted by this process.
          const free = batch.filter((lease) => this.#leases.get(lease.id) !== lease)
          return releaseLeases(client, free)
        })
      } catch (cause) {
        this.#waiting.unshift(...batch)
        this.#markAway(toBrokerError(cause))
        return
      }
    }
  }
}

/** Resolves when a turn of the event loop has added no attempt, or after `GATHERING_TURNS`. */
function allGathered(attempts: readonly AcquireAttempt[]): Promise<void> {
  return new Promise((resolve) => {
    let known = 0
    let turns = 0
    const check = (): void => {
      if (attempts.length === known || turns++ === GATHERING_TURNS) {
        resolve()
        return
      }
      known = attempts.length
      setImmediate(check)
    }
    setImmediate(check)
  })
}
