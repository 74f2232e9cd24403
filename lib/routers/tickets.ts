/**
 * token ─► **tickets** ─► one-use ticket ─► `?ticket=` ─► `authenticate({ tickets })`: the route where a page exchanges
 * its token for a ticket, which may stand in a URL. Owns the HTTP side. auth/tickets.ts owns the tickets.
 */
import { Router } from 'express'
import { tokenMissing } from '../auth/refusals.js'
import { issueTicket, pathOf } from '../auth/tickets.js'
import type { Auth } from '../core/auth.js'
import type { Clock } from '../core/clock.js'
import { InvalidOptionError, RequestError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { wholeNumber } from '../core/validation.js'
import { answering } from '../http/answering.js'
import { authOf } from '../http/auth-of.js'
import { readJson } from '../http/body.js'
import { Exchange } from '../http/exchange.js'
import { boundedStore } from '../store/bounded.js'
import type { KeyValueStore } from '../store/store.js'

/** Options of `tickets`. */
export interface TicketsOptions {
  /** The store of the tickets: the same that `authenticate({ tickets })` reads, in each process. */
  readonly store: KeyValueStore
  /**
   * How long a ticket is valid, in ms, from 1,000 to 600,000. A ticket never outlives the token of its request.
   * @defaultValue 30_000
   */
  readonly ttlMs?: number
  /** The clock, for tests. @defaultValue the system clock */
  readonly clock?: Clock
}

const MAX_BODY_BYTES = 1024

/**
 * Creates a router with `POST /`. A request with the body `{ "path": "/api/v1/sse/conversations" }` is answered with `{
 * ticket, expiresInMs }`. The ticket is valid for one GET of exactly that path, as this server sees it, with any query.
 * The GET is then authenticated as the caller. The router needs `authenticate()` before it.
 * @throws InvalidOptionError if `store` is missing or `ttlMs` is out of range
 */
export function tickets({ store, ttlMs = 30_000, clock = systemClock }: TicketsOptions): Router {
  if (typeof store?.take !== 'function')
    throw new InvalidOptionError('tickets() needs the option store, created by createStore()')
  wholeNumber('ttlMs', ttlMs, 1000, 600_000)
  const bounded = boundedStore(store, clock)

  const issue = async (auth: Auth | undefined, body: unknown): Promise<{ ticket: string; expiresInMs: number }> => {
    if (auth === undefined) throw tokenMissing()
    const path = requestedPath(body)
    const expiresInMs = Math.max(1, Math.min(ttlMs, Math.floor(auth.expiresAt - clock.wallTime())))
    return { ticket: await issueTicket(bounded, auth, path, expiresInMs), expiresInMs }
  }

  const router = Router()
  router.post(
    '/',
    answering(async (req, res) => {
      const body = await readJson(req, new Exchange(req, res), MAX_BODY_BYTES)
      const answer = await issue(authOf(req), body)
      return () => void res.set('Cache-Control', 'no-store').json(answer)
    }),
  )
  return router
}

/** @throws RequestError `ERR_SSE_PAYLOAD_INVALID` */
function requestedPath(body: unknown): string {
  const path = body !== null && typeof body === 'object' && 'path' in body ? body.path : undefined
  if (typeof path === 'string' && path.startsWith('/')) return pathOf(path)
  throw new RequestError(
    'ERR_SSE_PAYLOAD_INVALID',
    'The body must be { "path": "/…" }, with the path that the ticket is for',
  )
}
