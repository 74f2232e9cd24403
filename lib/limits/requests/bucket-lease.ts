import { TokenBucket, wholeTokens } from '../token-bucket.js'
import { CLOCK_DRIFT, LONGEST_PAUSE_MS, PointLease, SWEEP_MS } from './point-lease.js'
import type { Message } from './scripts.js'

/** A lease that is not renewed counts as consumed after this time. Several sweeps must fit into it. */
const LEASE_MS = 3 * SWEEP_MS

/** A lease on a token bucket in Redis: tokens that were taken from the bucket and are not consumed yet. */
export class BucketLease extends PointLease {
  /** The tokens in the bucket, as Redis last answered; refilled by computation. */
  #tokens = this.points
  #tokensAt = this.context.clock.now()
  /** Redis has too few tokens because other processes have leased some, which they may return at any time. */
  #heldElsewhere = false

  get refillPerSecond(): number {
    return this.limit.refillPerSecond ?? (this.points * 1000) / this.limit.durationMs
  }

  /** Smaller than that of a window, because leased tokens keep the bucket from refilling. */
  protected get minLease(): number {
    return Math.ceil(this.points / 256)
  }

  /** At the last sweep before the lease expires. */
  protected mustRenew(now: number): boolean {
    return this.validUntil - now < 1.5 * SWEEP_MS
  }

  retryMs(cost: number, now: number): number {
    const needed = Math.min(cost, this.points)
    if (now < this.retryAt) {
      const pauseMs = this.retryAt - now
      if (this.#heldElsewhere || this.reserved > 0) return pauseMs
      return Math.max(pauseMs, ((needed - this.remaining(now)) * 1000) / this.refillPerSecond)
    }
    return this.local.bucket?.msUntil(needed, now) ?? 0
  }

  remaining(now: number): number {
    if (this.local.bucket !== undefined && !this.context.connection?.available)
      return wholeTokens(Math.max(0, this.local.bucket.tokens(now)))
    return wholeTokens(Math.min(this.points, Math.max(0, this.held(now)) + this.#estimate(now)))
  }

  resetMs(now: number): number {
    return ((this.points - this.remaining(now)) * 1000) / this.refillPerSecond
  }

  isDisposable(now: number): boolean {
    if (now < this.validUntil || now < this.retryAt || this.pendingRequest || this.reserved > 0) return false
    if (this.consumed > this.leased && this.context.connection !== undefined) return false
    return this.#estimate(now) >= this.points && (this.local.bucket?.isFull(now) ?? true)
  }

  protected fitsLocally(cost: number, now: number): boolean {
    return this.#localBucket(now).has(cost, now)
  }

  protected takeLocally(cost: number, now: number): void {
    this.expireTerm(now)
    this.#localBucket(now).spend(cost, now)
  }

  protected noteTaken(): void {
    // The local bucket counts.
  }

  protected returnPoints(cost: number, local: boolean, now: number): void {
    if (local) this.#localBucket(now).giveBack(cost, now)
  }

  /** Redis counts the rest of an expired lease as consumed. */
  protected expireTerm(now: number): void {
    if (now < this.validUntil || this.leased <= this.consumed) return
    this.countReserved()
    this.leased = Math.min(this.leased, this.consumed)
  }

  protected message(wanted: number, size: number, leaves: boolean): Message {
    const now = this.context.clock.now()
    this.expireTerm(now)
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
        // The next message has returned what an older answer grants.
        if (number !== this.sentMessages) return
        this.leased = leasedNow
        this.reportedConsumed = consumed
        this.validUntil = sentAt + LEASE_MS * (1 - CLOCK_DRIFT)
        this.#tokens = tokens
        this.#tokensAt = answeredAt
        this.#heldElsewhere = granted < wanted && waitMs === 0
        this.applyAnswer(granted, wanted, tokens, answeredAt, answeredAt + Math.max(waitMs, this.#msToLease(tokens)))
      },
    }
  }

  /** Requesting single tokens as they are added would cost a command each. The bucket keeps them meanwhile. */
  #msToLease(tokens: number): number {
    return Math.min(LONGEST_PAUSE_MS, (Math.max(0, this.minLease - tokens) * 1000) / this.refillPerSecond)
  }

  #estimate(now: number): number {
    return Math.min(this.points, this.#tokens + ((now - this.#tokensAt) * this.refillPerSecond) / 1000)
  }

  #localBucket(now: number): TokenBucket {
    const capacity = this.limit.localPoints ?? this.points
    // A smaller capacity refills proportionally more slowly.
    const refillPerSecond = this.refillPerSecond * Math.min(1, capacity / this.points)
    this.local.bucket ??= new TokenBucket({ capacity, refillPerSecond }, now)
    const { rate } = this.local.bucket
    if (rate.capacity !== capacity || rate.refillPerSecond !== refillPerSecond) {
      this.local.bucket.configure({ capacity, refillPerSecond }, now)
    }
    return this.local.bucket
  }
}
