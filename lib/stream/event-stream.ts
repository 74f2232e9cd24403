/** What the application may do with an open stream. The implementation is `SseStream`. */

import type { Auth } from '../core/auth.js'
import type { CloseReason } from '../core/close-reasons.js'
import type { SendResult, SseEvent } from '../core/message.js'

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
   * Sends a comment, which clients ignore. A text of several lines becomes several comment lines.
   * @throws InvalidEventError `ERR_SSE_EVENT_INVALID` if `text` is not a string
   */
  comment(text: string): SendResult
  /**
   * Closes the stream. The client gets the last control event: with `completed` it does not reconnect, with most other
   * reasons it reconnects (see `CLOSE_REASONS`). Then the response ends; if the client has not read the rest within
   * `closeGraceMs`, it is destroyed. Idempotent: the first reason counts.
   * @param reason defaults to `ended`
   * @returns resolves when the response is closed, at the latest after `closeGraceMs`; never rejects
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
