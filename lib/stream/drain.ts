import type { Clock } from '../core/clock.js'
import type { CloseReason } from '../core/close-reasons.js'

/** Open streams. A stream that begins to close must leave at once. */
interface Drainable {
  readonly size: number
  [Symbol.iterator](): Iterator<{ close(reason: CloseReason): Promise<void> }>
}

const STEP_MS = 50

/**
 * Ends all streams with `shutdown`, spread evenly over the time, so that their clients do not reconnect to other processes all at once.
 * New streams must be refused before. Resolves when the responses are closed: at the latest `closeGraceMs` after the window.
 */
export async function drain(streams: Drainable, windowMs: number, clock: Clock): Promise<void> {
  const all = streams.size
  const end = clock.now() + windowMs
  const closing: Promise<void>[] = []
  for (;;) {
    const leftMs = Math.max(0, end - clock.now())
    const kept = leftMs === 0 ? 0 : Math.floor((all * leftMs) / windowMs)
    for (const stream of streams) {
      if (streams.size <= kept) break
      closing.push(stream.close('shutdown'))
    }
    if (leftMs === 0 || streams.size === 0) break
    await new Promise<void>((resolve) => clock.after(Math.min(STEP_MS, leftMs), resolve))
  }
  await Promise.all(closing)
}
