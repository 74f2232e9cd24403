/** How streams close: the last control events of one stream, and many streams spread over a time. */

import type { Clock } from '../core/clock.js'
import { CLOSE_REASONS, type CloseReason } from '../core/close-reasons.js'
import type { Blocks } from '../wire/blocks.js'
import { closeBlock, completedBlock, expiredBlock, pollBlock, reconnectBlock } from '../wire/control.js'

/** With these reasons the events in the queue are discarded: the client does not read, or the queue was too large. */
export const DISCARDING: readonly CloseReason[] = ['client_gone', 'head', 'stalled', 'overloaded']
/** After these reasons the next stream would have the same problem, so the client should poll for a while. */
const POLL_AFTER: readonly CloseReason[] = ['stalled', 'saturated', 'overloaded']
/** After these reasons reconnecting soon will not help: the client should wait `pauseMs`. */
const PAUSE_AFTER: readonly CloseReason[] = ['overloaded', 'limited']
/** `retry:` for clients that must not reconnect but do not know `sse.close`. */
const LONGEST_RETRY_MS = 3_600_000

export interface ClosingOptions {
  readonly retryMs: number
  /** How long a client that should poll opens no streams. */
  readonly pauseMs: number
  /** Where the client may poll; `undefined`: nowhere. */
  readonly pollUrl: string | undefined
  /** In ms since 1970. */
  readonly now: number
}

/** Returns the last control events of a stream: whether, when and how its client reconnects. */
export function closingBlocks(
  reason: CloseReason,
  { retryMs, pauseMs, pollUrl, now }: ClosingOptions,
): readonly Blocks[] {
  if (reason === 'completed') return [completedBlock(retryMs)]
  if (reason === 'evicted') return [closeBlock(reason, LONGEST_RETRY_MS)]
  if (!CLOSE_REASONS[reason].reconnect) return []
  const blocks: Blocks[] = []
  if (reason === 'expired' || reason === 'revoked') blocks.push(expiredBlock(reason))
  const polls = pollUrl !== undefined && POLL_AFTER.includes(reason)
  if (polls) blocks.push(pollBlock({ url: pausedUrl(pollUrl, now + pauseMs), afterMs: spread(retryMs / 2), reason }))
  blocks.push(reconnectBlock(reason, spread(polls || PAUSE_AFTER.includes(reason) ? pauseMs : retryMs)))
  return blocks
}

/** Adds the end of the pause to the URL, so that every process that answers a poll knows it. */
function pausedUrl(url: string, until: number): string {
  return `${url}${url.includes('?') ? '&' : '?'}until=${until}`
}

/** Between 0.5 and 1.5 times `ms`, at random, so that streams closed together do not reconnect together. */
function spread(ms: number): number {
  return Math.round(ms * (0.5 + Math.random()))
}

/** Open streams. A stream that begins to close must remove itself immediately. */
interface Drainable {
  readonly size: number
  [Symbol.iterator](): Iterator<{ close(reason: CloseReason): Promise<void> }>
}

const DRAIN_STEP_MS = 50

/**
 * Closes all streams with `shutdown`, spread evenly over `windowMs`, so that their clients do not all reconnect to
 * other processes at once. The caller must refuse new streams before.
 * @returns resolves when all responses are closed, at the latest `closeGraceMs` after the window
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
    await new Promise<void>((resolve) => clock.after(Math.min(DRAIN_STEP_MS, leftMs), resolve))
  }
  await Promise.all(closing)
}
