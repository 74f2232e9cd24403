/**
 * The limiter that grants leased points, and without Redis decides alone. It checks all leases of a request and then
 * takes from them within one turn of the event loop, so that it takes all charges or none.
 */
import type { Clock, Timer } from '../../core/clock.js'
import type { Charge, DecisionSource, LimitDecision, Limiter, Reservation } from './limiter.js'
import type { LimiterConnection } from './limiter-connection.js'
import type { ResolvedLimit } from './options.js'
import { type LeaseContext, type PointLease, SWEEP_MS } from './point-lease.js'
import { PointLeases } from './point-leases.js'

export interface LeaseLimiterOptions {
  readonly limits: readonly ResolvedLimit[]
  readonly clock: Clock
  /** Is closed with the limiter. `undefined`: this process counts alone. */
  readonly connection: LimiterConnection | undefined
  readonly failOpen: boolean
}

export class LeaseLimiter implements Limiter {
  readonly #clock: Clock
  readonly #connection: LimiterConnection | undefined
  readonly #leases = new Map<ResolvedLimit, PointLeases>()
  #sweep: Timer | undefined
  /** Pending while the messages of the last sweep are sent. */
  #sending: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor({ limits, clock, connection, failOpen }: LeaseLimiterOptions) {
    this.#clock = clock
    this.#connection = connection
    // Until Redis has answered. Without Redis the windows follow the monotonic clock, so that setting the wall clock
    // gives or takes no points.
    const clockOffset = clock.wallTime() - clock.now()
    for (const limit of limits) {
      const context: LeaseContext = { limit, clock, connection, failOpen, clockOffset }
      this.#leases.set(limit, new PointLeases(context))
    }
    if (connection)
      connection.onRecovered = () => void connection.sendAll(this.#all((leases) => leases.reportAll(clock.now())))
  }

  /** The number of leases in memory. */
  get size(): number {
    let size = 0
    for (const leases of this.#leases.values()) size += leases.size
    return size
  }

  check(charges: readonly Charge[]): LimitDecision | Promise<LimitDecision> {
    return this.#check(charges, 'local')
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  #check(charges: readonly Charge[], source: DecisionSource): LimitDecision | Promise<LimitDecision> {
    const now = this.#clock.now()
    const leases = charges.map((charge) => this.#open(charge))
    let decidedBy = source
    let waits = false
    let unavailable = false
    let refusedBy: PointLease | undefined
    let retryMs = 0
    for (let i = 0; i < charges.length; i++) {
      const lease = leases[i] as PointLease
      const { cost } = charges[i] as Charge
      const availability = lease.availability(cost, now)
      if (availability === 'wait') waits = true
      else if (availability === 'unavailable') unavailable = true
      else if (availability === 'local' && this.#connection) decidedBy = 'fail-open'
      else if (availability === 'refused') {
        const ms = lease.retryMs(cost, now)
        // If several limits refuse, the one with the longest wait is reported.
        if (refusedBy === undefined || ms > retryMs) {
          refusedBy = lease
          retryMs = ms
        }
      }
    }
    if (refusedBy !== undefined) {
      return { admitted: false, source: decidedBy, at: now, states: leases, refusedBy, retryMs }
    }
    if (unavailable) return undefined
    if (waits) {
      const pending = leases.map((lease, i) => {
        const { cost } = charges[i] as Charge
        return lease.availability(cost, now) === 'wait' ? lease.requestPoints(cost) : undefined
      })
      // Leases may have been discarded meanwhile, so they are opened again.
      return Promise.all(pending).then(() => this.#check(charges, 'redis'))
    }
    return {
      admitted: true,
      source: decidedBy,
      at: now,
      states: leases,
      reservations: takeAll(charges, leases, now),
    }
  }

  #open({ limit, key, points }: Charge): PointLease {
    if (this.#sweep === undefined && this.#closing === undefined) {
      this.#sweep = this.#clock.after(SWEEP_MS, () => this.#runSweep())
    }
    return (this.#leases.get(limit) as PointLeases).open(key, points)
  }

  /** Repeats as long as there are leases. */
  #runSweep(): void {
    this.#sweep = undefined
    const composers = this.#all((leases) => leases.releaseUnused(this.#clock.now()))
    this.#sending = composers.length > 0 ? this.#connection?.sendAll(composers) : undefined
    const scheduleNext = (): void => {
      if (this.size === 0 || this.#closing !== undefined) return
      this.#sweep ??= this.#clock.after(SWEEP_MS, () => this.#runSweep())
    }
    if (this.#sending) void this.#sending.then(scheduleNext)
    else scheduleNext()
  }

  #all<T>(of: (leases: PointLeases) => readonly T[]): T[] {
    return [...this.#leases.values()].flatMap(of)
  }

  async #close(): Promise<void> {
    this.#sweep?.cancel()
    // Requests from now on get no leased points, because nothing would return them.
    this.#connection?.stopRequests()
    // Points that are granted meanwhile are used by the waiting requests, or returned below.
    await Promise.all([this.#sending, ...this.#all((leases) => leases.pendingRequests())])
    const composers = this.#all((leases) => leases.releaseAll(this.#clock.now()))
    await this.#connection?.sendAll(composers)
    this.#connection?.close()
  }
}

const NONE: readonly Reservation[] = []

function takeAll(charges: readonly Charge[], leases: readonly PointLease[], now: number): readonly Reservation[] {
  let reservations: Reservation[] | undefined
  for (let i = 0; i < charges.length; i++) {
    const { cost, limit } = charges[i] as Charge
    const lease = leases[i] as PointLease
    if (limit.countWhen === undefined) {
      lease.take(cost, now)
      continue
    }
    reservations ??= []
    reservations.push(lease.reserve(cost, now))
  }
  return reservations ?? NONE
}
