/**
 * async handler ─► **answering** ─► the answer, a problem document, or `next`. Owns what becomes of a handler's outcome: exactly one
 * of them, nothing where another handler has answered meanwhile (a time-out middleware), and no rejection that nothing handles.
 */
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { failing, toError } from '../core/callbacks.js'
import { SseError } from '../core/errors.js'
import { Exchange } from '../http/exchange.js'
import { sendProblem } from './problem.js'

/** Writes the answer. */
export type Answer = (res: Response) => void

/** Marks an error of the application, which may well be one of the kit's (of `publish`): it goes to `next` unanswered. */
export class AppFailure extends Error {
  constructor(name: string, reason: unknown) {
    super(`${name} failed`, { cause: toError(name, reason) })
  }
}

/** Errors of the kit are answered here, all others go to Express. Not an `async` handler, for Express 4. */
export function answering(handle: (req: Request, res: Response) => Promise<Answer>): RequestHandler {
  return (req, res, next) => {
    handle(req, res)
      .then((answer) => {
        if (!res.headersSent && !new Exchange(req, res).over) answer(res)
      })
      .catch((error: unknown) => fail(error, res, next))
      // A problem document that cannot be written.
      .catch(failing(next))
  }
}

function fail(error: unknown, res: Response, next: NextFunction): void {
  if (error instanceof AppFailure) next(error.cause)
  else if (!(error instanceof SseError)) failing(next)(error)
  else if (!res.headersSent) sendProblem(res, error)
  // The client has another answer already; what the server did wrong the application must still know.
  else if (error.status >= 500) next(error)
}
