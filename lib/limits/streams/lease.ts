import type { Place } from './places.js'

/**
 * Why a stream loses its place: to a newer one of the same user, or because its lease ran out (this process was stopped, or did
 * not reach Redis) and all places are taken.
 */
export type LossReason = 'evicted' | 'limited'

/** The stream that a lease is for. */
export interface LeaseHolder {
  /** Names the stream, in all processes. */
  readonly id: string
  /**
   * Must end the stream, or keep it from being opened. Called at most once, when the stream has lost its place. If it throws or
   * rejects, the error is on diagnostics (`limiterError`).
   */
  close(reason: LossReason): unknown
}

/** The right of one stream to be open. */
export interface StreamLease {
  /** Gives the places back, without waiting and without failing. Idempotent. */
  release(): void
}

/**
 * A stream that is open, or about to be, and the places that it takes. One object without closures: there is one for each open stream
 * (bench `idle`).
 */
export class Lease implements StreamLease {
  readonly holder: LeaseHolder
  /** In ms since 1970. */
  readonly openedAt: number
  /** Shared by all leases that take room there. The first is where it would be marked as evicted. */
  readonly places: readonly Place[]
  readonly #onRelease: (lease: Lease) => void

  constructor(holder: LeaseHolder, openedAt: number, places: readonly Place[], onRelease: (lease: Lease) => void) {
    this.holder = holder
    this.openedAt = openedAt
    this.places = places
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
