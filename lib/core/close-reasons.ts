/**
 * Why a stream ends: one table for the control event, the diagnostics and the metric label.
 * `reconnect` tells the client whether coming back makes sense.
 */
export const CLOSE_REASONS = Object.freeze({
  /** The connection is gone: the client or the network closed it, or the application destroyed the response. Nothing more can be sent. */
  client_gone: { code: 1, reconnect: false },
  /** The application called `stream.close()`, or ended the response itself. */
  ended: { code: 2, reconnect: true },
  /** The application called `stream.close('completed')`: the stream is complete, and clients must not reconnect. */
  completed: { code: 15, reconnect: false },
  /** The stream reached its maximum age. */
  max_age: { code: 3, reconnect: true },
  /** The token ran out; come back with a fresh one. */
  expired: { code: 4, reconnect: true },
  /** The client did not read for too long. */
  stalled: { code: 5, reconnect: true },
  /** The stream fell further behind than its queue holds, and its policy is `disconnect`. */
  backlog_full: { code: 9, reconnect: true },
  /** The stream dropped events for too long because its queue was full; its client should poll. */
  saturated: { code: 10, reconnect: true },
  /** The process has too much to do. */
  overloaded: { code: 11, reconnect: true },
  /** The token, its user or its tenant was revoked. */
  revoked: { code: 12, reconnect: true },
  /** The same user opened more streams than there may be, and this was the oldest. */
  evicted: { code: 13, reconnect: false },
  /** There are as many streams as there may be (`createStreamLimits`). */
  limited: { code: 14, reconnect: true },
  /** Redis, or what limits streams, cannot be reached, so that the stream could not be opened. */
  unavailable: { code: 16, reconnect: true },
  /** The process is going down. */
  shutdown: { code: 6, reconnect: true },
  /** The route failed after the headers were sent. */
  error: { code: 7, reconnect: true },
  /** A HEAD request: headers only, by RFC 9110. */
  head: { code: 8, reconnect: false },
} as const)

export type CloseReason = keyof typeof CLOSE_REASONS
