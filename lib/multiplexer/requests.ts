import type { Request, Response } from 'express'
import { RequestError, SseError } from '../core/errors.js'
import { sendProblem } from '../wire/problem.js'
import type { StreamHandler } from './options.js'

/** Answers the kit's errors, and leaves others to Express. */
export function answering(answer: (req: Request, res: Response) => Promise<void>): StreamHandler {
  return async (req, res, next) => {
    try {
      await answer(req, res)
    } catch (error) {
      if (error instanceof SseError && !res.headersSent) sendProblem(res, error)
      else next(error)
    }
  }
}

/** The window a client asks for, within the bound. @throws RequestError `ERR_SSE_QUERY_INVALID` */
export function windowOf(query: URLSearchParams, max: number, replays: boolean): number | undefined {
  const window = query.get('window')
  if (window === null) return undefined
  if (!/^[1-9]\d{0,8}$/.test(window)) {
    throw new RequestError('ERR_SSE_QUERY_INVALID', 'window must be a whole number of events from 1')
  }
  if (max === 0 || !replays) throw new RequestError('ERR_SSE_QUERY_INVALID', 'This stream has no window')
  return Math.min(Number(window), max)
}
