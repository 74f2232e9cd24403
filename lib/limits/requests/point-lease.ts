/**
 * The points that one process has leased for one key of one limit, and what it may grant of them without a command to
 * Redis. Owns how much of the lease is left, when to request more and how much, and when to return points. The
 * subclasses own how points are added over time.
 *
 * ```
 *   availability ─► enough points leased ──────────────────► leased
 *                ─► Redis had none, a moment ago ──────────► refused
 *                ─► Redis answers ─────────────────────────► wait: request points, and check again
 *                ─► Redis does not answer, or is not used ─► local, refused or unavailable, by the options
 * ```
 */
import type { Clock } from '../../core/clock.js'
import type { TokenBucket } from '../token-bucket.js'
import type { Reservation } from './limiter.js'
import type { LimiterConnection } from './limiter-connection.js'
import type { ResolvedLimit } from './options.js'
import type { Message } from './scripts.js'

/** How often unused points are looked for and returned, in ms. */
export const SWEEP_MS = 1000
/**
 * After a refusal, while other processes hold the rest: the shortest and the longest pause before the next request for
 * points, in ms.
 */
const PAUSE_MS = 100
export const LONGEST_PAUSE_MS = 1000
/** How far the clocks of two machines may drift apart, as a fraction. Leases end that much earlier. */
export const CLOCK_DRIFT = 1 / 5000
/** The factor by which a lease may be larger than the one before, under continued demand. */
const GROWTH = 4

/** Whether points can be taken: from the lease, without Redis, after a request to Redis, or not. */
export type Availability = 'leased' | 'local' | 'wait' | 'refused' | 'unavailable'

/** What all leases of a limit share. */
export interface LeaseContext {
  readonly limit: ResolvedLimit
  readonly clock: Clock
  /** `undefined`: this process counts alone. */
  readonly connection: LimiterConnection | undefined
  readonly failOpen: boolean
  /** The time of Redis minus the local clock, as last measured. Cuts the windows while Redis does not answer. */
  clockOffset: number
}

/**
 * What one process has taken of a key. All leases of the key share it, so that without Redis the process does not admit
 * more of the key if `points` is a function that returns different numbers.
 */
export class LocalCount {
  /** Used instead of a token bucket in Redis. */
  bucket: TokenBucket | undefined
  /** -1: none yet. */
  #window = -1
  #taken = 0

  /** Adds points that were taken in a window. Negative: returned points. */
  add(cost: number, window: number): void {
    if (window > this.#window) {
      this.#window = window
      this.#taken = 0
    }
    if (window === this.#window) this.#taken += cost
  }

  countIn(window: number): number {
    return window < this.#window ? Number.POSITIVE_INFINITY : window === this.#window ? this.#taken : 0
  }
}

export abstract class PointLease {
  readonly limit: ResolvedLimit
  readonly key: string
  readonly redisKey: string
  /** The name of this lease in Redis. Each lease has a new one, so that it cannot overwrite one that was discarded. */
  readonly holder: string
  /** Changes only if this process counts alone: a lease in Redis is for a fixed number of points. */
  points: number
  /** Cumulative. `consumed` is larger than `leased` if points were admitted while Redis did not answer. */
  protected leased = 0
  protected consumed = 0
  /**
   * Reserved for requests that may turn out not to count. Redis knows them as leased and not consumed, so that other
   * processes retry soon.
   */
  protected reserved = 0
  /** Changes when the reserved points were consumed: with the end of the window or of the lease. */
  protected term = 0
  /** The part of `consumed` that Redis has acknowledged. */
  protected reportedConsumed = 0
  /** When the lease ends, on the local clock. */
  protected validUntil = Number.NEGATIVE_INFINITY
  /** Before this time Redis is not asked again. */
  protected retryAt = Number.NEGATIVE_INFINITY
  protected sentMessages = 0
  protected readonly context: LeaseContext
  protected readonly local: LocalCount
  #pauseMs = PAUSE_MS
  /** With fewer leased points more are requested ahead. */
  #low = 0
  /** The maximum size of the next lease; grows with demand. */
  #size = 0
  #requestedAt = Number.NEGATIVE_INFINITY
  #pendingRequest: Promise<void> | undefined
  /** The points that waiting requests need. */
  #waiting = 0
  #takenSinceSweep = 0

  /** @param local the count of the key, shared by all its leases */
  constructor(key: string, holder: string, points: number, context: LeaseContext, local: LocalCount) {
    this.limit = context.limit
    this.key = key
    this.local = local
    this.redisKey = `${context.limit.prefix}{${key}}`
    this.holder = holder
    this.points = points
    this.context = context
  }

  /** Settles when Redis has answered or has failed. `undefined`: no request is pending. */
  get pendingRequest(): Promise<void> | undefined {
    return this.#pendingRequest
  }

  /** Whether `cost` can be taken now. Takes nothing. */
  availability(cost: number, now: number): Availability {
    if (cost <= this.held(now)) return 'leased'
    // A cost above the limit can never be granted.
    if (now < this.retryAt || cost > this.points) return 'refused'
    const { connection, failOpen } = this.context
    if (connection?.available) return 'wait'
    if (connection !== undefined && !failOpen) return 'unavailable'
    return this.fitsLocally(cost, now) ? 'local' : 'refused'
  }

  /** Consumes `cost`, also if there are not enough points. */
  take(cost: number, now: number): void {
    const local = this.#prepare(cost, now)
    this.consumed += cost
    if (!local) this.#requestAhead(now)
  }

  /** Reserves `cost` until it is known whether the request counts. */
  reserve(cost: number, now: number): Reservation {
    const local = this.#prepare(cost, now)
    this.reserved += cost
    if (!local) this.#requestAhead(now)
    return new PointReservation(this, cost, local, this.term)
  }

  /** See `Reservation`. @param local the points were taken without a lease */
  settle(counts: boolean, cost: number, local: boolean, term: number): void {
    const now = this.context.clock.now()
    this.expireTerm(now)
    if (term !== this.term) return
    this.reserved -= cost
    if (counts) this.consumed += cost
    else this.returnPoints(cost, local, now)
  }

  /**
   * Requests points for all waiting requests in one message. Resolves when Redis has answered or has failed. The answer
   * may not suffice for all: check again.
   */
  requestPoints(cost: number): Promise<void> {
    this.#waiting += cost
    // In the next microtask, so that all requests of this tick share the message.
    this.#pendingRequest ??= Promise.resolve()
      .then(() => this.context.connection?.send(() => this.#compose()))
      .finally(() => {
        this.#pendingRequest = undefined
        this.#waiting = 0
      })
    return this.#pendingRequest
  }

  /** How long until a request with this cost may be admitted, as far as this process knows. */
  abstract retryMs(cost: number, now: number): number
  /** The points left, as far as this process knows. */
  abstract remaining(now: number): number
  /** How long until all points are available again. */
  abstract resetMs(now: number): number
  /** Whether a new lease would have the same state. */
  abstract isDisposable(now: number): boolean

  /**
   * Cuts the lease to twice of what was used since the last sweep.
   * @returns whether there is something to report: that all is consumed, that points were returned, or that the lease
   * must be renewed
   */
  releaseUnused(now: number): boolean {
    const used = this.#takenSinceSweep
    this.#takenSinceSweep = 0
    const held = this.held(now)
    if (this.#pendingRequest !== undefined) return false
    // Without this report other processes would take the consumed points for points that may be returned.
    if (held <= 0) return this.consumed !== this.reportedConsumed || (this.reserved > 0 && this.mustRenew(now))
    const kept = used === 0 ? 0 : Math.min(held, Math.max(this.minLease, 2 * used))
    this.leased = this.consumed + this.reserved + kept
    return kept < held || this.mustRenew(now)
  }

  /** A message with the state that requests no points. */
  report(): Message {
    return this.message(0, 0, false)
  }

  /** The last message: returns all points. What is reserved counts as consumed. */
  releaseAll(): Message {
    this.countReserved()
    this.leased = Math.min(this.leased, this.consumed)
    return this.message(0, 0, true)
  }

  /** Whether Redis needs the state before this lease is discarded. */
  mustReport(now: number): boolean {
    return (
      !this.isDisposable(now) &&
      (this.held(now) !== 0 || this.reserved !== 0 || this.consumed !== this.reportedConsumed)
    )
  }

  /** Whether Redis needs the state after it did not answer. */
  get hasState(): boolean {
    return this.leased > 0 || this.consumed > 0 || this.reserved > 0
  }

  /** The points left of the lease. Negative if more was consumed. */
  protected held(now: number): number {
    return now < this.validUntil ? this.leased - this.consumed - this.reserved : 0
  }

  /** Consumes the reserved points: they can no longer be returned. */
  protected countReserved(): void {
    if (this.reserved === 0) return
    this.consumed += this.reserved
    this.reserved = 0
    this.term++
  }

  /** Consumes the reserved points if their window or lease has ended. */
  protected abstract expireTerm(now: number): void

  /** Whether `cost` can be taken without Redis. */
  protected abstract fitsLocally(cost: number, now: number): boolean
  protected abstract takeLocally(cost: number, now: number): void
  /** Called when points were taken, from the lease or without it. */
  protected abstract noteTaken(cost: number): void
  protected abstract returnPoints(cost: number, local: boolean, now: number): void
  /** The size of the first lease. A lease of this size is not cut. */
  protected abstract readonly minLease: number
  /** Whether the lease expires before the next sweep. */
  protected abstract mustRenew(now: number): boolean
  protected abstract message(wanted: number, size: number, leaves: boolean): Message

  /**
   * @param left what Redis could still grant
   * @param retryAt when there may be more points. Redis is not asked before that and before the pause.
   */
  protected applyAnswer(granted: number, wanted: number, left: number, now: number, retryAt: number): void {
    const enough = granted >= wanted
    this.#low = left > 0 ? granted >> 2 : 0
    if (enough && granted > 0) this.#pauseMs = PAUSE_MS
    if (enough && left > 0) return
    // Random, because two processes in step that each hold what the other needs could miss each other forever.
    this.retryAt = Math.max(retryAt, now + this.#pauseMs * (0.5 + Math.random() / 2))
    if (!enough) this.#pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * this.#pauseMs)
  }

  /** @returns whether the points were taken without a lease */
  #prepare(cost: number, now: number): boolean {
    const missing = cost > this.held(now)
    if (missing) this.takeLocally(cost, now)
    this.noteTaken(cost)
    this.#takenSinceSweep += cost
    return missing
  }

  #requestAhead(now: number): void {
    if (this.held(now) < this.#low && this.context.connection?.available) void this.requestPoints(0)
  }

  #compose(): Message {
    const now = this.context.clock.now()
    // Two leases within a short time mean demand.
    const sameDemand = now - this.#requestedAt < SWEEP_MS
    this.#size = sameDemand ? Math.min(GROWTH * this.#size, this.points) : this.minLease
    this.#requestedAt = now
    const wanted = Math.max(0, this.#waiting - Math.max(0, this.held(now)))
    this.#waiting = 0
    return this.message(wanted, this.#size, false)
  }
}

/** One object without closures for each request in progress. */
class PointReservation implements Reservation {
  readonly #lease: PointLease
  readonly #cost: number
  readonly #local: boolean
  readonly #term: number

  constructor(lease: PointLease, cost: number, local: boolean, term: number) {
    this.#lease = lease
    this.#cost = cost
    this.#local = local
    this.#term = term
  }

  get limit(): ResolvedLimit {
    return this.#lease.limit
  }

  settle(counts: boolean): void {
    this.#lease.settle(counts, this.#cost, this.#local, this.#term)
  }
}
