/**
 * All errors of the kit. Codes are stable: match on `error.code`, never on the message.
 * Must not know HTTP frameworks: `status` is the response status if the error reaches an HTTP client.
 */

/** For each code: the HTTP status and the title of its problem document (RFC 9457). */
export const ERROR_CODES = Object.freeze({
  /** The event cannot be sent: no data, CR, LF or NUL in a field, a reserved name, or data that JSON cannot express. */
  ERR_SSE_EVENT_INVALID: { status: 400, title: 'Invalid event' },
  /** The encoded event is larger than `maxEventBytes`. */
  ERR_SSE_EVENT_TOO_LARGE: { status: 413, title: 'Event too large' },
  /** An option has an invalid value. Thrown where the option is given, before any request is served. */
  ERR_SSE_OPTION_INVALID: { status: 500, title: 'Invalid option' },
  /** A channel name is empty, too long or has a character that is not allowed; or a stream has too many channels. */
  ERR_SSE_CHANNEL_INVALID: { status: 400, title: 'Invalid channel' },
  /** The channel has ended (`Multiplexer.end`): nothing can be published on it any more. */
  ERR_SSE_CHANNEL_ENDED: { status: 409, title: 'Channel has ended' },
  /** A stream was opened after the response had started. */
  ERR_SSE_HEADERS_SENT: { status: 500, title: 'Response already started' },
  /** The method is not allowed: streams accept GET, HEAD and POST, webhooks accept GET and POST. */
  ERR_SSE_METHOD_NOT_ALLOWED: { status: 405, title: 'Method not allowed' },
  /** A query parameter has an invalid value. */
  ERR_SSE_QUERY_INVALID: { status: 400, title: 'Invalid query' },
  /** The body of an acknowledgement is not JSON of the documented form. */
  ERR_SSE_ACK_INVALID: { status: 400, title: 'Invalid acknowledgement' },
  /** No open stream has this id. */
  ERR_SSE_STREAM_UNKNOWN: { status: 404, title: 'No such stream' },
  /** A request limit is exhausted. `Retry-After` is the time until the next request is allowed. */
  ERR_SSE_RATE_LIMITED: { status: 429, title: 'Too many requests' },
  /** The limits cannot be checked because Redis is unavailable, and the limiter's `onError` is `closed`. */
  ERR_SSE_LIMITER_UNAVAILABLE: { status: 503, title: 'Limits cannot be checked' },
  /** Too many streams are open, or too many were opened within the last minute. */
  ERR_SSE_STREAM_LIMIT: { status: 429, title: 'Too many streams' },
  /** The process is overloaded and accepts no more streams. */
  ERR_SSE_OVERLOADED: { status: 503, title: 'Overloaded' },
  /**
   * The broker or store is unreachable, or too many commands wait for it. The command was not written: it has no
   * effect.
   */
  ERR_SSE_BROKER_UNAVAILABLE: { status: 503, title: 'Broker unavailable' },
  /** The command was written, but no reply arrived in time. Whether it took effect is unknown. */
  ERR_SSE_BROKER_TIMEOUT: { status: 503, title: 'Broker timed out' },
  /** The broker refused the command (READONLY, OOM, NOPERM …). It has no effect. `cause` is the broker's error. */
  ERR_SSE_BROKER_REFUSED: { status: 503, title: 'Broker refused the command' },
  /** A message on a pub/sub channel of the kit, or an entry in a log, that the kit did not write. Diagnostics only. */
  ERR_SSE_MESSAGE_FOREIGN: { status: 500, title: 'Foreign message' },
  /** The multiplexer, broker or store was closed. */
  ERR_SSE_CLOSED: { status: 503, title: 'Closed' },
  /** The request has no token. */
  ERR_SSE_TOKEN_MISSING: { status: 401, title: 'Authentication required' },
  /** The token is malformed or has a wrong signature, algorithm, issuer or audience. */
  ERR_SSE_TOKEN_INVALID: { status: 401, title: 'Invalid token' },
  /** The token's `exp` has passed. */
  ERR_SSE_TOKEN_EXPIRED: { status: 401, title: 'Token expired' },
  /** The token lacks a required claim: `exp`, the user or the tenant. */
  ERR_SSE_TOKEN_CLAIMS: { status: 401, title: 'Incomplete token' },
  /** The token, its user or its tenant was revoked. */
  ERR_SSE_TOKEN_REVOKED: { status: 401, title: 'Token revoked' },
  /** Another library set `req.auth`. Use `authenticate({ resolve })`. */
  ERR_SSE_AUTH_FOREIGN: { status: 500, title: 'Foreign req.auth' },
  /** A middleware that needs the user ran before `authenticate()`. Mount `authenticate()` first. */
  ERR_SSE_AUTH_ORDER: { status: 500, title: 'Not authenticated yet' },
  /** The ticket is unknown, used, expired, or was issued for another path, user or tenant. */
  ERR_SSE_TICKET_INVALID: { status: 401, title: 'Invalid ticket' },
  /** The user has no access to this channel, conversation or stream; see `forbidden()`. */
  ERR_SSE_FORBIDDEN: { status: 403, title: 'Forbidden' },
  /** The application requires the user to sign in; see `unauthorized()`. */
  ERR_SSE_UNAUTHORIZED: { status: 401, title: 'Authentication required' },
  /** The application has no such resource; see `notFound()`. */
  ERR_SSE_NOT_FOUND: { status: 404, title: 'Not found' },
  /** Another site caused a request that carries a cookie. */
  ERR_SSE_CROSS_SITE: { status: 403, title: 'Cross-site request refused' },
  /** The signature of a webhook is missing, malformed or wrong. */
  ERR_SSE_SIGNATURE_INVALID: { status: 401, title: 'Invalid signature' },
  /** The verification handshake of a webhook has a wrong token or mode. */
  ERR_SSE_VERIFY_TOKEN_INVALID: { status: 403, title: 'Verification refused' },
  /** The body is not JSON of the documented form: a webhook delivery, or a request for a ticket. */
  ERR_SSE_PAYLOAD_INVALID: { status: 400, title: 'Invalid payload' },
  /** The request body is larger than the limit. */
  ERR_SSE_PAYLOAD_TOO_LARGE: { status: 413, title: 'Payload too large' },
  /** The request body has a Content-Encoding, or could not be read. */
  ERR_SSE_PAYLOAD_UNREADABLE: { status: 415, title: 'Payload unreadable' },
  /** A body parser ran before `webhooks()` and consumed the signed bytes. Mount `webhooks()` before the parser. */
  ERR_SSE_RAW_BODY_CONSUMED: { status: 500, title: 'Raw body already consumed' },
  /** Another process is handling the same message now. The provider should deliver it again later. */
  ERR_SSE_DELIVERY_IN_PROGRESS: { status: 503, title: 'Delivery in progress' },
  /** A function of the application (`load`, `authorize`, `onMessage` …) did not settle in time. */
  ERR_SSE_CALLBACK_TIMEOUT: { status: 503, title: 'Application callback timed out' },
  /** A function of the application returned a value of the wrong type. */
  ERR_SSE_CALLBACK_INVALID: { status: 500, title: 'Application callback returned an invalid value' },
} as const)

/** The stable code of an error of the kit: a key of `ERROR_CODES`. */
export type ErrorCode = keyof typeof ERROR_CODES

/** The base class of all errors of the kit. Express uses its `status` and `headers` for the response. */
export class SseError extends Error {
  /** What happened, stable over versions; see `ERROR_CODES`. */
  readonly code: ErrorCode
  /** The HTTP status of the answer. */
  readonly status: number
  /** Response headers that belong to the answer. Empty if there are none. */
  readonly headers: Readonly<Record<string, string>>
  /** Further members of the problem document (RFC 9457, 3.2). Empty if there are none. */
  readonly members: Readonly<Record<string, unknown>>

  constructor(
    code: ErrorCode,
    message: string,
    options: {
      /** The error that led to this one. */
      readonly cause?: unknown
      /** Response headers, such as `Allow` or `WWW-Authenticate`. */
      readonly headers?: Readonly<Record<string, string>>
      /** Extension members of the problem document (RFC 9457, 3.2). */
      readonly members?: Readonly<Record<string, unknown>>
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.code = code
    this.status = ERROR_CODES[code].status
    this.headers = options.headers ?? {}
    this.members = options.members ?? {}
  }
}

/** An event is invalid. Publishing it again fails again: the caller must change the event. */
export class InvalidEventError extends SseError {}

/** An option is invalid. Thrown where the option is given, before any request is served. */
export class InvalidOptionError extends SseError {
  constructor(message: string) {
    super('ERR_SSE_OPTION_INVALID', message)
  }
}

/** The broker or its connection failed. A later retry may succeed. */
export class BrokerError extends SseError {
  constructor(
    code: 'ERR_SSE_BROKER_UNAVAILABLE' | 'ERR_SSE_BROKER_TIMEOUT' | 'ERR_SSE_BROKER_REFUSED' | 'ERR_SSE_CLOSED',
    message: string,
    cause?: unknown,
  ) {
    super(code, message, { cause, headers: { 'Retry-After': '1' } })
  }
}

/** The request is invalid or not allowed: the response status is 4xx. */
export class RequestError extends SseError {}

/**
 * The error that refuses a request with 403. Throw it in `channelsOf`, `authorize`, `load` or a route:
 * `throw forbidden('Not your order')`. Streams and polls are answered with the same problem document.
 * @param message is sent to the client
 */
export function forbidden(message = 'You have no access to this resource'): RequestError {
  return new RequestError('ERR_SSE_FORBIDDEN', message)
}

/**
 * Like `forbidden`, with 401: the user must sign in.
 * @param message is sent to the client
 */
export function unauthorized(message = 'Sign in first'): RequestError {
  return new RequestError('ERR_SSE_UNAUTHORIZED', message, { headers: { 'WWW-Authenticate': 'Bearer' } })
}

/**
 * Like `forbidden`, with 404. Also for a resource whose existence the user must not know.
 * @param message is sent to the client
 */
export function notFound(message = 'There is no such resource'): RequestError {
  return new RequestError('ERR_SSE_NOT_FOUND', message)
}
