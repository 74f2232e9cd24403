/**
 * handled events ─► **acks** ─► `POST …/ack`. Owns when an acknowledgement is sent and retried. Must not know how.
 *
 * Each acknowledgement covers all events before it, so a later one replaces a lost one.
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
  /** Failed attempts in a row. */
  failures: number
  isSending: boolean
  timer: ReturnType<typeof setTimeout> | undefined
}

const RETRY_MS = 1000

/**
 * Sends acknowledgements in batches: as soon as half of the window is unacknowledged, otherwise after `ackMs`.
 * @param post rejects with an `EventStreamError` if a retry cannot succeed
 */
export function createAckBatcher(ackMs: number, post: (ack: Ack) => Promise<unknown>): AckBatcher {
  let current: PendingAck | undefined

  function send(pending: PendingAck, delayMs: number): void {
    if (delayMs > 0) pending.timer ??= setTimeout(() => void flush(pending), delayMs)
    else void flush(pending)
  }

  async function flush(pending: PendingAck): Promise<void> {
    clearTimeout(pending.timer)
    pending.timer = undefined
    pending.isSending = true
    const { stream, cursor, latencyMs, count } = pending
    let delayMs = ackMs
    try {
      await post({ stream, cursor, ...(latencyMs !== undefined && { latencyMs }) })
      pending.failures = 0
      pending.count -= count
      if (pending.count >= pending.window / 2) delayMs = 0
    } catch (error) {
      // A retry cannot succeed: the stream has ended, or the server has no such route.
      if (error instanceof EventStreamError) pending.count = 0
      // Does not wait for another event: with the window used up, the server sends none.
      delayMs = reconnectDelay(RETRY_MS, pending.failures++)
    }
    pending.isSending = false
    if (pending === current && pending.count > 0) send(pending, delayMs)
  }

  return {
    open(stream, window) {
      current = {
        ...{ stream, window, cursor: '', latencyMs: undefined, count: 0, failures: 0 },
        ...{ isSending: false, timer: undefined },
      }
    },

    handled(cursor, latencyMs) {
      if (current === undefined) return
      Object.assign(current, { cursor, latencyMs })
      current.count++
      if (!current.isSending) send(current, current.failures === 0 && current.count >= current.window / 2 ? 0 : ackMs)
    },

    close() {
      clearTimeout(current?.timer)
      current = undefined
    },
  }
}
