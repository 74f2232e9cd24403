/**
 * The limiter that asks Redis at every request, through `RateLimiterRedis`. Points are compared here: so it needs no limiter for each
 * plan, and whatever rejects is a failure of Redis, never a refusal. What was counted in vain is given back.
 */
import { RateLimiterRedis, type RateLimiterRes } from 'rate-limiter-flexible'
import { compositeKey } from '../../core/composite-key.js'
import type { Clock } from '../../core/ports.js'
import { observed } from '../../redis/observed.js'
import { LeaseLimiter } from './lease-limiter.js'
import type { Ledger } from './ledger.js'
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
    const askedAt = this.#clock.now()
    try {
      const answers = await this.#ledger.run(() => Promise.all(claims.map((claim) => this.#ask(claim))))
      return this.#judge(claims, answers, askedAt)
    } catch {
      return this.#checkAlone(claims)
    }
  }

  count(claim: Claim): void {
    if (!this.#ledger.available) {
      this.#standIn.count(claim)
      this.#owe(claim)
      return
    }
    this.#ledger.run(() => this.#penalty(claim.limit, claim.key, claim.cost)).catch(() => this.#owe(claim))
  }

  async close(): Promise<void> {
    await this.#standIn.close()
    this.#ledger.close()
  }

  #ask(claim: Claim): Promise<RateLimiterRes | null> {
    const { limit, key, cost } = claim
    if (limit.countWhen === undefined) return this.#penalty(limit, key, cost)
    return observed('limit', this.#clock, () => this.#counter(limit).get(key))
  }

  #penalty(limit: ResolvedLimit, key: string, points: number): Promise<RateLimiterRes> {
    return observed('limit', this.#clock, () => this.#counter(limit).penalty(key, points))
  }

  #judge(claims: readonly Claim[], answers: readonly (RateLimiterRes | null)[], askedAt: number): Verdict {
    let refusedBy: Standing | undefined
    let retryMs = 0
    const standings = claims.map((claim, i) => {
      const { limit, points, cost } = claim
      const answer = answers[i]
      const consumed = answer?.consumedPoints ?? 0
      const resetMs = answer?.msBeforeNext ?? limit.durationMs
      const standing = { limit, points, remaining: () => Math.max(0, points - consumed), resetMs: () => resetMs }
      const needed = limit.countWhen ? consumed + cost : consumed
      if (needed > points && (refusedBy === undefined || resetMs > retryMs)) {
        refusedBy = standing
        retryMs = resetMs
      }
      return standing
    })
    const at = this.#clock.now()
    if (refusedBy === undefined) return { admitted: true, source: 'redis', at, standings }
    for (const [i, claim] of claims.entries()) {
      if (!claim.limit.countWhen) this.#giveBack(claim, answers[i], askedAt)
    }
    return { admitted: false, source: 'redis', at, standings, refusedBy, retryMs }
  }

  #giveBack({ limit, key, cost, points }: Claim, answer: RateLimiterRes | null | undefined, askedAt: number): void {
    if (!answer) return
    // One point over what is used up anyway: not worth a command.
    if (cost === 1 && answer.consumedPoints > points) return
    this.#ledger
      .run(async () => {
        // In the next window it would be a point too many.
        const endsIn = askedAt + answer.msBeforeNext - this.#clock.now()
        if (endsIn > 0) await observed('limit', this.#clock, () => this.#counter(limit).reward(key, cost))
      })
      .catch(() => undefined)
  }

  async #checkAlone(claims: readonly Claim[]): Promise<Verdict> {
    if (!this.#failOpen) return undefined
    const verdict = await this.#standIn.check(claims)
    if (verdict === undefined) return undefined
    if (verdict.admitted) for (const claim of claims) if (!claim.limit.countWhen) this.#owe(claim)
    return { ...verdict, source: 'fail-open' }
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
