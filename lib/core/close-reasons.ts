/**
 * Why a stream closes: one table for the control event, diagnostics and the metric label.
 * `reconnect`: whether the client should reconnect.
 */
export const CLOSE_REASONS = Object.freeze({
  /** The client or the network closed the connection, or the application destroyed the response. */
  client_gone: { code: 1, reconnect: false },
  /** The application called `stream.close()`, or ended the response itself. */
  ended: { code: 2, reconnect: true },
  /** The application called `stream.close('completed')`. Clients must not reconnect. */
  completed: { code: 15, reconnect: false },
  /** The stream reached its maximum age. */
  max_age: { code: 3, reconnect: true },
  /** The token expired. The client should reconnect with a new one. */
  expired: { code: 4, reconnect: true },
  /** The client read nothing for `stallMs`. */
  stalled: { code: 5, reconnect: true },
  /** The queue of the stream is full, and its policy is `disconnect`. */
  backlog_full: { code: 9, reconnect: true },
  /** The stream dropped events for `saturatedMs` because its queue was full. The client should poll. */
  saturated: { code: 10, reconnect: true },
  /** The process is overloaded (`createPressure`). */
  overloaded: { code: 11, reconnect: true },
  /** The token, its user or its tenant was revoked. */
  revoked: { code: 12, reconnect: true },
  /** The user opened more streams than the limit allows, and this was the oldest. */
  evicted: { code: 13, reconnect: false },
  /** The limit on open streams is reached (`createStreamLimits`). */
  limited: { code: 14, reconnect: true },
  /** The stream could not be opened because Redis, or the stream limits, are unavailable. */
  unavailable: { code: 16, reconnect: true },
  /** The process is shutting down. */
  shutdown: { code: 6, reconnect: true },
  /** The route failed after the headers were sent. */
  error: { code: 7, reconnect: true },
  /** The request was HEAD, which gets only headers (RFC 9110, 9.3.2). */
  head: { code: 8, reconnect: false },
} as const)

/** Why a stream ended: a key of `CLOSE_REASONS`. */
export type CloseReason = keyof typeof CLOSE_REASONS
