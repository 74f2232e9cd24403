/**
 * token ─► **tickets** ─► one-use ticket ─► `?ticket=` ─► `authenticate({ tickets })`: the route where a page that has a token gets
 * what it may put into a URL. Owns the HTTP side; what a ticket is, is in auth/tickets.ts.
 */
import express, { type NextFunction, type Request, type Response, type Router } from 'express'
import { issueTicket, pathOf } from '../auth/tickets.js'
import { tokenMissing } from '../auth/token-missing.js'
import { systemClock } from '../core/clock.js'
import { InvalidOptionError, RequestError, SseError } from '../core/errors.js'
import { wholeNumber } from '../core/options.js'
import type { Auth, Clock, KeyValueStore } from '../core/ports.js'
import { authOf } from '../http/auth-of.js'
import { sendProblem } from '../wire/problem.js'
import { bodyError } from './body-error.js'

export interface TicketsOptions {
  /** Where tickets wait to be redeemed: the one given to `authenticate({ tickets })`, in each process. */
  readonly store: KeyValueStore
  /** How long a ticket is good, in ms; never longer than the token it is made with. @defaultValue 30_000 */
  readonly ttlMs?: number
  /** For tests. @defaultValue the process's clock */
  readonly clock?: Clock
}

const MAX_BODY_BYTES = 1024

interface IssuedTicket {
  readonly ticket: string
  readonly expiresInMs: number
}

/**
 * `POST /` with `{ "path": "/api/v1/sse/conversations" }` answers `{ ticket, expiresInMs }`. The ticket is good for one GET of
 * that very path, as this server sees it, whatever the query, and makes it the caller's. Needs `authenticate()` before it.
 * @throws InvalidOptionError
 */
export function tickets({ store, ttlMs = 30_000, clock = systemClock }: TicketsOptions): Router {
  if (typeof store?.take !== 'function') throw new InvalidOptionError('tickets() needs a store')
  wholeNumber('ttlMs', ttlMs, 1000, 600_000)

  const issue = async ({ auth, body }: { auth: Auth | undefined; body: unknown }): Promise<IssuedTicket> => {
    if (auth === undefined) throw tokenMissing()
    const path = requestedPath(body)
    const expiresInMs = Math.max(1, Math.min(ttlMs, Math.floor(auth.expiresAt - clock.wallTime())))
    return { ticket: await issueTicket(store, auth, path, expiresInMs), expiresInMs }
  }

  // Reads nothing where the application's own parser has run.
  const parseBody = express.json({ type: () => true, limit: MAX_BODY_BYTES, inflate: false })
  const router = express.Router()
  router.post('/', (req: Request, res: Response, next: NextFunction): void => {
    const auth = authOf(req)
    parseBody(req, res, (failure?: unknown) => {
      if (failure !== undefined) {
        sendProblem(res, bodyError(failure, MAX_BODY_BYTES))
        return
      }
      issue({ auth, body: req.body }).then(
        (answer) => void res.set('Cache-Control', 'no-store').json(answer),
        (error: unknown) => (error instanceof SseError ? sendProblem(res, error) : next(error)),
      )
    })
  })
  return router
}

/** @throws RequestError `ERR_SSE_PAYLOAD_INVALID` */
function requestedPath(body: unknown): string {
  const path = body !== null && typeof body === 'object' && 'path' in body ? body.path : undefined
  if (typeof path === 'string' && path.startsWith('/')) return pathOf(path)
  throw new RequestError(
    'ERR_SSE_PAYLOAD_INVALID',
    'The body must be { "path": "/…" }, the path that the ticket is for',
  )
}
