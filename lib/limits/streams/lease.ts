import type { Quota } from './quotas.js'

/**
 * Why a stream loses its lease: to a newer stream of the same user, or because the lease expired (the process was
 * suspended, or did not reach Redis) and the limit is reached.
 */
export type LossReason = 'evicted' | 'limited'

/** The stream that a lease is for. */
export interface LeasedStream {
  /** The id of the stream, unique over all processes. */
  readonly id: string
  /**
   * Must end the stream, or keep it from being opened. Called at most once, when the stream has lost its lease. Its
   * errors are published to diagnostics (`limiterError`).
   */
  close(reason: LossReason): unknown
}

/**
 * The right of one stream to be open, and the quotas that it takes. One object without closures, because there is one
 * for each open stream (bench `idle`).
 */
export class StreamLease {
  readonly holder: LeasedStream
  /** In ms since 1970. */
  readonly openedAt: number
  /** Shared by all leases with the same owner. Under the first one an eviction is marked. */
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

  /** The id of the stream. */
  get id(): string {
    return this.holder.id
  }

  /** Releases the quotas, without waiting and without errors. Idempotent. */
  release(): void {
    this.#onRelease(this)
  }
}
