/**
 * Every error the kit raises, in one place. A code is stable: match on `error.code`, never on the text.
 * Must not know HTTP frameworks; `status` is only the answer that fits if the error reaches an HTTP client.
 */

/** Code → the HTTP status and the title of the problem document (RFC 9457) that answers it. */
export const ERROR_CODES = Object.freeze({
  /** An event cannot be put on the wire: no data, CR, LF or NUL in a field, a reserved name, data that is no JSON. */
  ERR_SSE_EVENT_INVALID: { status: 400, title: 'Invalid event' },
  /** An encoded event is larger than `maxEventBytes`. */
  ERR_SSE_EVENT_TOO_LARGE: { status: 413, title: 'Event too large' },
  /** An option has a value that cannot work. Thrown at construction. */
  ERR_SSE_OPTION_INVALID: { status: 500, title: 'Invalid option' },
  /** A channel name is empty, too long, has characters outside the allowed set, or there are too many of them. */
  ERR_SSE_CHANNEL_INVALID: { status: 400, title: 'Invalid channel' },
  /** A stream was asked for after the response had begun. */
  ERR_SSE_HEADERS_SENT: { status: 500, title: 'Response already started' },
  /** The method does not fit: streams are opened with GET, HEAD or POST, webhooks are GET and POST. */
  ERR_SSE_METHOD_NOT_ALLOWED: { status: 405, title: 'Method not allowed' },
  /** A parameter in the URL has a value that cannot be meant. */
  ERR_SSE_QUERY_INVALID: { status: 400, title: 'Invalid query' },
  /** An acknowledgement is no JSON of the documented form. */
  ERR_SSE_ACK_INVALID: { status: 400, title: 'Invalid acknowledgement' },
  /** No open stream has this id. */
  ERR_SSE_STREAM_UNKNOWN: { status: 404, title: 'No such stream' },
  /** A request limit is used up; `Retry-After` says until when. */
  ERR_SSE_RATE_LIMITED: { status: 429, title: 'Too many requests' },
  /** The limits cannot be checked now, and the limiter is declared `closed`. */
  ERR_SSE_LIMITER_UNAVAILABLE: { status: 503, title: 'Limits cannot be checked' },
  /** As many streams are open as may be, or too many were opened lately. */
  ERR_SSE_STREAM_LIMIT: { status: 429, title: 'Too many streams' },
  /** The process has too much to do to take another stream. */
  ERR_SSE_OVERLOADED: { status: 503, title: 'Overloaded' },
  /** The broker, or a store, cannot be reached, or too much already waits for it. The command was not sent. */
  ERR_SSE_BROKER_UNAVAILABLE: { status: 503, title: 'Broker unavailable' },
  /** The broker did not answer in time. Whether the command took effect is unknown. */
  ERR_SSE_BROKER_TIMEOUT: { status: 503, title: 'Broker timed out' },
  /** The broker refused the command (READONLY, OOM, NOPERM …). `cause` has its words. */
  ERR_SSE_BROKER_REFUSED: { status: 503, title: 'Broker refused the command' },
  /** The multiplexer, broker or store was closed. */
  ERR_SSE_CLOSED: { status: 503, title: 'Closed' },
  /** No token in the request. */
  ERR_SSE_TOKEN_MISSING: { status: 401, title: 'Authentication required' },
  /** The token is malformed, badly signed, or of an algorithm, issuer or audience that is not accepted. */
  ERR_SSE_TOKEN_INVALID: { status: 401, title: 'Invalid token' },
  /** The token's `exp` has passed. */
  ERR_SSE_TOKEN_EXPIRED: { status: 401, title: 'Token expired' },
  /** The token lacks a claim the kit needs: `exp`, the user, the tenant. */
  ERR_SSE_TOKEN_CLAIMS: { status: 401, title: 'Incomplete token' },
  /** The token, its user or its tenant has been revoked. */
  ERR_SSE_TOKEN_REVOKED: { status: 401, title: 'Token revoked' },
  /** The ticket is unknown, used, run out, or for another path, user or tenant. */
  ERR_SSE_TICKET_INVALID: { status: 401, title: 'Invalid ticket' },
  /** The caller may not have this channel or conversation. */
  ERR_SSE_FORBIDDEN: { status: 403, title: 'Forbidden' },
  /** The application refused the caller; see `unauthorized()`. */
  ERR_SSE_UNAUTHORIZED: { status: 401, title: 'Authentication required' },
  /** The application has nothing by this name; see `notFound()`. */
  ERR_SSE_NOT_FOUND: { status: 404, title: 'Not found' },
  /** A cookie came with a request that another site caused. */
  ERR_SSE_CROSS_SITE: { status: 403, title: 'Cross-site request refused' },
  /** A webhook's signature is missing, malformed or wrong. */
  ERR_SSE_SIGNATURE_INVALID: { status: 401, title: 'Invalid signature' },
  /** A webhook's verification handshake has the wrong token or mode. */
  ERR_SSE_VERIFY_TOKEN_INVALID: { status: 403, title: 'Verification refused' },
  /** A body is no JSON of the documented form: a provider's to a webhook, a request for a ticket. */
  ERR_SSE_PAYLOAD_INVALID: { status: 400, title: 'Invalid payload' },
  /** A request's body is larger than the limit. */
  ERR_SSE_PAYLOAD_TOO_LARGE: { status: 413, title: 'Payload too large' },
  /** A request's body has a content encoding, or could not be read. */
  ERR_SSE_PAYLOAD_UNREADABLE: { status: 415, title: 'Payload unreadable' },
  /** A body parser ran before `webhooks()`, so the signed bytes are gone. Mount webhooks first. */
  ERR_SSE_RAW_BODY_CONSUMED: { status: 500, title: 'Raw body already consumed' },
  /** The same message is being handled by another process right now; the provider should deliver it again later. */
  ERR_SSE_DELIVERY_IN_PROGRESS: { status: 503, title: 'Delivery in progress' },
  /** A function that the application gave (`load`, `authorize`, `onMessage` …) did not settle in time. */
  ERR_SSE_CALLBACK_TIMEOUT: { status: 503, title: 'Application callback timed out' },
  /** A function that the application gave returned something else than its type says. */
  ERR_SSE_CALLBACK_INVALID: { status: 500, title: 'Application callback returned an invalid value' },
} as const)

export type ErrorCode = keyof typeof ERROR_CODES

export interface SseErrorOptions {
  readonly cause?: unknown
  /** Response headers that belong to the answer, such as `Allow` or `WWW-Authenticate`. */
  readonly headers?: Readonly<Record<string, string>>
  /** Further members of the problem document (RFC 9457, 3.2). */
  readonly members?: Readonly<Record<string, unknown>>
}

/** The base of all errors of the kit. Express's error handling honours its `status` and `headers`. */
export class SseError extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly members: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: SseErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.code = code
    this.status = ERROR_CODES[code].status
    this.headers = options.headers ?? {}
    this.members = options.members ?? {}
  }
}

/** An event or channel name that the caller must mend. */
export class InvalidEventError extends SseError {}

/** A configuration that cannot work; thrown where it is given, before any request is served. */
export class InvalidOptionError extends SseError {
  constructor(message: string) {
    super('ERR_SSE_OPTION_INVALID', message)
  }
}

/** The log or its connection failed; worth a retry later. */
export class BrokerError extends SseError {
  constructor(
    code: 'ERR_SSE_BROKER_UNAVAILABLE' | 'ERR_SSE_BROKER_TIMEOUT' | 'ERR_SSE_BROKER_REFUSED' | 'ERR_SSE_CLOSED',
    message: string,
    cause?: unknown,
  ) {
    super(code, message, { cause, headers: { 'Retry-After': '1' } })
  }
}

/** A request the kit answers with a client error: 4xx. */
export class RequestError extends SseError {}

/**
 * Refuses a request from `channelsOf`, `authorize`, `load` or a route: `throw forbidden('Not your order')`. The answer is 403 with a
 * problem document, on streams and polls alike.
 * @param message reaches the client
 */
export function forbidden(message = 'You may not have this'): RequestError {
  return new RequestError('ERR_SSE_FORBIDDEN', message)
}

/**
 * As `forbidden`, with 401: the caller must sign in, or sign in again.
 * @param message reaches the client
 */
export function unauthorized(message = 'Sign in first'): RequestError {
  return new RequestError('ERR_SSE_UNAUTHORIZED', message, { headers: { 'WWW-Authenticate': 'Bearer' } })
}

/**
 * As `forbidden`, with 404: also for what the caller must not know to exist.
 * @param message reaches the client
 */
export function notFound(message = 'There is nothing by this name'): RequestError {
  return new RequestError('ERR_SSE_NOT_FOUND', message)
}
