import { type Channel, channel } from 'node:diagnostics_channel'

/**
 * The kit reports what it does on Node's `diagnostics_channel`. This is the table of its channels. A message is only
 * built if its channel has subscribers, and an `ip` is only looked up when it is read. The table is exported as
 * `diagnosticsChannels`, the names of its channels as `diagnostics`.
 */
export const diagnostics = Object.freeze({
  /**
   * `{ stream, auth?, ip?, cursor?, source }`: a stream opened. `cursor`: whether the client's cursor came in a
   * `header` or the `query`. `source.counts()` returns the stream's current `StreamCounts` until the stream closes.
   */
  streamOpen: channel('express-sse-kit:stream:open'),
  /**
   * `{ stream, auth?, ip?, reason, ageMs, sent, dropped }`: a stream closed. After the client has disconnected, `ip`
   * is only known if it was read while the stream was open.
   */
  streamClose: channel('express-sse-kit:stream:close'),
  /** `{ code }`: a stream on channels was refused. */
  streamRefused: channel('express-sse-kit:stream:refused'),
  /** `{ stream, error }`: the response of a stream failed, or its route did. */
  streamError: channel('express-sse-kit:stream:error'),
  /** `{ scope }`: a stream waits for tokens. `scope` is the one whose tokens take the longest. */
  streamPaced: channel('express-sse-kit:stream:paced'),
  /**
   * `{ stream, fullMs }`: a socket that was full for `fullMs` has room again. Frequent for a client that reads
   * slowly.
   */
  streamDrain: channel('express-sse-kit:stream:drain'),
  /**
   * `{ stream, reason, dropped, tokens?, auth?, ip? }`: a stream dropped an event. `dropped` counts all drops of this
   * stream; `tokens` is what its pacing had left.
   */
  streamDrop: channel('express-sse-kit:stream:drop'),
  /**
   * `{ stream, auth?, cursor, buffer?, latencyMs?, delayMs? }`: a client acknowledged events. `delayMs`: the time
   * since the last of them was published, if known.
   */
  streamAck: channel('express-sse-kit:stream:ack'),
  /**
   * `{ channel, events, delayMs? }`: a lagging stream or a poll got events from the log. `delayMs`: the age of the
   * oldest.
   */
  streamReplay: channel('express-sse-kit:stream:replay'),
  /** `{ events }`: a poll was answered with this many events. */
  pollAnswer: channel('express-sse-kit:poll:answer'),
  /** `{ level, cause, queuedBytes, streams }`: the pressure on the process rose to `level` (`createPressure`). */
  pressure: channel('express-sse-kit:pressure'),
  /** `{ channel, events, error? }`: a publish succeeded or failed, or `offer` accepted an event. */
  publishEnd: channel('express-sse-kit:publish:end'),
  /** `{ channel, events, error }`: events given to `offer` were not published, or may not have been. */
  publishError: channel('express-sse-kit:publish:error'),
  /** `{ state }`: the broker became `ready` or `degraded`. */
  brokerState: channel('express-sse-kit:broker:state'),
  /** `{ operation, error }`: a background operation failed and will be retried. */
  brokerError: channel('express-sse-kit:broker:error'),
  /** `{ command, ms, error? }`: the broker ran a command in Redis. `ms` includes waiting and retries. */
  brokerCommand: channel('express-sse-kit:broker:command'),
  /**
   * `{ command, ms, error? }`: a request limiter (`limit`), the stream limits (`lease`) or a store (`store`) ran a
   * command or script in Redis.
   */
  redisCommand: channel('express-sse-kit:redis:command'),
  /**
   * `{ channel, entries, streams, now }`: entries, usually all of one tick, were written to this many live streams
   * and polls. `now` in ms since 1970, like the entries' `publishedAt`.
   */
  channelDeliver: channel('express-sse-kit:channel:deliver'),
  /** `{ channel, entries }`: this many entries were read from the history of a log. */
  channelRead: channel('express-sse-kit:channel:read'),
  /** `{ channel, reason, … }`: a stream could not continue at its position in the log (`sse.gap`, `sse.reset`). */
  channelLoss: channel('express-sse-kit:channel:loss'),
  /**
   * `{ operation, error }`: a store for caching or de-duplication failed. The kit continued without it or refused the
   * request.
   */
  storeError: channel('express-sse-kit:store:error'),
  /**
   * `{ operation, error }`: Redis did not answer a request limiter, which then follows its `onError`; or a function
   * of the application failed that no request waits for (`countWhen`, `evict`).
   */
  limiterError: channel('express-sse-kit:limiter:error'),
  /**
   * `{ admitted, source, limit? }`: a request limiter decided. `source` is `local`, `redis`, `fail-open` or
   * `fail-closed`.
   */
  limiterDecision: channel('express-sse-kit:limiter:decision'),
  /**
   * `{ operation, error }`: a function of the application (`load`, `authorize`, `store.get` …) did not settle in time
   * or returned a value of the wrong type.
   */
  callbackError: channel('express-sse-kit:callback:error'),
  /**
   * `{ provider, accountId, messageId?, operation, error }`: `onMessage`, `onStatus` or `onUnknown` (`operation`)
   * failed.
   */
  webhookError: channel('express-sse-kit:webhook:error'),
  /** An `InboundUnknown`: a part of a webhook delivery that is neither a message nor a status. */
  webhookUnknown: channel('express-sse-kit:webhook:unknown'),
})

/** The names of the channels: `diagnosticsChannel.subscribe(diagnostics.brokerState, (message) => …)`. */
export const diagnosticsNames: { readonly [Key in keyof typeof diagnostics]: string } = Object.freeze(
  Object.fromEntries(Object.entries(diagnostics).map(([key, { name }]) => [key, String(name)])) as Record<
    keyof typeof diagnostics,
    string
  >,
)

/** Reports that accepted events without a caller (`offer`) were not published. */
export function reportPublishError(channel: string, events: number, error: unknown): void {
  if (diagnostics.publishError.hasSubscribers) diagnostics.publishError.publish({ channel, events, error })
}

/**
 * Reports an error that no caller receives.
 * @param to one of the channels above whose messages are `{ operation, error }`
 */
export function reportTo(to: Channel, operation: string, error: unknown): void {
  if (to.hasSubscribers) to.publish({ operation, error })
}
