/**
 * commands ─► **attempts** ─► publish script: what identifies a publish call and bounds each attempt of it. Owns that
 * Redis recognises or refuses an attempt that arrives twice or late. The script compares (publish-script.ts), and
 * redis/run.ts decides when another attempt is made.
 *
 * ```
 *   call 7 ─┬─► attempt: number 7, deadline t1 ─► published
 *           └─► attempt: number 7, deadline t2 ─► recognised by its number: returns the position, publishes nothing
 *   call 6 ───► delayed attempt ────────────────► its number is lower: publishes nothing
 *   call 5 ───► attempt after its deadline ─────► refused with LATE: Redis may have forgotten the last number
 * ```
 */
import { randomBytes } from 'node:crypto'
import type { Clock } from '../../core/clock.js'
import type { PublishReply } from './publish-script.js'

/** The minimum time that Redis remembers the last publication of a process on a channel, in ms. */
const MIN_TTL_MS = 60_000

export class PublishAttempts {
  /** Identifies this process among all publishers. */
  readonly publisherId = randomBytes(9).toString('base64url')
  /**
   * How long Redis remembers the last publication of this process on a channel, in ms. An attempt may take effect for
   * half of this time, so an attempt that arrives late is either recognised or refused.
   */
  readonly ttlMs: number
  readonly #clock: Clock
  #lastNumber = 0
  /**
   * Redis's clock minus the local one, in ms, according to the last reply; `undefined` before the first reply. In a
   * cluster the clock of the node that replied.
   */
  #redisOffsetMs: number | undefined

  constructor(commandTimeoutMs: number, clock: Clock) {
    this.ttlMs = Math.max(MIN_TTL_MS, 5 * commandTimeoutMs)
    this.#clock = clock
  }

  /** The number of the next publish call. All attempts of the call use it. */
  nextNumber(): number {
    return ++this.#lastNumber
  }

  /** The time on Redis's clock after which an attempt that is sent now has no effect; 0 if that clock is unknown. */
  get deadline(): number {
    if (this.#redisOffsetMs === undefined) return 0
    return Math.floor(this.#redisOffsetMs + this.#clock.now() + this.ttlMs / 2)
  }

  /** Awaits the reply to a call, and reads Redis's clock from it. */
  async settle(call: Promise<PublishReply>): Promise<PublishReply> {
    try {
      const reply = await call
      this.#noteRedisTime(reply[0])
      return reply
    } catch (error) {
      // LATE: the kit had a wrong time for Redis's clock. The next attempt gets a deadline by the right one.
      const [, now] = (error instanceof Error && /LATE (\d+)/.exec(error.message)) || []
      if (now !== undefined) this.#noteRedisTime(Number(now))
      throw error
    }
  }

  #noteRedisTime(now: number): void {
    this.#redisOffsetMs = now - this.#clock.now()
  }
}
