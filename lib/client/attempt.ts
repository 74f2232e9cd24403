/** One attempt to connect or to poll. Owns its time limit and its end. Must not know what comes next. */
export interface Attempt {
  readonly signal: AbortSignal
  /** Ends the attempt. Idempotent: the first reason counts. */
  abort(reason: Error): void
  /** Ends the attempt with `reason` after `ms`. Replaces the previous limit. 0: no limit. */
  abortAfter(ms: number, reason: Error): void
  /**
   * Settles as `work` does, or rejects at the end of the attempt, even if `work` never settles (a token callback can
   * hang).
   */
  race<Result>(work: Promise<Result>): Promise<Result>
}

/** Ended by the client: closed, paused, reconnecting, or completed. */
export const INTERRUPTED = new Error('interrupted')
/** No byte of the response arrived in time. */
export const NO_DATA = new Error('no data received')
/** Neither data nor heartbeats arrived in time. */
export const SILENT = new Error('no heartbeat')

export function createAttempt(): Attempt {
  const controller = new AbortController()
  const { signal } = controller
  let timer: ReturnType<typeof setTimeout> | undefined

  function abort(reason: Error): void {
    clearTimeout(timer)
    controller.abort(reason)
  }

  return {
    signal,
    abort,
    abortAfter(ms, reason) {
      clearTimeout(timer)
      if (ms > 0) timer = setTimeout(abort, ms, reason)
    },
    race: (work) =>
      Promise.race([
        work,
        new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      ]),
  }
}
