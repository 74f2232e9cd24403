import { channel } from 'node:diagnostics_channel'

/**
 * What the kit reports about itself, on Node's `diagnostics_channel`: one table of channels. Nothing is printed and no message
 * is built for a channel without subscribers; an `ip` is looked up when it is read. Users have this table as
 * `diagnosticsChannels`, and its names as `diagnostics`.
 */
export const diagnostics = Object.freeze({
  /**
   * `{ stream, auth?, ip?, cursor?, source }`: `cursor` is where the client's own came from, `header` or `query`; `source.counts()` is
   * a `StreamCounts`, at any time until it closes.
   */
  streamOpen: channel('express-sse-kit:stream:open'),
  /**
   * `{ stream, auth?, ip?, reason, ageMs, sent, dropped }`: where the client has gone, `ip` is only known if it was read, or streams are
   * limited by it, while the stream was open.
   */
  streamClose: channel('express-sse-kit:stream:close'),
  /** `{ code }`: a stream on channels was refused. */
  streamRefused: channel('express-sse-kit:stream:refused'),
  /** `{ stream, error }`: the response failed under a stream. */
  streamError: channel('express-sse-kit:stream:error'),
  /** `{ scope }`: a stream has to wait for tokens, longest for those of this scope of its pacing. */
  streamPaced: channel('express-sse-kit:stream:paced'),
  /** `{ stream, fullMs }`: a socket that was full for so long has room again. Often long: a client that reads slowly. */
  streamDrain: channel('express-sse-kit:stream:drain'),
  /**
   * `{ stream, reason, dropped, tokens?, auth?, ip? }`: an event was given up; `dropped` counts all of this stream, `tokens`
   * is what its pacing had left.
   */
  streamDrop: channel('express-sse-kit:stream:drop'),
  /**
   * `{ stream, auth?, cursor, buffer?, latencyMs?, delayMs? }`: a client acknowledged what it has handled; `delayMs` is since
   * the latest of it was published, where that is known.
   */
  streamAck: channel('express-sse-kit:stream:ack'),
  /** `{ channel, events, delayMs? }`: a stream or poll that was behind got events from the log; `delayMs` is the oldest's. */
  streamReplay: channel('express-sse-kit:stream:replay'),
  /** `{ events }`: a poll was answered. */
  pollAnswer: channel('express-sse-kit:poll:answer'),
  /** `{ level, cause, backlogBytes, streams }`: the process has more to do than it may (`createPressure`). */
  pressure: channel('express-sse-kit:pressure'),
  /** `{ channel, events, error? }`: a call that published was answered, or an `offer` was taken. */
  publishEnd: channel('express-sse-kit:publish:end'),
  /** `{ channel, events, error }`: events given to `offer` that were not published, or may not have been. */
  publishError: channel('express-sse-kit:publish:error'),
  /** `{ state, reason? }`: the broker became `ready` or `degraded`. */
  brokerState: channel('express-sse-kit:broker:state'),
  /** `{ operation, error }`: something failed in the background and will be tried again. */
  brokerError: channel('express-sse-kit:broker:error'),
  /** `{ command, ms, error? }`: the broker had something done by Redis, waiting and second tries included. */
  brokerCommand: channel('express-sse-kit:broker:command'),
  /**
   * `{ command, ms, error? }`: beside the broker, request limits (`limit`), stream limits (`lease`) or a store (`store`) had one
   * command or script done by Redis.
   */
  redisCommand: channel('express-sse-kit:redis:command'),
  /**
   * `{ channel, entries, streams, now }`: entries, most often all of one tick, were written to so many streams and polls that were
   * not behind; `now` in ms since 1970, as the entries' `publishedAt`.
   */
  channelDeliver: channel('express-sse-kit:channel:deliver'),
  /** `{ channel, entries }`: a log's history was read. */
  channelRead: channel('express-sse-kit:channel:read'),
  /** `{ channel, reason, … }`: a log could not be read on from where a stream stood (`sse.gap`, `sse.reset`). */
  channelLoss: channel('express-sse-kit:channel:loss'),
  /** `{ operation, error }`: a cache or de-duplication store failed and the kit went on without it or refused. */
  storeError: channel('express-sse-kit:store:error'),
  /**
   * `{ operation, error }`: Redis did not answer a request limiter, which goes on as its `onError` says; or a function of the
   * application that has no request to answer any more failed (`countWhen`, `evict`).
   */
  limiterError: channel('express-sse-kit:limiter:error'),
  /** `{ admitted, source, limit? }`: a request limiter decided; `source` is `local`, `redis`, `fail-open` or `fail-closed`. */
  limiterDecision: channel('express-sse-kit:limiter:decision'),
  /**
   * `{ operation, error }`: a function that the application gave (`load`, `authorize`, `store.get` …) did not settle in time, or returned
   * something else than its type says.
   */
  callbackError: channel('express-sse-kit:callback:error'),
  /** `{ provider, accountId, messageId?, operation, error }`: `onMessage`, `onStatus` or `onUnknown` (`operation`) failed. */
  webhookError: channel('express-sse-kit:webhook:error'),
  /** An `InboundUnknown`: a part of a delivery that is neither a message nor a status. */
  webhookUnknown: channel('express-sse-kit:webhook:unknown'),
})

/** The names of the channels above: `diagnosticsChannel.subscribe(diagnostics.brokerState, (message) => …)`. */
export const diagnosticsNames: { readonly [Key in keyof typeof diagnostics]: string } = Object.freeze(
  Object.fromEntries(Object.entries(diagnostics).map(([key, { name }]) => [key, String(name)])) as Record<
    keyof typeof diagnostics,
    string
  >,
)
