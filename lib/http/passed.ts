import type { Request, RequestHandler, Response } from 'express'
import { Exchange } from './exchange.js'

/** Resolves when a handler has passed the request on or answered it. Rejects with what it throws, rejects with or passes to `next`. */
export function passed(handler: RequestHandler, req: Request, res: Response): Promise<void> {
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
    // The exchange of an answer that waits for its turn, or that the client does not read, is not over for a long time.
    exchange.onEnded(() => void handled.then(() => resolve(), reject))
  })
}
