/**
 * charges of a request ─► **limiter** ─► decision. A charge is one limit's part in a request; a limiter decides on all of them
 * together. Must not know HTTP.
 */
import type { ResolvedLimit } from './options.js'

export interface Charge {
  readonly limit: ResolvedLimit
  readonly key: string
  readonly points: number
  readonly cost: number
}

/** How a limit stands for one key. */
export interface LimitState {
  readonly limit: ResolvedLimit
  readonly points: number
  remaining(now: number): number
  resetMs(now: number): number
}

/** Who decided: this process on what it holds, Redis just now, or this process because Redis is away. */
export type DecisionSource = 'local' | 'redis' | 'fail-open'

/**
 * Points of one charge that are set aside until it is known whether the request counts (`countWhen`). They count until
 * then, and for good if `settle` is never called.
 */
export interface Reservation {
  readonly limit: ResolvedLimit
  /** Keeps them taken or gives them back. To be called once. Does not fail and does not wait. */
  settle(counts: boolean): void
}

interface DecisionDetails {
  readonly source: DecisionSource
  /** When, on the limiter's clock: what the states are read at. */
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
  /** Redis is away, and the limiter is declared `closed`. */
  | undefined

export interface Limiter {
  /**
   * Takes the points of all charges, or none where one refuses. Does not reject. No promise where nothing must be asked.
   */
  check(charges: readonly Charge[]): LimitDecision | Promise<LimitDecision>
  /** Idempotent. What is leased is given back. */
  close(): Promise<void>
}
