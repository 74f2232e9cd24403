/**
 * Why a stream ended for good. `code` is stable: the server's own (`ERR_SSE_FORBIDDEN` …) where its answer has one, else
 *
 * - `ERR_SSE_ENDED`: the server ended the stream and does not want it back (`sse.close`, 204); not where it is complete, which is no error
 * - `ERR_SSE_REFUSED`: a status that another attempt would not change (403, 404, 410 …)
 * - `ERR_SSE_NOT_A_STREAM`: the answer is no `text/event-stream`
 * - `ERR_SSE_EVENT_TOO_LARGE`: an event is larger than `maxEventChars`
 * - `ERR_SSE_OPTION_INVALID`: options that exclude each other; thrown where they are given
 */
export class EventStreamError extends Error {
  /** What happened; see above. */
  readonly code: string
  /** The HTTP status, where it was one that ended the stream. */
  readonly status: number | undefined

  constructor(code: string, message: string, status?: number) {
    super(message)
    this.name = 'EventStreamError'
    this.code = code
    this.status = status
  }
}
