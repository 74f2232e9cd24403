/**
 * charges of a request ─► **limiter** ─► decision. A limiter decides on all charges of a request together. Must not
 * know HTTP.
 */
import type { ResolvedLimit } from './options.js'

/** What one limit charges a request: `cost` points of the `points` under `key`. */
export interface Charge {
  readonly limit: ResolvedLimit
  readonly key: string
  readonly points: number
  readonly cost: number
}

/** The state of one limit for one key, as the RateLimit headers report it. */
export interface LimitState {
  readonly limit: ResolvedLimit
  readonly points: number
  remaining(now: number): number
  resetMs(now: number): number
}

/**
 * What the decision is based on: points that this process holds, an answer of Redis to this request, or (while Redis
 * does not answer) this process alone.
 */
export type DecisionSource = 'local' | 'redis' | 'fail-open'

/**
 * Points of one charge that are reserved until it is known whether the request counts (`countWhen`). They count until
 * then, and permanently if `settle` is never called.
 */
export interface Reservation {
  readonly limit: ResolvedLimit
  /** Consumes the points or returns them. Call it once. Does not throw and does not wait. */
  settle(counts: boolean): void
}

interface DecisionDetails {
  readonly source: DecisionSource
  /** The time of the decision on the clock of the limiter. The states are read at this time. */
  readonly at: number
  readonly states: readonly LimitState[]
}

export type LimitDecision =
  | (DecisionDetails & {
      readonly admitted: true
      /** One for each charge whose limit has `countWhen`. */
      readonly reservations: readonly Reservation[]
    })
  | (DecisionDetails & { readonly admitted: false; readonly refusedBy: LimitState; readonly retryMs: number })
  /** Redis does not answer, and `onError` is `closed`. */
  | undefined

export interface Limiter {
  /**
   * Takes the points of all charges, or none if one limit refuses. Does not reject. Returns no promise if no answer of
   * Redis is needed.
   */
  check(charges: readonly Charge[]): LimitDecision | Promise<LimitDecision>
  /** Returns all leased points. Idempotent. */
  close(): Promise<void>
}
