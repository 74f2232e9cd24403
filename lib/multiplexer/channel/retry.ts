import type { Clock } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'

const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 2000

/**
 * Tries until it succeeds or is no longer wanted, with growing, jittered pauses. Every failure goes to diagnostics.
 * @returns `undefined` when it is no longer wanted
 */
export async function retry<T>(
  clock: Clock,
  operation: string,
  wanted: () => boolean,
  attempt: () => Promise<T>,
): Promise<T | undefined> {
  for (let pauseMs = FIRST_PAUSE_MS; wanted(); pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    try {
      return await attempt()
    } catch (error) {
      if (diagnostics.brokerError.hasSubscribers) diagnostics.brokerError.publish({ operation, error })
    }
    await new Promise<void>((resolve) => {
      clock.after(pauseMs * (0.5 + Math.random() / 2), resolve)
    })
  }
  return undefined
}
