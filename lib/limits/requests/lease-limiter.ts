/**
 * The limiter that grants from leases, and without Redis by itself. All accounts of a request are looked at and then taken from
 * within one turn of the event loop: that is what makes it all or none.
 */
import type { Clock, Timer } from '../../core/clock.js'
import { type Account, type AccountContext, SWEEP_MS } from './account.js'
import { Accounts } from './accounts.js'
import type { Ledger } from './ledger.js'
import type { Claim, DecisionSource, Limiter, Reservation, Verdict } from './limiter.js'
import type { ResolvedLimit } from './options.js'

export interface LeaseLimiterOptions {
  readonly limits: readonly ResolvedLimit[]
  readonly clock: Clock
  /** It is closed with the limiter. `undefined`: this process counts by itself. */
  readonly ledger: Ledger | undefined
  readonly failOpen: boolean
}

export class LeaseLimiter implements Limiter {
  readonly #clock: Clock
  readonly #ledger: Ledger | undefined
  readonly #accounts = new Map<ResolvedLimit, Accounts>()
  #sweep: Timer | undefined
  /** What the last sweep had to say. */
  #telling: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor({ limits, clock, ledger, failOpen }: LeaseLimiterOptions) {
    this.#clock = clock
    this.#ledger = ledger
    // Until Redis has answered. Its windows follow the monotonic clock: a wall clock that is set gives and takes no points.
    const clockOffset = clock.wallTime() - clock.now()
    for (const limit of limits) {
      const context: AccountContext = { limit, clock, ledger, failOpen, clockOffset }
      this.#accounts.set(limit, new Accounts(context))
    }
    if (ledger) ledger.onReturn = () => void ledger.tell(this.#all((accounts) => accounts.recall(clock.now())))
  }

  /** Accounts kept now. */
  get size(): number {
    let size = 0
    for (const accounts of this.#accounts.values()) size += accounts.size
    return size
  }

  check(claims: readonly Claim[]): Verdict | Promise<Verdict> {
    return this.#check(claims, 'local')
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  #check(claims: readonly Claim[], source: DecisionSource): Verdict | Promise<Verdict> {
    const now = this.#clock.now()
    const accounts = claims.map((claim) => this.#open(claim))
    let decidedBy = source
    let waits = false
    let unavailable = false
    let refusedBy: Account | undefined
    let retryMs = 0
    for (let i = 0; i < claims.length; i++) {
      const account = accounts[i] as Account
      const { cost } = claims[i] as Claim
      const look = account.look(cost, now)
      if (look === 'wait') waits = true
      else if (look === 'unavailable') unavailable = true
      else if (look === 'local' && this.#ledger) decidedBy = 'fail-open'
      else if (look === 'refused') {
        const ms = account.retryMs(cost, now)
        // Of several that refuse, the one that refuses longest is worth knowing.
        if (refusedBy === undefined || ms > retryMs) {
          refusedBy = account
          retryMs = ms
        }
      }
    }
    if (refusedBy !== undefined) {
      return { admitted: false, source: decidedBy, at: now, standings: accounts, refusedBy, retryMs }
    }
    if (unavailable) return undefined
    if (waits) {
      const asks = accounts.map((account, i) => {
        const { cost } = claims[i] as Claim
        return account.look(cost, now) === 'wait' ? account.ask(cost) : undefined
      })
      // Accounts may have been forgotten meanwhile, so they are opened anew.
      return Promise.all(asks).then(() => this.#check(claims, 'redis'))
    }
    return {
      admitted: true,
      source: decidedBy,
      at: now,
      standings: accounts,
      reservations: takeAll(claims, accounts, now),
    }
  }

  #open({ limit, key, points }: Claim): Account {
    if (this.#sweep === undefined && this.#closing === undefined) {
      this.#sweep = this.#clock.after(SWEEP_MS, () => this.#runSweep())
    }
    return (this.#accounts.get(limit) as Accounts).open(key, points)
  }

  /** As long as there are accounts. */
  #runSweep(): void {
    this.#sweep = undefined
    const composers = this.#all((accounts) => accounts.sweep(this.#clock.now()))
    this.#telling = composers.length > 0 ? this.#ledger?.tell(composers) : undefined
    const again = (): void => {
      if (this.size === 0 || this.#closing !== undefined) return
      this.#sweep ??= this.#clock.after(SWEEP_MS, () => this.#runSweep())
    }
    if (this.#telling) void this.#telling.then(again)
    else again()
  }

  #all<T>(of: (accounts: Accounts) => readonly T[]): T[] {
    return [...this.#accounts.values()].flatMap(of)
  }

  async #close(): Promise<void> {
    this.#sweep?.cancel()
    // Who comes from now on gets no lease: nobody would give it back.
    this.#ledger?.retire()
    // What is granted meanwhile is used by who waits for it, or given back.
    await Promise.all([this.#telling, ...this.#all((accounts) => accounts.asking())])
    const composers = this.#all((accounts) => accounts.leave(this.#clock.now()))
    await this.#ledger?.tell(composers)
    this.#ledger?.close()
  }
}

const NONE: readonly Reservation[] = []

function takeAll(claims: readonly Claim[], accounts: readonly Account[], now: number): readonly Reservation[] {
  let reservations: Reservation[] | undefined
  for (let i = 0; i < claims.length; i++) {
    const { cost, limit } = claims[i] as Claim
    const account = accounts[i] as Account
    if (limit.countWhen === undefined) {
      account.take(cost, now)
      continue
    }
    reservations ??= []
    reservations.push(account.reserve(cost, now))
  }
  return reservations ?? NONE
}
