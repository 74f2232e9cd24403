import { randomUUID } from 'node:crypto'
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { failing } from '../core/callbacks.js'
import { answerError } from '../http/answering.js'
import { Exchange } from '../http/exchange.js'
import { HttpRequester } from '../http/requester.js'
import type { LossReason } from '../limits/streams/lease.js'
import { type StreamLimits, streamLimitsOption } from '../limits/streams/stream-limits.js'
import { closeStreamOf } from '../stream/stream-of.js'

/**
 * Middleware for routes that open their stream with `res.sse()`. It takes a stream lease before the route runs and
 * releases it when the exchange is over. A stream that loses its lease ends, also if the route opens it only later. A
 * multiplexer with `streamLimits` does this itself, so its routes do not need this middleware.
 *
 * Refuses with 429 `ERR_SSE_STREAM_LIMIT` if a limit is reached, and with 503 `ERR_SSE_LIMITER_UNAVAILABLE` if Redis
 * does not answer and `onError` is `closed`.
 * @throws InvalidOptionError
 */
export function limitStreams(limits: StreamLimits): RequestHandler {
  const leases = streamLimitsOption('limitStreams()', limits)
  const handle = async (req: Request, res: Response, next: NextFunction): Promise<void> => {
    const holder = { id: randomUUID(), close: (reason: LossReason) => closeStreamOf(res, reason) }
    const lease = await leases.acquire(new HttpRequester(req), holder)
    const exchange = new Exchange(req, res)
    const release = (): void => lease.release()
    exchange.onOver(release)
    // A stream counts as open until the application ends it, even if its last bytes are still being sent.
    exchange.onEnded(release)
    if (!exchange.over) next()
  }
  return (req, res, next) => {
    handle(req, res, next)
      .catch((error: unknown) => answerError(error, req, res, next))
      // What `next` throws.
      .catch(failing(next))
  }
}
