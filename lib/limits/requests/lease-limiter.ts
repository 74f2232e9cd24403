/**
 * The limiter that grants from leases, and without Redis by itself. All leases of a request are looked at and then taken from
 * within one turn of the event loop: that is what makes it all or none.
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
  /** It is closed with the limiter. `undefined`: this process counts by itself. */
  readonly connection: LimiterConnection | undefined
  readonly failOpen: boolean
}

export class LeaseLimiter implements Limiter {
  readonly #clock: Clock
  readonly #connection: LimiterConnection | undefined
  readonly #leases = new Map<ResolvedLimit, PointLeases>()
  #sweep: Timer | undefined
  /** What the last sweep had to say. */
  #telling: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor({ limits, clock, connection, failOpen }: LeaseLimiterOptions) {
    this.#clock = clock
    this.#connection = connection
    // Until Redis has answered. Its windows follow the monotonic clock: a wall clock that is set gives and takes no points.
    const clockOffset = clock.wallTime() - clock.now()
    for (const limit of limits) {
      const context: LeaseContext = { limit, clock, connection, failOpen, clockOffset }
      this.#leases.set(limit, new PointLeases(context))
    }
    if (connection)
      connection.onRecovered = () => void connection.sendAll(this.#all((leases) => leases.reportAll(clock.now())))
  }

  /** PointLeases kept now. */
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
      const look = lease.availability(cost, now)
      if (look === 'wait') waits = true
      else if (look === 'unavailable') unavailable = true
      else if (look === 'local' && this.#connection) decidedBy = 'fail-open'
      else if (look === 'refused') {
        const ms = lease.retryMs(cost, now)
        // Of several that refuse, the one that refuses longest is worth knowing.
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
      const asks = leases.map((lease, i) => {
        const { cost } = charges[i] as Charge
        return lease.availability(cost, now) === 'wait' ? lease.requestPoints(cost) : undefined
      })
      // PointLeases may have been forgotten meanwhile, so they are opened anew.
      return Promise.all(asks).then(() => this.#check(charges, 'redis'))
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

  /** As long as there are leases. */
  #runSweep(): void {
    this.#sweep = undefined
    const composers = this.#all((leases) => leases.releaseUnused(this.#clock.now()))
    this.#telling = composers.length > 0 ? this.#connection?.sendAll(composers) : undefined
    const again = (): void => {
      if (this.size === 0 || this.#closing !== undefined) return
      this.#sweep ??= this.#clock.after(SWEEP_MS, () => this.#runSweep())
    }
    if (this.#telling) void this.#telling.then(again)
    else again()
  }

  #all<T>(of: (leases: PointLeases) => readonly T[]): T[] {
    return [...this.#leases.values()].flatMap(of)
  }

  async #close(): Promise<void> {
    this.#sweep?.cancel()
    // Who comes from now on gets no lease: nobody would give it back.
    this.#connection?.stopRequests()
    // What is granted meanwhile is used by who waits for it, or given back.
    await Promise.all([this.#telling, ...this.#all((leases) => leases.pendingRequests())])
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
