/**
 * claims of a request ─► **limiter** ─► verdict. A claim is one limit's part in a request; a limiter decides on all of them
 * together. Must not know HTTP.
 */
import type { ResolvedLimit } from './options.js'

export interface Claim {
  readonly limit: ResolvedLimit
  readonly key: string
  readonly points: number
  readonly cost: number
}

/** How a limit stands for one key. */
export interface Standing {
  readonly limit: ResolvedLimit
  readonly points: number
  remaining(now: number): number
  resetMs(now: number): number
}

/** Who decided: this process on what it holds, Redis just now, or this process because Redis is away. */
export type DecisionSource = 'local' | 'redis' | 'fail-open'

interface Decision {
  readonly source: DecisionSource
  /** When, on the limiter's clock: what the standings are read at. */
  readonly at: number
  readonly standings: readonly Standing[]
}

export type Verdict =
  | (Decision & { readonly admitted: true })
  | (Decision & { readonly admitted: false; readonly refusedBy: Standing; readonly retryMs: number })
  /** Redis is away, and the limiter is declared `closed`. */
  | undefined

export interface Limiter {
  /**
   * Counts against all claims, or none where one refuses; claims whose limit has `countWhen` are looked at only. Does not
   * reject. No promise where nothing must be asked.
   */
  check(claims: readonly Claim[]): Verdict | Promise<Verdict>
  /** Counts one claim, over the limit as well. */
  count(claim: Claim): void
  /** Idempotent. What is leased is given back. */
  close(): Promise<void>
}
