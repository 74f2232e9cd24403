/**
 * 401 for an invalid token or ticket ─► **failure limit** ─► the 401, or 429. Owns how long the tickets of an address
 * must pass the limit before they are looked up.
 */
import type { Request, RequestHandler, Response } from 'express'
import { BoundedMap } from '../core/bounded-map.js'
import { CALLBACK_TIMEOUT_MS, settle } from '../core/callbacks.js'
import type { Clock } from '../core/clock.js'
import { InvalidOptionError, RequestError } from '../core/errors.js'
import { addressKey, addressOf } from '../http/address.js'
import { callHandler } from '../http/answering.js'

/** Addresses in memory. The oldest are evicted. */
const MAX_BLOCKED = 10_000

export class FailureLimit {
  readonly #limit: RequestHandler
  readonly #clock: Clock
  /** By address: until when it is blocked, by the monotonic clock. */
  readonly #blockedUntil = new BoundedMap<string, number>(MAX_BLOCKED)

  /** @throws InvalidOptionError */
  constructor(limit: RequestHandler, clock: Clock) {
    if (typeof limit !== 'function') {
      throw new InvalidOptionError('failureLimit must be a request handler, for example the result of rateLimit()')
    }
    this.#limit = limit
    this.#clock = clock
  }

  /**
   * Counts a refused request if its token or ticket is invalid. Resolves when the limit has called `next()` or has
   * answered.
   */
  async count(req: Request, res: Response, error: unknown): Promise<void> {
    if (!res.headersSent && error instanceof RequestError && INVALID.has(error.code)) await this.#pass(req, res)
  }

  /** Whether tickets of this address must pass the limit before they are looked up. */
  isBlocked(req: Request): boolean {
    if (this.#blockedUntil.size === 0) return false
    return (this.#blockedUntil.get(addressKey(addressOf(req))) ?? 0) > this.#clock.now()
  }

  /** Resolves with whether the request may continue; otherwise the limit has answered it. */
  async admit(req: Request, res: Response): Promise<boolean> {
    await this.#pass(req, res)
    return !res.headersSent
  }

  async #pass(req: Request, res: Response): Promise<void> {
    const decided = (): Promise<void> => callHandler(this.#limit, req, res)
    await settle('failureLimit', decided, { clock: this.#clock, timeoutMs: CALLBACK_TIMEOUT_MS })
    const key = addressKey(addressOf(req))
    this.#blockedUntil.delete(key)
    if (!res.headersSent) return
    const retryAfterS = Number(res.getHeader('Retry-After'))
    this.#blockedUntil.set(key, this.#clock.now() + (retryAfterS > 0 ? retryAfterS : 1) * 1000)
  }
}

/** Not included: expired and revoked tokens. They are no guesses. */
const INVALID: ReadonlySet<string> = new Set(['ERR_SSE_TOKEN_INVALID', 'ERR_SSE_TICKET_INVALID'])
