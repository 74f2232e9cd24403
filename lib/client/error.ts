/**
 * Why a stream ended and will not reconnect. `code` is stable: the server's own (`ERR_SSE_FORBIDDEN` …) if the response
 * has one, otherwise
 *
 * - `ERR_SSE_ENDED`: the server ended the stream and does not allow a reconnect (`sse.close`, 204). A completed stream
 *   is not an error.
 * - `ERR_SSE_REFUSED`: a status with which a retry cannot succeed (403, 404, 410 …)
 * - `ERR_SSE_NOT_A_STREAM`: the response is not a `text/event-stream`
 * - `ERR_SSE_EVENT_TOO_LARGE`: an event is larger than `maxEventChars`
 * - `ERR_SSE_OPTION_INVALID`: options that exclude each other; thrown by `createEventStream`
 */
export class EventStreamError extends Error {
  /** What happened; see above. */
  readonly code: string
  /** The HTTP status of the response that ended the stream, if a response did. */
  readonly status: number | undefined

  constructor(code: string, message: string, status?: number) {
    super(message)
    this.name = 'EventStreamError'
    this.code = code
    this.status = status
  }
}
