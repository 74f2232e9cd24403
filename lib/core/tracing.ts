import type { LogEntry } from './message.js'

/** What a trace is told of the way of events. Nothing of it may throw or wait, whatever becomes of the trace. */
export interface Tracing {
  /** Events are about to be published as one step. @returns `undefined` where that is not traced */
  publish(channel: string, events: number): PublishTrace | undefined
  /**
   * Entries of one channel were written to streams that were not behind.
   * @param beganAt when the first was, in ms since 1970
   */
  deliver(channel: string, entries: readonly LogEntry[], streams: number, beganAt: number): void
  /** A client has handled an entry, and all before it. */
  acknowledge(channel: string, entry: LogEntry, ack: { readonly stream: string; readonly latencyMs?: number }): void
}

export interface PublishTrace {
  /** What the events carry, so that their trace goes on where they arrive; see `EncodedEvent`. */
  readonly trace: string | undefined
  /** Published, or not: `error`. */
  end(error?: unknown): void
}
