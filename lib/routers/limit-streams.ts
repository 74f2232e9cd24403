import { randomUUID } from 'node:crypto'
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import type { Auth } from '../core/auth.js'
import { failing } from '../core/callbacks.js'
import { SseError } from '../core/errors.js'
import { addressOf } from '../http/address.js'
import { authOf } from '../http/auth-of.js'
import { Exchange } from '../http/exchange.js'
import { sendProblem } from '../http/problem.js'
import type { LossReason } from '../limits/streams/lease.js'
import type { StreamOwner } from '../limits/streams/places.js'
import type { StreamLimits } from '../limits/streams/stream-limits.js'
import { closeStreamOf } from '../stream/stream-of.js'

/** The address is looked up if it is counted. */
class Owner implements StreamOwner {
  readonly #req: Request

  constructor(req: Request) {
    this.#req = req
  }

  get auth(): Auth | undefined {
    return authOf(this.#req)
  }

  get ip(): string | undefined {
    return addressOf(this.#req)
  }
}

/**
 * Middleware for routes that open their stream with `res.sse()`: takes a place before the route runs, and gives it back when
 * the exchange is over. A stream that loses its place ends, also if it is opened only after that. A multiplexer with
 * `streamLimits` does so itself. Refuses as `StreamLimits.acquire` does.
 */
export function limitStreams(limits: StreamLimits): RequestHandler {
  const handle = async (req: Request, res: Response, next: NextFunction): Promise<void> => {
    const holder = { id: randomUUID(), close: (reason: LossReason) => closeStreamOf(res, reason) }
    const lease = await limits.acquire(new Owner(req), holder)
    const exchange = new Exchange(req, res)
    const release = (): void => lease.release()
    exchange.onOver(release)
    // As a stream on channels does: what is still on its way is not open any more.
    exchange.onEnded(release)
    if (!exchange.over) next()
  }
  return (req, res, next) => {
    handle(req, res, next)
      .catch((error: unknown) => {
        if (error instanceof SseError && !res.headersSent) sendProblem(res, error)
        else failing(next)(error)
      })
      .catch(failing(next))
  }
}
