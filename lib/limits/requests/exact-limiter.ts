/**
 * The limiter that sends a command to Redis for each request, through `RateLimiterRedis`. It compares the points
 * itself, so it needs one limiter for all values of `points`, and a rejection is always a failure of Redis, never a
 * refusal. Points of refused requests are returned.
 */
import { RateLimiterRedis, type RateLimiterRes } from 'rate-limiter-flexible'
import type { Clock } from '../../core/clock.js'
import { compositeKey } from '../../core/composite-key.js'
import { reported } from '../../redis/handle.js'
import { LeaseLimiter } from './lease-limiter.js'
import type { Charge, LimitDecision, Limiter, LimitState } from './limiter.js'
import { LIMIT_REPORT, type LimiterConnection } from './limiter-connection.js'
import type { ResolvedLimit } from './options.js'

/** Keys with points that Redis must be notified of. The points of further keys are lost. */
const MAX_UNREPORTED = 100_000

export interface ExactLimiterOptions {
  readonly limits: readonly ResolvedLimit[]
  readonly clock: Clock
  /** Is closed with the limiter. */
  readonly connection: LimiterConnection
  readonly failOpen: boolean
}

/** A charge that Redis has counted. */
interface Counted {
  readonly charge: Charge
  /** Points that all requests of the window have consumed, including this one. */
  readonly consumed: number
  /** The rest of the window at `at`. */
  readonly resetMs: number
  /** When the answer arrived. */
  readonly at: number
}

interface Unreported {
  readonly limit: ResolvedLimit
  readonly key: string
  readonly since: number
  points: number
}

export class ExactLimiter implements Limiter {
  readonly #clock: Clock
  readonly #connection: LimiterConnection
  readonly #failOpen: boolean
  readonly #counters = new Map<ResolvedLimit, RateLimiterRedis>()
  /** Decides while Redis does not answer. */
  readonly #standIn: LeaseLimiter
  /** Points that were admitted while Redis did not answer. */
  readonly #unreported = new Map<string, Unreported>()

  constructor({ limits, clock, connection, failOpen }: ExactLimiterOptions) {
    this.#clock = clock
    this.#connection = connection
    this.#failOpen = failOpen
    for (const limit of limits) {
      const counter = {
        storeClient: connection.client,
        points: 1,
        duration: limit.durationMs / 1000,
        keyPrefix: limit.prefix,
      }
      this.#counters.set(limit, new RateLimiterRedis(counter))
    }
    this.#standIn = new LeaseLimiter({ limits, clock, connection: undefined, failOpen: true })
    connection.onRecovered = () => this.#reportUnreported()
  }

  async check(charges: readonly Charge[]): Promise<LimitDecision> {
    if (!this.#connection.available) return this.#decideAlone(charges)
    try {
      const counted = await this.#connection.runOnForeignKeys(() =>
        Promise.all(charges.map((charge) => this.#count(charge))),
      )
      return this.#decide(counted)
    } catch {
      return this.#decideAlone(charges)
    }
  }

  async close(): Promise<void> {
    await this.#standIn.close()
    this.#connection.close()
  }

  async #count(charge: Charge): Promise<Counted> {
    const { consumedPoints, msBeforeNext } = await this.#consume(charge.limit, charge.key, charge.cost)
    return { charge, consumed: consumedPoints, resetMs: msBeforeNext, at: this.#clock.now() }
  }

  #consume(limit: ResolvedLimit, key: string, points: number): Promise<RateLimiterRes> {
    return reported(LIMIT_REPORT, this.#clock, () => this.#counter(limit).penalty(key, points))
  }

  #decide(counted: readonly Counted[]): LimitDecision {
    let refusedBy: LimitState | undefined
    let retryMs = 0
    const states = counted.map(({ charge, consumed, resetMs }) => {
      const { limit, points } = charge
      const state = { limit, points, remaining: () => Math.max(0, points - consumed), resetMs: () => resetMs }
      if (consumed > points && (refusedBy === undefined || resetMs > retryMs)) {
        refusedBy = state
        retryMs = resetMs
      }
      return state
    })
    const at = this.#clock.now()
    if (refusedBy === undefined) {
      const reservations = counted
        .filter(({ charge }) => charge.limit.countWhen !== undefined)
        .map((each) => ({
          limit: each.charge.limit,
          settle: (counts: boolean) => {
            if (!counts) this.#returnPoints(each)
          },
        }))
      return { admitted: true, source: 'redis', at, states: states, reservations }
    }
    for (const each of counted) if (isWorthReturning(each)) this.#returnPoints(each)
    return { admitted: false, source: 'redis', at, states: states, refusedBy, retryMs }
  }

  /** If Redis does not answer, the points stay consumed until the window ends. */
  #returnPoints({ charge, resetMs, at }: Counted): void {
    const { limit, key, cost } = charge
    const leftMs = Math.ceil(resetMs - (this.#clock.now() - at))
    if (leftMs <= 0) return
    const { client } = this.#connection
    const call = () => client.sseLimitGiveBack(this.#counter(limit).getKey(key), cost, leftMs)
    this.#connection.runOnForeignKeys(() => reported(LIMIT_REPORT, this.#clock, call)).catch(() => undefined)
  }

  async #decideAlone(charges: readonly Charge[]): Promise<LimitDecision> {
    if (!this.#failOpen) return undefined
    const decision = await this.#standIn.check(charges)
    if (decision === undefined) return undefined
    if (!decision.admitted) return { ...decision, source: 'fail-open' }
    for (const charge of charges) if (!charge.limit.countWhen) this.#noteUnreported(charge)
    const conditional = charges.filter(({ limit }) => limit.countWhen)
    const reservations = decision.reservations.map((reservation, i) => ({
      limit: reservation.limit,
      settle: (counts: boolean) => {
        reservation.settle(counts)
        if (counts) this.#noteUnreported(conditional[i] as Charge)
      },
    }))
    return { ...decision, source: 'fail-open', reservations }
  }

  #noteUnreported({ limit, key, cost }: Charge): void {
    const id = compositeKey(limit.name, key)
    const known = this.#unreported.get(id)
    const now = this.#clock.now()
    if (known !== undefined && now - known.since < limit.durationMs) known.points += cost
    else if (this.#unreported.size < MAX_UNREPORTED) this.#unreported.set(id, { limit, key, since: now, points: cost })
  }

  #reportUnreported(): void {
    const now = this.#clock.now()
    const unreported = [...this.#unreported.values()].filter(({ limit, since }) => now - since < limit.durationMs)
    this.#unreported.clear()
    const settle = () => Promise.all(unreported.map(({ limit, key, points }) => this.#consume(limit, key, points)))
    if (unreported.length > 0) this.#connection.runOnForeignKeys(settle).catch(() => undefined)
  }

  #counter(limit: ResolvedLimit): RateLimiterRedis {
    return this.#counters.get(limit) as RateLimiterRedis
  }
}

/**
 * A single point above an exhausted limit is not worth a command. But reserved points may be returned, and then refused
 * requests must not occupy their place.
 */
function isWorthReturning({ charge: { limit, cost, points }, consumed }: Counted): boolean {
  return limit.countWhen !== undefined || cost > 1 || consumed <= points
}
