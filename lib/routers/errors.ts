import type { ErrorRequestHandler } from 'express'
import type { CloseReason } from '../core/close-reasons.js'
import { diagnostics } from '../core/diagnostics.js'
import { SseError } from '../core/errors.js'
import { sendProblem } from '../wire/problem.js'

/** What a response with an open stream carries. Structural: routers know no streams. */
interface StreamingResponse {
  readonly sseStream?: { readonly id?: unknown; close(reason: CloseReason): unknown }
}

/**
 * Error middleware, mounted last: ends a stream whose route failed, answers the kit's errors with a problem document,
 * and leaves all others to the next error handler.
 */
export function sseErrors(): ErrorRequestHandler {
  return (error: unknown, _req, res, next) => {
    const { sseStream } = res as StreamingResponse
    if (sseStream !== undefined) {
      // The client learns only that there was an error; what it was stays here.
      if (diagnostics.streamError.hasSubscribers) diagnostics.streamError.publish({ stream: sseStream.id, error })
      sseStream.close('error')
      return
    }
    if (error instanceof SseError && !res.headersSent) sendProblem(res, error)
    else next(error)
  }
}
