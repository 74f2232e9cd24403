import type { Quota } from './quotas.js'

/**
 * Why a stream loses its quota: to a newer one of the same user, or because its lease ran out (this process was stopped, or did
 * not reach Redis) and all quotas are taken.
 */
export type LossReason = 'evicted' | 'limited'

/** The stream that a lease is for. */
export interface LeasedStream {
  /** Names the stream, in all processes. */
  readonly id: string
  /**
   * Must end the stream, or keep it from being opened. Called at most once, when the stream has lost its quota. If it throws or
   * rejects, the error is on diagnostics (`limiterError`).
   */
  close(reason: LossReason): unknown
}

/** The right of one stream to be open. */
export interface ReleasableLease {
  /** Gives the quotas back, without waiting and without failing. Idempotent. */
  release(): void
}

/**
 * A stream that is open, or about to be, and the quotas that it takes. One object without closures: there is one for each open stream
 * (bench `idle`).
 */
export class StreamLease implements ReleasableLease {
  readonly holder: LeasedStream
  /** In ms since 1970. */
  readonly openedAt: number
  /** Shared by all leases that take room there. The first is where it would be marked as evicted. */
  readonly quotas: readonly Quota[]
  readonly #onRelease: (lease: StreamLease) => void

  constructor(
    holder: LeasedStream,
    openedAt: number,
    quotas: readonly Quota[],
    onRelease: (lease: StreamLease) => void,
  ) {
    this.holder = holder
    this.openedAt = openedAt
    this.quotas = quotas
    this.#onRelease = onRelease
  }

  /** The stream's. */
  get id(): string {
    return this.holder.id
  }

  release(): void {
    this.#onRelease(this)
  }
}
