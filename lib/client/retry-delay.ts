/** How long the client waits between two attempts. */

const MAX_DELAY_MS = 30_000

/**
 * The delay before the next attempt, in ms: the server's `retry:`, doubled with each failure in a row up to 30 s. A
 * random part of up to three quarters is subtracted, so that clients of a restarted server do not reconnect at the same
 * time.
 */
export function reconnectDelay(retryMs: number, failures: number, random: () => number = Math.random): number {
  // At least 1 ms: doubling `retry: 0` would give 0, and the client would send requests without pause.
  const maxMs = Math.max(retryMs, Math.min(MAX_DELAY_MS, Math.max(1, retryMs) * 2 ** failures))
  return Math.round(maxMs * (0.25 + 0.75 * random()))
}

/** `Retry-After` in ms, from seconds or a date (RFC 9110, 10.2.3). 0 without a valid header. */
export function retryAfterMs(response: Pick<Response, 'headers'>, now: number = Date.now()): number {
  const value = response.headers.get('retry-after')
  if (value === null) return 0
  const seconds = Number(value)
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000)
  return Math.max(0, (Date.parse(value) || now) - now)
}

/** The wait between two attempts. It can be paused and ended early. */
export interface RetryDelay {
  /** The reason of a pause; `undefined` if there is none. */
  readonly paused: string | undefined
  /** Allows no attempt until `resume` is called with the same reason. */
  pause(reason: string): void
  /** Ends a pause. The next attempt follows immediately, or after `floorMs` if the server requested that. */
  resume(reason: string): void
  /** Ends the wait. The next attempt follows immediately, unless there is a pause. */
  end(): void
  /**
   * @param floorMs the part of the delay that the server requested
   * @param onWait called when the wait or a part of it starts, with the remaining time in ms
   */
  wait(delayMs: number, floorMs: number, onWait: (leftMs: number) => void): Promise<void>
}

/** A timer with a longer delay fires immediately. */
const MAX_TIMER_MS = 2 ** 31 - 1

export function createRetryDelay(): RetryDelay {
  const reasons = new Set<string>()
  /** By the monotonic clock: setting the wall clock changes no wait. */
  let until = 0
  let floor = 0
  let wake: (() => void) | undefined

  function sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = reasons.size > 0 ? undefined : setTimeout(resolve, Math.min(ms, MAX_TIMER_MS))
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  return {
    get paused() {
      return [...reasons][0]
    },
    pause(reason) {
      reasons.add(reason)
      wake?.()
    },
    resume(reason) {
      reasons.delete(reason)
      until = Math.min(until, floor)
      wake?.()
    },
    end() {
      until = 0
      wake?.()
    },
    async wait(delayMs, floorMs, onWait) {
      let now = performance.now()
      until = now + delayMs
      floor = now + floorMs
      // A timer can fire slightly early.
      while (reasons.size > 0 || until - now > 1) {
        onWait(Math.round(until - now))
        await sleep(until - now)
        now = performance.now()
      }
    },
  }
}
