import { reconnectDelay } from './backoff.js'
import { EventStreamError } from './error.js'

/** What is posted. It stands for all before it, so one that is lost is made good by the next. */
export interface Ack {
  readonly stream: string
  readonly cursor: string
  readonly latencyMs: number | undefined
}

export interface Acks {
  /** A stream has begun that counts acknowledgements. */
  open(stream: string, window: number): void
  /** All up to this position has been handled. */
  handled(cursor: string, latencyMs: number | undefined): void
  /** The stream has ended; the next one begins with nothing unacknowledged. */
  close(): void
}

interface Batch extends Ack {
  readonly window: number
  cursor: string
  latencyMs: number | undefined
  count: number
  failures: number
  isSending: boolean
  timer: ReturnType<typeof setTimeout> | undefined
}

const RETRY_MS = 1000

/** Acknowledges in batches: when half the window is unacknowledged, or after `ackMs`. */
export function createAcks(ackMs: number, post: (ack: Ack) => Promise<unknown>): Acks {
  let current: Batch | undefined

  function send(batch: Batch, delayMs: number): void {
    if (delayMs > 0) batch.timer ??= setTimeout(() => void flush(batch), delayMs)
    else void flush(batch)
  }

  async function flush(batch: Batch): Promise<void> {
    clearTimeout(batch.timer)
    batch.timer = undefined
    batch.isSending = true
    const { stream, cursor, latencyMs, count } = batch
    let delayMs = ackMs
    try {
      await post({ stream, cursor, latencyMs })
      batch.failures = 0
      batch.count -= count
      if (batch.count >= batch.window / 2) delayMs = 0
    } catch (error) {
      // Refused for good: the stream is no more, or there is none of whom it was asked.
      if (error instanceof EventStreamError) batch.count = 0
      // Tried again without waiting for another event: with the window used up there is none.
      delayMs = reconnectDelay(RETRY_MS, batch.failures++)
    }
    batch.isSending = false
    if (batch === current && batch.count > 0) send(batch, delayMs)
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
