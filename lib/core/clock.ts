/** A timer that has been set. `cancel` is idempotent. */
export interface Timer {
  cancel(): void
}

/** Time, so that tests can turn it. */
export interface Clock {
  /** Monotonic, in ms, from an arbitrary start. */
  now(): number
  /** Ms since 1970. */
  wallTime(): number
  /** Calls back once, at or a little after `delayMs` from now; any delay up to 2⁵³ ms. Does not keep the process alive. */
  after(delayMs: number, callback: () => void): Timer
}
