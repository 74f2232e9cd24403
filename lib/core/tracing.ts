import type { LogEntry } from './message.js'
import { madeBy } from './validation.js'

/** Traces events from publishing to acknowledgement. Created by `createTracing`, for the option `tracing`. */
export interface Tracing {
  /** The API that records the spans. */
  readonly kind: 'opentelemetry'
}

/** What a `Tracing` does. No method may throw or wait, even if the trace is lost. */
export abstract class EventTracing implements Tracing {
  readonly kind = 'opentelemetry'

  /** Called before events are published as one step. @returns `undefined` if this publish is not traced */
  abstract publish(channel: string, events: number): PublishTrace | undefined
  /**
   * Called after entries of one channel were written to its live streams.
   * @param beganAt when the first entry was written, in ms since 1970
   */
  abstract deliver(channel: string, entries: readonly LogEntry[], streams: number, beganAt: number): void
  /** Called when a client has acknowledged an entry and all before it. */
  abstract acknowledge(channel: string, entry: LogEntry, ack: TracedAck): void
}

export interface TracedAck {
  /** The id of the client's stream. */
  readonly stream: string
  /** The latency of the event that the client reported, in ms. */
  readonly latencyMs?: number
}

export interface PublishTrace {
  /** The trace context that the events carry, so that their receivers continue the trace; see `EncodedEvent`. */
  readonly trace: string | undefined
  /** Called when the events were published, or with the `error` that prevented it. */
  end(error?: unknown): void
}

/**
 * Checks the option `tracing`.
 * @throws InvalidOptionError
 */
export function resolveTracing(tracing: Tracing | undefined): EventTracing | undefined {
  return tracing === undefined ? undefined : madeBy('createTracing', 'tracing', tracing, EventTracing)
}
