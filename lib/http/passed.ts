import type { Request, RequestHandler, Response } from 'express'
import { Exchange } from './exchange.js'

/** Resolves when a handler has passed the request on or answered it. Rejects with what it throws, rejects with or passes to `next`. */
export function passed(handler: RequestHandler, req: Request, res: Response): Promise<void> {
  return new Promise((resolve, reject) => {
    const exchange = new Exchange(req, res)
    const stop = exchange.onOver(resolve)
    // An answer behind another one on its connection is not over before its turn, and one that is not read is not over for long.
    exchange.onEnded(resolve)
    const next = (error?: unknown): void => {
      stop()
      if (error) reject(error)
      else resolve()
    }
    // It may be an async function, whose promise Express 4 would ignore; what it resolves to says nothing.
    const handled = async (): Promise<unknown> => handler(req, res, next)
    handled().catch(reject)
  })
}
