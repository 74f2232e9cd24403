/**
 * The limiter that asks Redis at every request, through `RateLimiterRedis`. Points are compared here: so it needs no limiter for each
 * plan, and whatever rejects is a failure of Redis, never a refusal. What was counted in vain is given back.
 */
import { RateLimiterRedis, type RateLimiterRes } from 'rate-limiter-flexible'
import type { Clock } from '../../core/clock.js'
import { compositeKey } from '../../core/composite-key.js'
import { reported } from '../../redis/handle.js'
import { LeaseLimiter } from './lease-limiter.js'
import { type Ledger, LIMIT_REPORT } from './ledger.js'
import type { Claim, Limiter, Standing, Verdict } from './limiter.js'
import type { ResolvedLimit } from './options.js'

/** Keys for which is remembered what Redis must be told; more than that are forgotten. */
const MAX_OWED = 100_000

export interface ExactLimiterOptions {
  readonly limits: readonly ResolvedLimit[]
  readonly clock: Clock
  /** It is closed with the limiter. */
  readonly ledger: Ledger
  readonly failOpen: boolean
}

/** A claim that Redis has counted. */
interface Counted {
  readonly claim: Claim
  /** By all requests of the window, with this one. */
  readonly consumed: number
  /** Until the window's end, then. */
  readonly resetMs: number
  /** When the answer came. */
  readonly at: number
}

interface Owed {
  readonly limit: ResolvedLimit
  readonly key: string
  readonly since: number
  points: number
}

export class ExactLimiter implements Limiter {
  readonly #clock: Clock
  readonly #ledger: Ledger
  readonly #failOpen: boolean
  readonly #counters = new Map<ResolvedLimit, RateLimiterRedis>()
  /** Decides while Redis is away. */
  readonly #standIn: LeaseLimiter
  /** What was admitted meanwhile. */
  readonly #owed = new Map<string, Owed>()

  constructor({ limits, clock, ledger, failOpen }: ExactLimiterOptions) {
    this.#clock = clock
    this.#ledger = ledger
    this.#failOpen = failOpen
    for (const limit of limits) {
      const counter = {
        storeClient: ledger.client,
        points: 1,
        duration: limit.durationMs / 1000,
        keyPrefix: limit.prefix,
      }
      this.#counters.set(limit, new RateLimiterRedis(counter))
    }
    this.#standIn = new LeaseLimiter({ limits, clock, ledger: undefined, failOpen: true })
    ledger.onReturn = () => this.#settleDebts()
  }

  async check(claims: readonly Claim[]): Promise<Verdict> {
    if (!this.#ledger.available) return this.#checkAlone(claims)
    try {
      const counted = await this.#ledger.run(() => Promise.all(claims.map((claim) => this.#count(claim))))
      return this.#judge(counted)
    } catch {
      return this.#checkAlone(claims)
    }
  }

  async close(): Promise<void> {
    await this.#standIn.close()
    this.#ledger.close()
  }

  async #count(claim: Claim): Promise<Counted> {
    const { consumedPoints, msBeforeNext } = await this.#penalty(claim.limit, claim.key, claim.cost)
    return { claim, consumed: consumedPoints, resetMs: msBeforeNext, at: this.#clock.now() }
  }

  #penalty(limit: ResolvedLimit, key: string, points: number): Promise<RateLimiterRes> {
    return reported(LIMIT_REPORT, this.#clock, () => this.#counter(limit).penalty(key, points))
  }

  #judge(counted: readonly Counted[]): Verdict {
    let refusedBy: Standing | undefined
    let retryMs = 0
    const standings = counted.map(({ claim, consumed, resetMs }) => {
      const { limit, points } = claim
      const standing = { limit, points, remaining: () => Math.max(0, points - consumed), resetMs: () => resetMs }
      if (consumed > points && (refusedBy === undefined || resetMs > retryMs)) {
        refusedBy = standing
        retryMs = resetMs
      }
      return standing
    })
    const at = this.#clock.now()
    if (refusedBy === undefined) {
      const reservations = counted
        .filter(({ claim }) => claim.limit.countWhen !== undefined)
        .map((each) => ({
          limit: each.claim.limit,
          settle: (counts: boolean) => {
            if (!counts) this.#giveBack(each)
          },
        }))
      return { admitted: true, source: 'redis', at, standings, reservations }
    }
    for (const each of counted) if (isWorthGivingBack(each)) this.#giveBack(each)
    return { admitted: false, source: 'redis', at, standings, refusedBy, retryMs }
  }

  /** Where Redis does not answer, it stays counted until the window ends. */
  #giveBack({ claim, resetMs, at }: Counted): void {
    const { limit, key, cost } = claim
    const leftMs = Math.ceil(resetMs - (this.#clock.now() - at))
    if (leftMs <= 0) return
    const { client } = this.#ledger
    const call = () => client.sseLimitGiveBack(this.#counter(limit).getKey(key), cost, leftMs)
    this.#ledger.run(() => reported(LIMIT_REPORT, this.#clock, call)).catch(() => undefined)
  }

  async #checkAlone(claims: readonly Claim[]): Promise<Verdict> {
    if (!this.#failOpen) return undefined
    const verdict = await this.#standIn.check(claims)
    if (verdict === undefined) return undefined
    if (!verdict.admitted) return { ...verdict, source: 'fail-open' }
    for (const claim of claims) if (!claim.limit.countWhen) this.#owe(claim)
    const conditional = claims.filter(({ limit }) => limit.countWhen)
    const reservations = verdict.reservations.map((reservation, i) => ({
      limit: reservation.limit,
      settle: (counts: boolean) => {
        reservation.settle(counts)
        if (counts) this.#owe(conditional[i] as Claim)
      },
    }))
    return { ...verdict, source: 'fail-open', reservations }
  }

  #owe({ limit, key, cost }: Claim): void {
    const id = compositeKey(limit.name, key)
    const owed = this.#owed.get(id)
    const now = this.#clock.now()
    if (owed !== undefined && now - owed.since < limit.durationMs) owed.points += cost
    else if (this.#owed.size < MAX_OWED) this.#owed.set(id, { limit, key, since: now, points: cost })
  }

  #settleDebts(): void {
    const now = this.#clock.now()
    const debts = [...this.#owed.values()].filter(({ limit, since }) => now - since < limit.durationMs)
    this.#owed.clear()
    const settle = () => Promise.all(debts.map(({ limit, key, points }) => this.#penalty(limit, key, points)))
    if (debts.length > 0) this.#ledger.run(settle).catch(() => undefined)
  }

  #counter(limit: ResolvedLimit): RateLimiterRedis {
    return this.#counters.get(limit) as RateLimiterRedis
  }
}

/**
 * One point over what is used up for good is not worth a command. But what is only reserved may come free, and there must not
 * be refused requests in its place then.
 */
function isWorthGivingBack({ claim: { limit, cost, points }, consumed }: Counted): boolean {
  return limit.countWhen !== undefined || cost > 1 || consumed <= points
}
