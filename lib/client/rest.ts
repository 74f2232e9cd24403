/** What lies between two attempts. */
export interface Rest {
  /** Why there is to be no attempt for now. */
  readonly paused: string | undefined
  pause(reason: string): void
  /** What paused it is over: on at once, unless the server asked for more time. */
  resume(reason: string): void
  /** On at once. */
  skip(): void
  /**
   * @param floorMs the part of it that the server asked for
   * @param onRest told at the beginning of each part, and what is left of it
   */
  take(delayMs: number, floorMs: number, onRest: (leftMs: number) => void): Promise<void>
}

/** A timer that is set for longer fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

export function createRest(): Rest {
  const reasons = new Set<string>()
  /** By the monotonic clock: a wait does not change when the wall clock is set. */
  let until = 0
  let floor = 0
  let wake: (() => void) | undefined

  function sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = reasons.size > 0 ? undefined : setTimeout(resolve, Math.min(ms, LONGEST_TIMER_MS))
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
    skip() {
      until = 0
      wake?.()
    },
    async take(delayMs, floorMs, onRest) {
      let now = performance.now()
      until = now + delayMs
      floor = now + floorMs
      // Timers may be a little early.
      while (reasons.size > 0 || until - now > 1) {
        onRest(Math.round(until - now))
        await sleep(until - now)
        now = performance.now()
      }
    },
  }
}
