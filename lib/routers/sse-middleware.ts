import type { RequestHandler } from 'express'
import { SseError } from '../core/errors.js'
import { wholeNumber } from '../core/validation.js'
import { drain } from '../stream/closing.js'
import type { EventStream } from '../stream/event-stream.js'
import { openResolved } from '../stream/open-stream.js'
import { resolveStreamOptions, type StreamOptions } from '../stream/options.js'
import { createPressure } from '../stream/pressure.js'
import type { SseStream } from '../stream/sse-stream.js'

declare global {
  namespace Express {
    interface Response {
      /**
       * Opens a Server-Sent Events stream on this response; needs `sseMiddleware()`. The options override those of the
       * middleware. Throws as `openStream`, and `ERR_SSE_CLOSED` after `SseMiddleware.close`.
       */
      sse(options?: StreamOptions): EventStream
    }
  }
}

/** The middleware that `sseMiddleware` returns. */
export interface SseMiddleware extends RequestHandler {
  /**
   * Refuses new streams and closes all streams that were opened with `res.sse()`, with `sse.reconnect`. New streams are
   * refused with `ERR_SSE_CLOSED` (503), or with `refuseWith: 'stream'` opened and closed immediately. Stop accepting
   * connections before the call. Idempotent: the options of the first call count.
   * @returns resolves when all responses are closed, at the latest `closeGraceMs` after the window
   * @throws InvalidOptionError
   */
  close(options?: {
    /**
     * The time over which the streams are closed, in ms, so that their clients do not all reconnect at once. 0: all are
     * closed immediately. @defaultValue 0
     */
    readonly windowMs?: number
  }): Promise<void>
}

/**
 * Adds `res.sse()` to every response of the routes below. Costs one closure for each request, and nothing else until it
 * is called.
 * @param options defaults for the streams
 * @throws InvalidOptionError
 */
export function sseMiddleware(options: StreamOptions = {}): SseMiddleware {
  const shared = { pressure: createPressure(), ...options }
  const defaults = resolveStreamOptions(shared)
  const streams = new Set<SseStream>()
  let closing: Promise<void> | undefined
  const handler: RequestHandler = (req, res, next) => {
    res.sse = (overrides) => {
      const resolved = overrides === undefined ? defaults : resolveStreamOptions({ ...shared, ...overrides })
      if (closing !== undefined && resolved.refuseWith === 'status') throw closedError()
      const stream = openResolved(req, res, resolved, streams)
      if (closing !== undefined) void stream.close('shutdown')
      return stream
    }
    next()
  }
  return Object.assign(handler, {
    close({ windowMs = 0 }: { readonly windowMs?: number } = {}): Promise<void> {
      closing ??= drain(streams, wholeNumber('windowMs', windowMs, 0), defaults.clock)
      return closing
    },
  })
}

function closedError(): SseError {
  return new SseError('ERR_SSE_CLOSED', 'This process is shutting down: retry', { headers: { 'Retry-After': '1' } })
}
