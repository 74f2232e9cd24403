/**
 * What the kit itself says on a stream. None of these carries an `id`, so none moves the client's cursor, except
 * `sse.open` and the last `sse.reset` of a group, which state it: an id never stands for a reset that has not been
 * announced. The `id` of `sse.close` on a stream that is complete is no position, see `COMPLETED_ID`. The names and
 * fields are the contract with clients.
 */

import type { CloseReason } from '../core/close-reasons.js'
import { Blocks } from './blocks.js'

/** Why a part of a log cannot be sent: trimmed by size, or expired. */
export type GapReason = 'trimmed'
/**
 * Why a channel starts anew: its log was lost or replaced (`log_replaced`), or the cursor is ahead of the log
 * (`cursor_ahead`): what comes next shares no history with what the client has.
 */
export type ResetReason = 'log_replaced' | 'cursor_ahead'

export interface OpenData {
  /** The stream's own id, for logs and support. */
  readonly stream: string
  /** Between heartbeats; a client that hears nothing for twice as long may take the connection for dead. 0: none. */
  readonly heartbeatMs: number
  /** How many events the server sends beyond the last one that was acknowledged. Left out: as many as there are. */
  readonly window?: number | undefined
}

/**
 * The first block: `retry:`, on a log the `id:` it starts from, and `sse.open`, with data so that clients keep the id.
 * ASCII.
 */
export function openText(data: OpenData, retryMs: number, cursor: string | undefined): string {
  const id = cursor === undefined ? '' : `id: ${cursor}\n`
  return `retry: ${retryMs}\n${id}event: sse.open\ndata: ${JSON.stringify(data)}\n\n`
}

/** Events `from` … `to` of the channel are no longer there. */
export function gapBlock(data: { channel: string; from: number; to: number; reason: GapReason }): Blocks {
  return controlBlock('sse.gap', data)
}

/**
 * The channel starts anew: what the client knows of it may be incomplete and should be loaded again.
 * @param cursor the position from here; `undefined`: further resets must be announced before it is true
 */
export function resetBlock(data: { channel: string; reason: ResetReason }, cursor?: string): Blocks {
  const id = cursor === undefined ? '' : `id: ${cursor}\n`
  return Blocks.of(Buffer.from(`${id}event: sse.reset\ndata: ${JSON.stringify(data)}\n\n`))
}

/** `count` events were dropped between the times `from` and `to` (ms since 1970). */
export function droppedBlock(data: { count: number; reason: string; from: number; to: number }): Blocks {
  return controlBlock('sse.dropped', data)
}

/** The server is about to end the stream; come back after `afterMs` (also as `retry:` for native clients). */
export function reconnectBlock(reason: CloseReason, afterMs: number): Blocks {
  const data = JSON.stringify({ reason, afterMs })
  return Blocks.of(Buffer.from(`retry: ${afterMs}\nevent: sse.reconnect\ndata: ${data}\n\n`))
}

/** The token is good no more; a fresh one is needed. */
export function expiredBlock(reason: 'expired' | 'revoked'): Blocks {
  return controlBlock('sse.expired', { reason })
}

/**
 * Poll at `url` (relative to the stream's own) after `afterMs`, until an answer says that the stream may be opened
 * again.
 */
export function pollBlock(data: { url: string; afterMs: number; reason: CloseReason }): Blocks {
  return controlBlock('sse.poll', data)
}

/** The server ends the stream and does not want it back; `retry:` keeps clients away that do not know this event. */
export function closeBlock(reason: CloseReason, retryMs: number): Blocks {
  return Blocks.of(Buffer.from(`retry: ${retryMs}\nevent: sse.close\ndata: ${JSON.stringify({ reason })}\n\n`))
}

/**
 * The `id:` of a complete stream. A native EventSource reconnects with it, and 204 then ends it for good (WHATWG HTML
 * 9.2.3).
 */
export const COMPLETED_ID = 'sse.completed'

/**
 * The stream is complete.
 * @param retryMs when clients that do not know this event reconnect, to be answered with 204
 */
export function completedBlock(retryMs: number): Blocks {
  const data = JSON.stringify({ reason: 'completed' satisfies CloseReason })
  return Blocks.of(Buffer.from(`retry: ${retryMs}\nid: ${COMPLETED_ID}\nevent: sse.close\ndata: ${data}\n\n`))
}

/** The application's heartbeat as a comment: ignored by clients, seen by proxies. */
export const HEARTBEAT = Blocks.of(Buffer.from(':\n\n'))

/** The heartbeat as an event, for native EventSource, which cannot see comments. */
export const HEARTBEAT_EVENT = controlBlock('sse.heartbeat', {})

function controlBlock(event: string, data: object): Blocks {
  return Blocks.of(Buffer.from(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`))
}
