import type { LogEntry } from './message.js'

/** Traces the path of events (`createTracing`). No method may throw or wait, even if the trace is lost. */
export interface Tracing {
  /** Called before events are published as one step. @returns `undefined` if this publish is not traced */
  publish(channel: string, events: number): PublishTrace | undefined
  /**
   * Called after entries of one channel were written to its live streams.
   * @param beganAt when the first entry was written, in ms since 1970
   */
  deliver(channel: string, entries: readonly LogEntry[], streams: number, beganAt: number): void
  /** Called when a client has acknowledged an entry and all before it. */
  acknowledge(
    channel: string,
    entry: LogEntry,
    ack: {
      /** The id of the client's stream. */
      readonly stream: string
      /** The latency of the event that the client reported, in ms. */
      readonly latencyMs?: number
    },
  ): void
}

export interface PublishTrace {
  /** The trace context that the events carry, so that their receivers continue the trace; see `EncodedEvent`. */
  readonly trace: string | undefined
  /** Called when the events were published, or with the `error` that prevented it. */
  end(error?: unknown): void
}
