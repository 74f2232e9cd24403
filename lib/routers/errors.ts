/** error of a route ─► **error handler** ─► problem document, the end of the stream, or the next error handler. */
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
   * Called with the errors that this handler answers and that an operator must know: every error after the stream was
   * opened, and errors of the kit with a status of 5xx. Refusals in normal operation are not reported
   * (`ERR_SSE_OVERLOADED`, `ERR_SSE_CLOSED`, `ERR_SSE_DELIVERY_IN_PROGRESS`). All other errors are passed to the next
   * error handler; the last one is that of Express, which prints them. `null`: nothing is reported.
   * @defaultValue prints with `console.error`, once a minute for each cause
   */
  readonly onError?: ((error: unknown, req: Request) => unknown) | null
}

/** Refusals in normal operation. They do not indicate a fault. */
const EXPECTED: readonly ErrorCode[] = ['ERR_SSE_OVERLOADED', 'ERR_SSE_CLOSED', 'ERR_SSE_DELIVERY_IN_PROGRESS']
const PRINT_INTERVAL_MS = 60_000

/**
 * Creates error middleware, to be mounted last. If the route of an open stream fails, the stream ends. Errors of the
 * kit are answered with a problem document (RFC 9457). All other errors are passed to the next error handler. Errors
 * that this middleware answers are reported to `onError`.
 * @throws InvalidOptionError if `onError` is neither a function nor `null`
 */
export function sseErrors({ onError = printer() }: SseErrorsOptions = {}): ErrorRequestHandler {
  if (onError !== null && typeof onError !== 'function') {
    throw new InvalidOptionError('onError must be a function or null')
  }
  const report = (error: unknown, req: Request): void => {
    if (onError !== null) runDetached(() => onError(error, req), printFailure)
  }
  return (error: unknown, req, res, next) => {
    const stream = streamOf(res)
    if (stream !== undefined) {
      const expected = isAbortOf(stream, error)
      // The client is notified only that there was an error. The error itself may hold internal details.
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

/**
 * A route that waits with `stream.signal`, or pipes into `stream.writable`, fails when its client disconnects. That is
 * the purpose of both.
 */
function isAbortOf({ closeReason }: StreamOnResponse, error: unknown): boolean {
  if (closeReason === undefined) return false
  if (error instanceof SseError) return error.code === 'ERR_SSE_CLOSED'
  return error === closeReason || (isError(error) && error.name === 'AbortError')
}

/** Prints like Express does for errors without a handler. */
function printer(): (error: unknown) => void {
  const causes = new OncePerCause(PRINT_INTERVAL_MS, systemClock)
  return (error) => {
    const details = detailsOf(error)
    const suppressed = causes.admit('route', details)
    if (suppressed === undefined) return
    console.error(isError(error) ? error : details.message)
    if (suppressed > 0) console.error(`(${suppressed} more errors with the same cause were not printed)`)
  }
}

function printFailure(failure: unknown): void {
  console.error(isError(failure) ? failure : `onError of sseErrors() failed: ${detailsOf(failure).message}`)
}
