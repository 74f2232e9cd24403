import type { RequestHandler } from 'express'
import type { EventStream } from './event-stream.js'
import { openResolved } from './open-stream.js'
import { resolveStreamOptions, type StreamOptions } from './options.js'
import { createPressure } from './pressure.js'

declare global {
  namespace Express {
    interface Response {
      /**
       * Opens a Server-Sent Events stream on this response; needs `sseMiddleware()`. Options given here override the
       * middleware's. See `openStream` for what it throws.
       */
      sse(options?: StreamOptions): EventStream
    }
  }
}

/**
 * Gives every route `res.sse()`. Costs one closure a request and nothing else until it is called.
 * @param options defaults for the streams opened below
 * @throws InvalidOptionError
 */
export function sseMiddleware(options: StreamOptions = {}): RequestHandler {
  const shared = { pressure: createPressure(), ...options }
  const defaults = resolveStreamOptions(shared)
  return (req, res, next) => {
    res.sse = (overrides) =>
      openResolved(req, res, overrides === undefined ? defaults : resolveStreamOptions({ ...shared, ...overrides }))
    next()
  }
}
