/** The stream that a lease is for. */
export interface LeaseHolder {
  /** Names the stream, in all processes. */
  readonly id: string
  /**
   * Must end the stream. Called at most once, when another stream was given its place. If it throws or rejects, the error is on
   * diagnostics (`limiterError`).
   */
  close(reason: 'evicted'): unknown
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
  /** Of its places. The first is where it would be marked as evicted. */
  readonly keys: readonly string[]
  readonly #onRelease: (lease: Lease) => void

  constructor(holder: LeaseHolder, openedAt: number, keys: readonly string[], onRelease: (lease: Lease) => void) {
    this.holder = holder
    this.openedAt = openedAt
    this.keys = keys
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
