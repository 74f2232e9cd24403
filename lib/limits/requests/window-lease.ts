import { CLOCK_DRIFT, PointLease } from './point-lease.js'
import type { Message } from './scripts.js'

/**
 * A lease on a fixed window of Redis's clock. It ends with its window. The end is computed as the time at which the
 * message was sent plus the rest of the window in Redis's answer, so it is never too late.
 */
export class WindowLease extends PointLease {
  /** -1: none yet. */
  #window = -1
  /** What the other processes have consumed in the window, as Redis last answered. */
  #consumedElsewhere = 0

  protected get minLease(): number {
    return Math.ceil(this.points / 64)
  }

  protected mustRenew(): boolean {
    return false
  }

  retryMs(cost: number, now: number): number {
    if (this.#consumedElsewhere + this.consumed + cost > this.points) return Math.max(0, this.validUntil - now)
    if (this.retryAt > now) return this.retryAt - now
    // Requests in progress may return what they have reserved.
    return this.reserved > 0 ? 0 : Math.max(0, this.validUntil - now)
  }

  remaining(now: number): number {
    if (now >= this.validUntil) return this.points
    if (now < this.retryAt) return Math.max(0, this.held(now))
    return Math.max(0, this.points - this.#consumedElsewhere - this.consumed - this.reserved)
  }

  resetMs(now: number): number {
    return now < this.validUntil ? this.validUntil - now : this.limit.durationMs
  }

  isDisposable(now: number): boolean {
    return now >= this.validUntil && !this.pendingRequest
  }

  protected fitsLocally(cost: number, now: number): boolean {
    this.#advance(now)
    return cost + this.local.countIn(this.#window) <= Math.max(this.leased, this.limit.localPoints ?? this.points)
  }

  protected takeLocally(_cost: number, now: number): void {
    this.#advance(now)
  }

  protected noteTaken(cost: number): void {
    this.local.add(cost, this.#window)
  }

  protected returnPoints(cost: number): void {
    this.local.add(-cost, this.#window)
  }

  protected expireTerm(now: number): void {
    if (now >= this.validUntil) this.countReserved()
  }

  protected message(wanted: number, size: number, leaves: boolean): Message {
    const { points, leased, consumed } = this
    const window = this.#window
    const number = ++this.sentMessages
    const { durationMs } = this.limit
    return {
      command: 'sseLimitWindow',
      args: [
        this.redisKey,
        durationMs,
        points,
        this.holder,
        number,
        window,
        leased,
        consumed,
        wanted,
        size,
        leaves ? 1 : 0,
      ],
      receive: (
        [current = 0, leasedNow = 0, granted = 0, left = 0, used = 0, remainingMs = 0, redisNow = 0],
        sentAt,
      ) => {
        const now = this.context.clock.now()
        this.context.clockOffset = redisNow - now
        // The next message has returned what an older answer grants.
        if (number !== this.sentMessages) return
        if (current < this.#window) {
          // Without Redis this process began the window too early. What it has consumed since then counts in the next
          // window.
          this.retryAt = sentAt + remainingMs
          return
        }
        if (current !== this.#window) {
          this.#begin(current)
          this.validUntil = Number.NEGATIVE_INFINITY
        }
        this.leased = leasedNow
        this.reportedConsumed = window === current ? consumed : 0
        this.#consumedElsewhere = used - this.reportedConsumed
        this.validUntil = Math.max(this.validUntil, sentAt + remainingMs * (1 - CLOCK_DRIFT))
        const retryAt = used >= points ? this.validUntil : Number.NEGATIVE_INFINITY
        this.applyAnswer(granted, wanted, left, now, retryAt)
        // The pause must not last into the next window, which begins with all points.
        this.retryAt = Math.min(this.retryAt, this.validUntil)
      },
    }
  }

  /** Without Redis: begins the window that the local clock is in. */
  #advance(now: number): void {
    if (now < this.validUntil) return
    const { durationMs } = this.limit
    const { clockOffset } = this.context
    const window = Math.floor((now + clockOffset) / durationMs)
    if (window !== this.#window) {
      this.#begin(window)
      this.leased = 0
      this.reportedConsumed = 0
      this.#consumedElsewhere = 0
    }
    this.validUntil = (window + 1) * durationMs - clockOffset
  }

  #begin(window: number): void {
    this.countReserved()
    this.#window = window
    this.consumed = 0
  }
}
