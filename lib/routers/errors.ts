import type { ErrorRequestHandler, Request } from 'express'
import { isError, runDetached } from '../core/callbacks.js'
import { diagnostics } from '../core/diagnostics.js'
import { type ErrorCode, InvalidOptionError, SseError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { answerError } from '../http/answering.js'
import { detailsOf, OncePerCause } from '../observe/log-lines.js'
import { type StreamOnResponse, streamOf } from '../stream/stream-of.js'

/** Options of `sseErrors`. */
export interface SseErrorsOptions {
  /**
   * Gets the errors that end here and that an operator must know: every error after a stream was opened, and those of the kit with a
   * status of 5xx, but for refusals that belong to its work (`ERR_SSE_OVERLOADED`, `ERR_SSE_CLOSED`,
   * `ERR_SSE_DELIVERY_IN_PROGRESS`). All others go to the next error handler, and in the end to Express, which prints them. `null`:
   * nobody gets them. @defaultValue prints them with `console.error`, each cause once a minute
   */
  readonly onError?: ((error: unknown, req: Request) => unknown) | null
}

/** Refusals that say nothing of a fault. */
const EXPECTED: readonly ErrorCode[] = ['ERR_SSE_OVERLOADED', 'ERR_SSE_CLOSED', 'ERR_SSE_DELIVERY_IN_PROGRESS']
const PRINT_INTERVAL_MS = 60_000

/**
 * Error middleware, mounted last: ends a stream whose route failed, answers the kit's errors with a problem document,
 * and leaves all others to the next error handler. What ends here is not silent: see `onError`.
 * @throws InvalidOptionError
 */
export function sseErrors({ onError = printer() }: SseErrorsOptions = {}): ErrorRequestHandler {
  if (onError !== null && typeof onError !== 'function') {
    throw new InvalidOptionError('onError must be a function, or null')
  }
  const report = (error: unknown, req: Request): void => {
    if (onError !== null) runDetached(() => onError(error, req), printFailure)
  }
  return (error: unknown, req, res, next) => {
    const stream = streamOf(res)
    if (stream !== undefined) {
      const expected = isAbortOf(stream, error)
      // The client learns only that there was an error; what it was stays here.
      if (!expected && diagnostics.streamError.hasSubscribers) {
        diagnostics.streamError.publish({ stream: stream.id, error })
      }
      void stream.close('error')
      if (!expected) report(error, req)
    } else if (res.headersSent) {
      // The route's own response is incomplete. Express closes the connection.
      next(error)
    } else {
      answerError(error, req, res, next)
      if (error instanceof SseError && error.status >= 500 && !EXPECTED.includes(error.code)) report(error, req)
    }
  }
}

/** A route that waits for something with `stream.signal` fails when its client has gone: that is what the signal is for. */
function isAbortOf({ closeReason }: StreamOnResponse, error: unknown): boolean {
  if (closeReason === undefined) return false
  return error === closeReason || (isError(error) && error.name === 'AbortError')
}

/** As Express prints what no handler takes. */
function printer(): (error: unknown) => void {
  const causes = new OncePerCause(PRINT_INTERVAL_MS, systemClock)
  return (error) => {
    const details = detailsOf(error)
    const suppressed = causes.admit('route', details)
    if (suppressed === undefined) return
    console.error(isError(error) ? error : details.message)
    if (suppressed > 0) console.error(`(${suppressed} errors of the same cause were not printed)`)
  }
}

function printFailure(failure: unknown): void {
  console.error(isError(failure) ? failure : `onError of sseErrors() failed: ${detailsOf(failure).message}`)
}
