import { CLOSE_REASONS, type CloseReason } from '../core/close-reasons.js'
import type { Blocks } from '../wire/blocks.js'
import { closeBlock, completedBlock, expiredBlock, pollBlock, reconnectBlock } from '../wire/control.js'

/** These end streams whose clients do not read or that had too much: what waits for them is not sent first. */
export const CUT_SHORT: readonly CloseReason[] = ['client_gone', 'head', 'stalled', 'overloaded']
/** Reasons for which the next stream would fare no better: better to poll for a while. */
const BETTER_POLLED: readonly CloseReason[] = ['stalled', 'saturated', 'overloaded']
/** Who comes back soon finds it no better. */
const CROWDED: readonly CloseReason[] = ['overloaded', 'limited']
/** How long clients that know no better than to come back should stay away for good. */
const FOR_GOOD_MS = 3_600_000

export interface GoodbyeOptions {
  readonly retryMs: number
  /** How long a client that should poll stays away from streams. */
  readonly pauseMs: number
  /** Where it may poll; `undefined`: nowhere. */
  readonly pollUrl: string | undefined
  /** In ms since 1970. */
  readonly now: number
}

/** What a client is told before its stream is ended: whether, when and how to come back. */
export function goodbye(reason: CloseReason, { retryMs, pauseMs, pollUrl, now }: GoodbyeOptions): readonly Blocks[] {
  if (reason === 'completed') return [completedBlock(retryMs)]
  if (reason === 'evicted') return [closeBlock(reason, FOR_GOOD_MS)]
  if (!CLOSE_REASONS[reason].reconnect) return []
  const blocks: Blocks[] = []
  if (reason === 'expired' || reason === 'revoked') blocks.push(expiredBlock(reason))
  const polls = pollUrl !== undefined && BETTER_POLLED.includes(reason)
  if (polls) blocks.push(pollBlock({ url: pausedUrl(pollUrl, now + pauseMs), afterMs: spread(retryMs / 2), reason }))
  blocks.push(reconnectBlock(reason, spread(polls || CROWDED.includes(reason) ? pauseMs : retryMs)))
  return blocks
}

/** The polls carry for how long: whichever process answers them knows. */
function pausedUrl(url: string, until: number): string {
  return `${url}${url.includes('?') ? '&' : '?'}until=${until}`
}

/** Between half and one and a half of the time, so that streams closed together do not return together. */
function spread(ms: number): number {
  return Math.round(ms * (0.5 + Math.random()))
}
