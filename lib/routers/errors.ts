import type { ErrorRequestHandler } from 'express'
import { diagnostics } from '../core/diagnostics.js'
import { SseError } from '../core/errors.js'
import { streamOf } from '../core/stream-of.js'
import { sendProblem } from '../wire/problem.js'

/**
 * Error middleware, mounted last: ends a stream whose route failed, answers the kit's errors with a problem document,
 * and leaves all others to the next error handler.
 */
export function sseErrors(): ErrorRequestHandler {
  return (error: unknown, _req, res, next) => {
    const stream = streamOf(res)
    if (stream !== undefined) {
      // The client learns only that there was an error; what it was stays here.
      if (diagnostics.streamError.hasSubscribers) diagnostics.streamError.publish({ stream: stream.id, error })
      void stream.close('error')
      return
    }
    if (error instanceof SseError && !res.headersSent) sendProblem(res, error)
    else next(error)
  }
}
