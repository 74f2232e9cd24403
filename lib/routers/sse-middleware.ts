import type { RequestHandler } from 'express'
import { SseError } from '../core/errors.js'
import { wholeNumber } from '../core/validation.js'
import { drain } from '../stream/drain.js'
import type { EventStream } from '../stream/event-stream.js'
import { openResolved } from '../stream/open-stream.js'
import { resolveStreamOptions, type StreamOptions } from '../stream/options.js'
import { createPressure } from '../stream/pressure.js'

declare global {
  namespace Express {
    interface Response {
      /**
       * Opens a Server-Sent Events stream on this response; needs `sseMiddleware()`. Options given here override the
       * middleware's. See `openStream` for what it throws, and `SseMiddleware.close`.
       */
      sse(options?: StreamOptions): EventStream
    }
  }
}

/** What `sseMiddleware` returns. */
export interface SseMiddleware extends RequestHandler {
  /**
   * Refuses new streams (`ERR_SSE_CLOSED`, 503; with `refuseWith: 'stream'` a stream that ends at once) and ends all streams that were
   * opened with `res.sse()`, with `sse.reconnect`. Resolves when their responses are closed, at the latest `closeGraceMs` after the
   * window. Idempotent: the first call counts. Stop accepting connections before it.
   * @throws InvalidOptionError
   */
  close(options?: {
    /**
     * Over how long the ends are spread, in ms, so that clients do not come back all at once. 0: all at once.
     * @defaultValue 0
     */
    readonly windowMs?: number
  }): Promise<void>
}

/**
 * Gives every route `res.sse()`. Costs one closure a request and nothing else until it is called.
 * @param options defaults for the streams opened below
 * @throws InvalidOptionError
 */
export function sseMiddleware(options: StreamOptions = {}): SseMiddleware {
  const shared = { pressure: createPressure(), ...options }
  const defaults = resolveStreamOptions(shared)
  const streams = new Set<EventStream>()
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
  return new SseError('ERR_SSE_CLOSED', 'This process is shutting down', { headers: { 'Retry-After': '1' } })
}
