import { TokenBucket } from '../token-bucket.js'
import { Account, CLOCK_DRIFT, LONGEST_PAUSE_MS, SWEEP_MS } from './account.js'
import type { Message } from './scripts.js'

/** A lease that is not renewed counts as consumed from then on. Sweeps must come in between. */
const LEASE_MS = 3 * SWEEP_MS

/** A token bucket that stands in Redis; on lease is what has been taken out of it and not used yet. */
export class BucketAccount extends Account {
  /** What stands in Redis, as far as known: as it was said, and how it fills up. */
  #tokens = this.points
  #tokensAt = this.context.clock.now()
  /** Stands in while Redis is away. */
  #local: TokenBucket | undefined

  get refillPerSecond(): number {
    return this.limit.refillPerSecond ?? (this.points * 1000) / this.limit.durationMs
  }

  /** Smaller than a window's: what is held and not used keeps the bucket from filling up. */
  protected get leastLease(): number {
    return Math.ceil(this.points / 256)
  }

  /** At the last sweep that comes in good time. */
  protected mustRenew(now: number): boolean {
    return this.validUntil - now < 1.5 * SWEEP_MS
  }

  retryMs(cost: number, now: number): number {
    const needed = Math.min(cost, this.points)
    if (now < this.retryAt)
      return Math.max(this.retryAt - now, ((needed - this.remaining(now)) * 1000) / this.refillPerSecond)
    return this.#local?.msUntil(needed, now) ?? 0
  }

  remaining(now: number): number {
    if (this.#local !== undefined && !this.context.ledger?.available)
      return Math.floor(Math.max(0, this.#local.tokens(now)))
    return Math.floor(Math.min(this.points, Math.max(0, this.held(now)) + this.#estimate(now)))
  }

  resetMs(now: number): number {
    return ((this.points - this.remaining(now)) * 1000) / this.refillPerSecond
  }

  isOver(now: number): boolean {
    if (now < this.validUntil || now < this.retryAt || this.asking) return false
    if (this.consumed > this.leased && this.context.ledger !== undefined) return false
    return this.#estimate(now) >= this.points && (this.#local?.isFull(now) ?? true)
  }

  protected localRoom(now: number): number {
    return this.#localBucket(now).tokens(now)
  }

  protected takeLocally(cost: number, now: number): void {
    this.#voidLease(now)
    this.#localBucket(now).spend(cost, now)
  }

  protected message(wanted: number, size: number, leaves: boolean): Message {
    const now = this.context.clock.now()
    this.#voidLease(now)
    const number = ++this.sentMessages
    const { points, refillPerSecond, leased, consumed } = this
    return {
      command: 'sseLimitBucket',
      args: [
        this.redisKey,
        points,
        refillPerSecond,
        this.holder,
        number,
        leased,
        consumed,
        wanted,
        size,
        LEASE_MS,
        this.#estimate(now) + Math.max(0, this.held(now)),
        leaves ? 1 : 0,
      ],
      receive: ([leasedNow = 0, granted = 0, tokens = 0, waitMs = 0], sentAt) => {
        const answeredAt = this.context.clock.now()
        // What an older answer grants was given back by the message after it.
        if (number !== this.sentMessages) return
        this.leased = leasedNow
        this.told = consumed
        this.validUntil = sentAt + LEASE_MS * (1 - CLOCK_DRIFT)
        this.#tokens = tokens
        this.#tokensAt = answeredAt
        this.answered(granted, wanted, tokens, answeredAt, answeredAt + Math.max(waitMs, this.#msToLease(tokens)))
      },
    }
  }

  /** What was left of a lease that has run out counts as consumed in Redis. */
  #voidLease(now: number): void {
    if (now >= this.validUntil) this.leased = Math.min(this.leased, this.consumed)
  }

  /** Asking for single tokens as they come costs a call each; in the bucket nothing is lost meanwhile. */
  #msToLease(tokens: number): number {
    return Math.min(LONGEST_PAUSE_MS, (Math.max(0, this.leastLease - tokens) * 1000) / this.refillPerSecond)
  }

  #estimate(now: number): number {
    return Math.min(this.points, this.#tokens + ((now - this.#tokensAt) * this.refillPerSecond) / 1000)
  }

  #localBucket(now: number): TokenBucket {
    const capacity = this.limit.localPoints ?? this.points
    const { refillPerSecond } = this
    this.#local ??= new TokenBucket({ capacity, refillPerSecond }, now)
    if (this.#local.rate.capacity !== capacity) this.#local.configure({ capacity, refillPerSecond }, now)
    return this.#local
  }
}
