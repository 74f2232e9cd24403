/** What the application may do with an open stream. The implementation is `SseStream`. */

import type { WritableStream } from 'node:stream/web'
import type { Auth } from '../core/auth.js'
import type { CloseReason } from '../core/close-reasons.js'
import type { SendResult, SseEvent } from '../core/message.js'
import type { SendAllOptions, SendAllResult, SendAllSource } from './feed.js'

/** One open SSE response, as `res.sse()` and `openStream` return it. It ends when its request or response ends. */
export interface EventStream {
  /** The id of the stream in `sse.open`, diagnostics and logs. Unique over all processes. */
  readonly id: string
  /** The user who opened the stream (`req.auth`); `undefined` if the request was not authenticated. */
  readonly auth: Auth | undefined
  /** Why the stream is closing or closed. `undefined` while it is open. */
  readonly closeReason: CloseReason | undefined
  /**
   * Aborts when the stream begins to close, for any reason; `signal.reason` is the `CloseReason`. If the stream is
   * already closed when `signal` is first read, the signal aborts in a later turn of the event loop, so that a listener
   * that is added immediately is called. Thus a route that stops its timers there also stops them for a HEAD request.
   *
   * Listeners run outside every async context, because another request may have closed the stream. Use
   * `AsyncResource.bind` in a listener that needs the store of its own request.
   */
  readonly signal: AbortSignal
  /**
   * Sends an event, or queues it while the socket is full or pacing grants no tokens. The state of the stream is never
   * an error: it is the return value.
   * @throws InvalidEventError `ERR_SSE_EVENT_INVALID`, `ERR_SSE_EVENT_TOO_LARGE`: the event itself must be changed
   */
  send(event: SseEvent): SendResult
  /**
   * Sends all events of an iterable, an async iterable (what an async generator returns) or a WHATWG `ReadableStream`.
   * Requests each event only when the client takes it, so no event is dropped and none waits in the queue: of a slow
   * client the source is read slowly.
   *
   * When the stream closes or `signal` aborts, the source is released: its `return()` or `cancel()` is called, and a
   * `Readable` of Node is destroyed. An async generator that waits for something is released only after that, so let it wait with `stream.signal`. An error of
   * such a release is published on the diagnostics channel `express-sse-kit:callback:error`.
   * @returns the number of events that were sent, and why it ended. An event that was requested and not sent is lost
   * @throws the error of the source, and the errors of `send` for an invalid event. The stream stays open
   * @throws InvalidOptionError if `events` is not iterable, or `signal` is not an AbortSignal
   */
  sendAll(events: SendAllSource, options?: SendAllOptions): Promise<SendAllResult>
  /**
   * The stream as a WHATWG `WritableStream` of events, for `pipeTo`. Its back-pressure is that of `sendAll`. Closing it
   * closes the stream as `end()` does; aborting it closes the stream with the reason `error`. If the stream closes
   * first, it fails with an SseError `ERR_SSE_CLOSED`, which `sseErrors()` does not report.
   */
  readonly writable: WritableStream<SseEvent>
  /**
   * Resolves when the client takes events: the socket has room, pacing grants tokens, and no event waits in the queue.
   * After `send` has returned `queued`, wait for this before the next event.
   * @returns `false`: the stream has closed
   */
  drained(): Promise<boolean>
  /**
   * Sends the last event, if one is given, and closes the stream with `completed`: the client does not reconnect. Both
   * wait until the client has taken what was sent before, so the last event is never dropped.
   * @returns resolves when the response is closed. If the stream closes for another reason first, the event is not sent
   * @throws InvalidEventError as `send`; the stream stays open
   */
  end(event?: SseEvent): Promise<void>
  /**
   * Sends a comment, which clients ignore. A text of several lines becomes several comment lines.
   * @throws InvalidEventError `ERR_SSE_EVENT_INVALID` if `text` is not a string
   */
  comment(text: string): SendResult
  /**
   * Closes the stream. The client gets the last control event: with `completed` it does not reconnect, with most other
   * reasons it reconnects (see `CLOSE_REASONS`). Then the response ends; if the client has not read the rest within
   * `closeGraceMs`, it is destroyed. With `completed` it has until `stallMs` if that is longer (30 s if it is 0), because it
   * cannot request the rest again. Idempotent: the first reason counts.
   * @param reason defaults to `ended`
   * @returns resolves when the response is closed, at the latest after that time; never rejects
   * @throws InvalidOptionError if `reason` is not a key of `CLOSE_REASONS`
   */
  close(reason?: CloseReason): Promise<void>
  /** A snapshot of the stream's age, queue and counters. */
  status(): StreamStatus
}

/** The state of one stream, as `EventStream.status` and `Multiplexer.inspect` return it. */
export interface StreamStatus {
  /** The user who opened the stream (`req.auth`). */
  readonly auth?: Auth | undefined
  /** The address of the client. With Express, `trust proxy` applies; otherwise it is the address of the connection. */
  readonly ip?: string | undefined
  /** The id of the stream in `sse.open`, diagnostics and logs. */
  readonly id: string
  /** The time since the stream was opened, in ms. */
  readonly ageMs: number
  /** Events sent since the stream was opened. */
  readonly sent: number
  /** Events dropped since the stream was opened. */
  readonly dropped: number
  /** Events that wait in the stream's queue. */
  readonly queued: number
  /** Bytes of the events that wait in the stream's queue. */
  readonly queuedBytes: number
  /** Whether the socket is full: the client reads more slowly than the stream sends. */
  readonly full: boolean
  /** The tokens that pacing would grant now. `undefined` for a stream without pacing. */
  readonly tokens: number | undefined
}
