/** The source of time. Tests replace it with a clock that they move by hand. */
export interface Clock {
  /** Monotonic time in ms, from an arbitrary start. For durations. */
  now(): number
  /** Wall-clock time in ms since 1970. It may jump forward and back. */
  wallTime(): number
  /**
   * Calls `callback` once, `delayMs` from now or a little later. Any delay up to 2⁵³ ms works. The timer does not keep
   * the process alive.
   */
  after(
    delayMs: number,
    callback: () => void,
  ): {
    /** Cancels the callback, unless it was called already. Idempotent. */
    cancel(): void
  }
}

/** A pending timer. */
export type Timer = ReturnType<Clock['after']>
