/**
 * handler ─► **answering** ─► the response, a problem document, or `next`. Owns what happens when a handler settles:
 * exactly one of them, or nothing if the client already has another response (of a time-out middleware, for example).
 */
import type { Request, RequestHandler, Response } from 'express'
import { failing, toError } from '../core/callbacks.js'
import { SseError } from '../core/errors.js'
import { type AnyRequest, type AnyResponse, Exchange } from './exchange.js'
import { sendProblem } from './problem.js'

/** Writes the response. */
export type Answer = (res: Response) => void

/**
 * Wraps an error of a function of the application. The error goes to `next`, even if it is an error of the kit (such as
 * one that `publish` rejected with): the client must not get it as the kit's own response.
 */
export class AppFailure extends Error {
  constructor(name: string, reason: unknown) {
    super(`${name} failed`, { cause: toError(name, reason) })
  }
}

/** Express's `next`, or that of another framework. */
export type Next = (error?: unknown) => unknown

/**
 * Ends a request whose handler failed. The only place that decides what becomes of an error:
 *
 * - an error of the application (`AppFailure`, or any error that is not of the kit) goes to `next`;
 * - an error of the kit becomes a problem document;
 * - if the response has begun, an error of the kit with a status of 5xx goes to `next`, so that the operator gets it,
 *   and any other is ignored, because the client has its response;
 * - if the client has left, an error of the kit is ignored.
 *
 * It never throws: an error of writing the problem document goes to `next` too.
 * @param answers the class of errors of the kit that become problem documents; all others go to `next`
 */
export function answerError(
  error: unknown,
  req: AnyRequest,
  res: AnyResponse,
  next: Next,
  answers: typeof SseError = SseError,
): void {
  const fail = failing(next)
  if (error instanceof AppFailure) fail(error.cause)
  else if (!(error instanceof answers)) fail(error)
  else if (res.headersSent) {
    if (error.status >= 500) fail(error)
  } else if (!new Exchange(req, res).over) {
    try {
      sendProblem(res, error)
    } catch (failure) {
      fail(failure)
    }
  }
}

/** A request handler from an async function. Not an `async` handler, because Express 4 ignores rejected promises. */
export function answering(handle: (req: Request, res: Response) => Promise<Answer>): RequestHandler {
  return (req, res, next) => {
    handle(req, res)
      .then((answer) => {
        if (!res.headersSent && !new Exchange(req, res).over) answer(res)
      })
      .catch((error: unknown) => answerError(error, req, res, next))
      // What `next` throws.
      .catch(failing(next))
  }
}

/**
 * Calls a handler of the application. Resolves when the handler has called `next()` or has ended the response.
 * @throws Error that the handler throws, rejects with or passes to `next`
 */
export function callHandler(handler: RequestHandler, req: Request, res: Response): Promise<void> {
  return new Promise((resolve, reject) => {
    const exchange = new Exchange(req, res)
    const stop = exchange.onOver(resolve)
    const next = (error?: unknown): void => {
      stop()
      if (error) reject(error)
      else resolve()
    }
    // Express 4 ignores the promise of an async handler. Its value has no meaning.
    const handled = (async (): Promise<unknown> => handler(req, res, next))()
    handled.catch(reject)
    // The exchange of a response that waits for its turn, or that the client does not read, is not over for a long
    // time.
    exchange.onEnded(() => void handled.then(() => resolve(), reject))
  })
}
