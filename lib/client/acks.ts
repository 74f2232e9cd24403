/**
 * handled events ─► **acks** ─► `POST …/ack`. Owns when an acknowledgement is sent and retried. Must not know how.
 *
 * Each acknowledgement covers all events before it, so a later one replaces a lost one. But with the window used up there
 * is no later one: an acknowledgement that was forwarded to another process (202) may be lost on the way, or the process
 * may be unknown for a moment (404). Then the last one is repeated until an event arrives or the process of the stream
 * confirms it (204).
 */
import type { Ack } from '../wire/contract.js'
import { EventStreamError } from './error.js'
import { reconnectDelay } from './retry-delay.js'

export interface AckBatcher {
  /** A stream opened that counts acknowledgements. */
  open(stream: string, window: number): void
  /** All events up to this cursor have been handled. */
  handled(cursor: string, latencyMs: number | undefined): void
  /** The stream ended. The next stream starts without unacknowledged events. */
  close(): void
}

/** What one open stream has to acknowledge. */
interface PendingAck {
  readonly stream: string
  readonly window: number
  cursor: string
  latencyMs: number | undefined
  /** Events handled since the last successful acknowledgement. */
  count: number
  /** All events handled. */
  total: number
  /** How many of them the server is known to count as acknowledged. */
  confirmed: number
  /** How often the last acknowledgement was repeated. */
  repeats: number
  /** Failed attempts in a row. */
  failures: number
  isSending: boolean
  timer: ReturnType<typeof setTimeout> | undefined
  repeatTimer: ReturnType<typeof setTimeout> | undefined
}

const RETRY_MS = 1000
const MAX_REPEAT_MS = 300_000

/**
 * Sends acknowledgements in batches: as soon as half of the window is unacknowledged, otherwise after `ackMs`.
 * @param post rejects with an `EventStreamError` if a retry cannot succeed
 */
export function createAckBatcher(ackMs: number, post: (ack: Ack) => Promise<{ readonly status: number }>): AckBatcher {
  let current: PendingAck | undefined

  function send(pending: PendingAck, delayMs: number): void {
    if (delayMs > 0) pending.timer ??= setTimeout(() => void flush(pending), delayMs)
    else void flush(pending)
  }

  async function flush(pending: PendingAck): Promise<void> {
    clearTimeout(pending.timer)
    clearTimeout(pending.repeatTimer)
    pending.timer = undefined
    pending.isSending = true
    const { stream, cursor, latencyMs, count, total } = pending
    let delayMs = ackMs
    try {
      const { status } = await post({ stream, cursor, ...(latencyMs !== undefined && { latencyMs }) })
      if (status === 204) pending.confirmed = total
      pending.failures = 0
      pending.count -= count
      if (pending.count >= pending.window / 2) delayMs = 0
    } catch (error) {
      // A retry soon cannot succeed: the stream has ended, or the server has no such route.
      if (error instanceof EventStreamError) pending.count = 0
      // Does not wait for another event: with the window used up, the server sends none.
      delayMs = reconnectDelay(RETRY_MS, pending.failures++)
    }
    pending.isSending = false
    if (pending !== current) return
    if (pending.count > 0) send(pending, delayMs)
    else if (pending.total - pending.confirmed >= pending.window) repeat(pending)
  }

  function repeat(pending: PendingAck): void {
    const delayMs = Math.min(MAX_REPEAT_MS, RETRY_MS * 2 ** pending.repeats++)
    pending.repeatTimer = setTimeout(() => void flush(pending), delayMs * (0.5 + Math.random() / 2))
  }

  return {
    open(stream, window) {
      current = {
        ...{ stream, window, cursor: '', latencyMs: undefined, count: 0, total: 0, confirmed: 0, failures: 0 },
        ...{ repeats: 0, isSending: false, timer: undefined, repeatTimer: undefined },
      }
    },

    handled(cursor, latencyMs) {
      if (current === undefined) return
      Object.assign(current, { cursor, latencyMs, repeats: 0 })
      current.count++
      current.total++
      // The server sends at most a window beyond what it counts as acknowledged.
      current.confirmed = Math.max(current.confirmed, current.total - current.window)
      clearTimeout(current.repeatTimer)
      if (!current.isSending) send(current, current.failures === 0 && current.count >= current.window / 2 ? 0 : ackMs)
    },

    close() {
      clearTimeout(current?.timer)
      clearTimeout(current?.repeatTimer)
      current = undefined
    },
  }
}
