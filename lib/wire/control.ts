/**
 * The control events as blocks of a stream. Owns their bytes; the data types are in contract.ts.
 *
 * A control event has no `id` and does not move the client's cursor, with three exceptions: `sse.open` and the last
 * `sse.reset` of a group carry the position, so that no id ever includes a reset that was not announced. The `id` of
 * `sse.close` on a completed stream is not a position, see `COMPLETED_ID`.
 */
import type { CloseReason } from '../core/close-reasons.js'
import { Blocks } from './blocks.js'
import type { ControlEvents, DroppedData, ExpiredData, GapData, OpenData, PollData, ResetData } from './contract.js'
import { idLine } from './cursor.js'

/**
 * The first block of a stream: `retry:`, the `id:` from which a stream on logs starts, and `sse.open`. Clients keep the
 * id because the block has data. ASCII.
 */
export function openText(data: OpenData, retryMs: number, cursor: string | undefined): string {
  return controlText('sse.open', data, `retry: ${retryMs}\n${cursor === undefined ? '' : idLine(cursor)}`)
}

export function gapBlock(data: GapData): Blocks {
  return controlBlock('sse.gap', data)
}

/**
 * @param cursor the position after the reset; `undefined` while more resets must be announced before that position is
 * valid
 */
export function resetBlock(data: ResetData, cursor?: string): Blocks {
  return controlBlock('sse.reset', data, cursor === undefined ? '' : idLine(cursor))
}

export function droppedBlock(data: DroppedData): Blocks {
  return controlBlock('sse.dropped', data)
}

/** `retry:` repeats `afterMs` for clients that do not know the event, such as a native EventSource. */
export function reconnectBlock(reason: CloseReason, afterMs: number): Blocks {
  return controlBlock('sse.reconnect', { reason, afterMs }, `retry: ${afterMs}\n`)
}

export function expiredBlock(reason: ExpiredData['reason']): Blocks {
  return controlBlock('sse.expired', { reason })
}

export function pollBlock(data: PollData): Blocks {
  return controlBlock('sse.poll', data)
}

/** @param retryMs when clients that do not know the event reconnect */
export function closeBlock(reason: CloseReason, retryMs: number): Blocks {
  return controlBlock('sse.close', { reason }, `retry: ${retryMs}\n`)
}

/**
 * The `id:` of a completed stream. A native EventSource reconnects with it; the server answers 204, and the EventSource
 * stops (WHATWG HTML 9.2.3).
 */
export const COMPLETED_ID = 'sse.completed'

/** Ends a completed stream. @param retryMs when clients that do not know the event reconnect, to get a 204 */
export function completedBlock(retryMs: number): Blocks {
  return controlBlock('sse.close', { reason: 'completed' }, `retry: ${retryMs}\n${idLine(COMPLETED_ID)}`)
}

/** The heartbeat as a comment. Clients ignore it; proxies see that the connection is in use. */
export const HEARTBEAT = Blocks.of(Buffer.from(':\n\n'))

/** The heartbeat as an event, for a native EventSource, which does not report comments. */
export const HEARTBEAT_EVENT = controlBlock('sse.heartbeat', {})

function controlBlock<Name extends keyof ControlEvents>(name: Name, data: ControlEvents[Name], lines = ''): Blocks {
  return Blocks.of(Buffer.from(controlText(name, data, lines)))
}

/** @param lines complete lines before `event:` */
function controlText<Name extends keyof ControlEvents>(name: Name, data: ControlEvents[Name], lines: string): string {
  return `${lines}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`
}
