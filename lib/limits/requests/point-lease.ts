/**
 * What one process knows of one key of one limit, and may grant of it without asking. Owns the lease: how much of it is left,
 * when to ask for more and how much, when to give back. How points come and go with time is the algorithm's.
 *
 * ```
 *   look ─► enough on lease ────────────────► leased
 *        ─► Redis said no, a moment ago ────► refused
 *        ─► Redis answers ──────────────────► wait: ask, and look again
 *        ─► Redis is away, or there is none ► local, refused or unavailable, as declared
 * ```
 */
import type { Clock } from '../../core/clock.js'
import type { Reservation } from './limiter.js'
import type { LimiterConnection } from './limiter-connection.js'
import type { LocalCount } from './local-use.js'
import type { ResolvedLimit } from './options.js'
import type { Message } from './scripts.js'

/** How often what is leased and not used is looked for and given back. */
export const SWEEP_MS = 1000
/** After a refusal while others hold what is left: the first pause before asking again, and the longest. */
const PAUSE_MS = 100
export const LONGEST_PAUSE_MS = 1000
/** By how much the clocks of two machines may go apart, as a part of the time: leases end that much earlier. */
export const CLOCK_DRIFT = 1 / 5000
/** How much more a lease may have than the one before it, while there is demand. */
const GROWTH = 4

export type Availability = 'leased' | 'local' | 'wait' | 'refused' | 'unavailable'

/** What all leases of a limit share. */
export interface LeaseContext {
  readonly limit: ResolvedLimit
  readonly clock: Clock
  /** `undefined`: this process counts alone. */
  readonly connection: LimiterConnection | undefined
  readonly failOpen: boolean
  /** Redis's time minus the local clock, as far as known; by it windows are cut while Redis is away. */
  clockOffset: number
}

export abstract class PointLease {
  readonly limit: ResolvedLimit
  readonly key: string
  readonly redisKey: string
  /** Another holder in Redis for each lease, so that one that was forgotten here is not overwritten there. */
  readonly holder: string
  /** Changes only where this process counts alone: a lease is taken under certain points. */
  points: number
  /** Cumulative. More is consumed than leased where it was admitted while Redis was away. */
  protected leased = 0
  protected consumed = 0
  /**
   * Set aside for requests of which it is not known yet whether they count. Redis knows it as leased and not consumed, so that
   * other processes ask again soon.
   */
  protected reserved = 0
  /** Changes when what is reserved was counted: with its window, or with a lease that has run out. */
  protected term = 0
  /** How much of `consumed` Redis is known to have heard of. */
  protected reportedConsumed = 0
  /** Until then the lease may be used, on the local clock. */
  protected validUntil = Number.NEGATIVE_INFINITY
  /** Until then Redis need not be asked again. */
  protected retryAt = Number.NEGATIVE_INFINITY
  protected sentMessages = 0
  protected readonly context: LeaseContext
  protected readonly local: LocalCount
  #pauseMs = PAUSE_MS
  /** Below that much on lease more is asked for ahead. */
  #low = 0
  /** As much as the next lease may have; grows with demand. */
  #size = 0
  #askedAt = Number.NEGATIVE_INFINITY
  #asking: Promise<void> | undefined
  /** What those that wait need. */
  #waiting = 0
  #takenSinceSweep = 0

  /** @param local that of the key, for all its leases */
  constructor(key: string, holder: string, points: number, context: LeaseContext, local: LocalCount) {
    this.limit = context.limit
    this.key = key
    this.local = local
    this.redisKey = `${context.limit.prefix}{${key}}`
    this.holder = holder
    this.points = points
    this.context = context
  }

  /** Settles when Redis has answered, or will not; `undefined`: it is not asked now. */
  get pendingRequest(): Promise<void> | undefined {
    return this.#asking
  }

  /** Whether `cost` can be taken now. Takes nothing. */
  availability(cost: number, now: number): Availability {
    if (cost <= this.held(now)) return 'leased'
    // More than there ever is must not be saved up for.
    if (now < this.retryAt || cost > this.points) return 'refused'
    const { connection, failOpen } = this.context
    if (connection?.available) return 'wait'
    if (connection !== undefined && !failOpen) return 'unavailable'
    return this.fitsLocally(cost, now) ? 'local' : 'refused'
  }

  /** Takes it, also where there is not enough. */
  take(cost: number, now: number): void {
    const local = this.#prepare(cost, now)
    this.consumed += cost
    if (!local) this.#askAhead(now)
  }

  /** Takes it until it is known whether it counts. */
  reserve(cost: number, now: number): Reservation {
    const local = this.#prepare(cost, now)
    this.reserved += cost
    if (!local) this.#askAhead(now)
    return new PointReservation(this, cost, local, this.term)
  }

  /** @internal See `Reservation`. @param local it was taken without a lease */
  settle(counts: boolean, cost: number, local: boolean, term: number): void {
    const now = this.context.clock.now()
    this.expireTerm(now)
    if (term !== this.term) return
    this.reserved -= cost
    if (counts) this.consumed += cost
    else this.giveBack(cost, local, now)
  }

  /**
   * Asks for more, together with all that wait; resolves when there was an answer or will be none. It may not have been enough
   * for all: look again.
   */
  requestPoints(cost: number): Promise<void> {
    this.#waiting += cost
    // A microtask later, so that what comes in this tick goes with it.
    this.#asking ??= Promise.resolve()
      .then(() => this.context.connection?.send(() => this.#compose()))
      .finally(() => {
        this.#asking = undefined
        this.#waiting = 0
      })
    return this.#asking
  }

  /** How long until it is worth while to come again with this cost, as far as known. */
  abstract retryMs(cost: number, now: number): number
  /** Points left, as far as known here. */
  abstract remaining(now: number): number
  /** Until there are all points again. */
  abstract resetMs(now: number): number
  /** Whether nothing would be lost with the lease. */
  abstract isDisposable(now: number): boolean

  /**
   * Whether a sweep has something to tell: that all is used; or what was not used lately, which is given back but for twice of
   * what was used.
   */
  releaseUnused(now: number): boolean {
    const used = this.#takenSinceSweep
    this.#takenSinceSweep = 0
    const held = this.held(now)
    if (this.#asking !== undefined) return false
    // Else others would take what is used for what may come back to them.
    if (held <= 0) return this.consumed !== this.reportedConsumed || (this.reserved > 0 && this.mustRenew(now))
    const kept = used === 0 ? 0 : Math.min(held, Math.max(this.minLease, 2 * used))
    this.leased = this.consumed + this.reserved + kept
    return kept < held || this.mustRenew(now)
  }

  /** Says how it stands, and asks for nothing. */
  report(): Message {
    return this.message(0, 0, false)
  }

  /** Says how it stands for the last time; nothing is held from then on, and what is not known not to count, counts. */
  releaseAll(): Message {
    this.countReserved()
    this.leased = Math.min(this.leased, this.consumed)
    return this.message(0, 0, true)
  }

  /** Whether Redis should hear of it before it is forgotten. */
  mustReport(now: number): boolean {
    return (
      !this.isDisposable(now) &&
      (this.held(now) !== 0 || this.reserved !== 0 || this.consumed !== this.reportedConsumed)
    )
  }

  /** Whether Redis should hear of it after it was away. */
  get hasState(): boolean {
    return this.leased > 0 || this.consumed > 0 || this.reserved > 0
  }

  /** What of the lease is left; below 0 where more was consumed. */
  protected held(now: number): number {
    return now < this.validUntil ? this.leased - this.consumed - this.reserved : 0
  }

  /** What is reserved can no longer be given back. */
  protected countReserved(): void {
    if (this.reserved === 0) return
    this.consumed += this.reserved
    this.reserved = 0
    this.term++
  }

  /** Counts what is reserved if its window is over, or its lease has run out. */
  protected abstract expireTerm(now: number): void

  /** Whether `cost` can be taken without Redis. */
  protected abstract fitsLocally(cost: number, now: number): boolean
  protected abstract takeLocally(cost: number, now: number): void
  /** Something was taken, on a lease or without. */
  protected abstract noteTaken(cost: number): void
  protected abstract giveBack(cost: number, local: boolean, now: number): void
  /** Leases do not begin smaller, and one so small is not cut. */
  protected abstract readonly minLease: number
  /** Whether what is kept runs out if it is not renewed now. */
  protected abstract mustRenew(now: number): boolean
  protected abstract message(wanted: number, size: number, leaves: boolean): Message

  /**
   * @param left what Redis could still grant
   * @param retryAt when there may be more; earlier than after a pause it is not asked for
   */
  protected applyAnswer(granted: number, wanted: number, left: number, now: number, retryAt: number): void {
    const enough = granted >= wanted
    this.#low = left > 0 ? granted >> 2 : 0
    if (enough && granted > 0) this.#pauseMs = PAUSE_MS
    if (enough && left > 0) return
    // At random: in step, two processes that each hold what the other needs could ask past each other for ever.
    this.retryAt = Math.max(retryAt, now + this.#pauseMs * (0.5 + Math.random() / 2))
    if (!enough) this.#pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * this.#pauseMs)
  }

  /** @returns whether it is taken without a lease */
  #prepare(cost: number, now: number): boolean {
    const missing = cost > this.held(now)
    if (missing) this.takeLocally(cost, now)
    this.noteTaken(cost)
    this.#takenSinceSweep += cost
    return missing
  }

  #askAhead(now: number): void {
    if (this.held(now) < this.#low && this.context.connection?.available) void this.requestPoints(0)
  }

  #compose(): Message {
    const now = this.context.clock.now()
    // One lease after the other in short time: there is demand.
    const sameDemand = now - this.#askedAt < SWEEP_MS
    this.#size = sameDemand ? Math.min(GROWTH * this.#size, this.points) : this.minLease
    this.#askedAt = now
    const wanted = Math.max(0, this.#waiting - Math.max(0, this.held(now)))
    this.#waiting = 0
    return this.message(wanted, this.#size, false)
  }
}

/** One object without closures for each request under way. */
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
