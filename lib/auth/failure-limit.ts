/**
 * 401 for a token or ticket that is not genuine ─► **failure limit** ─► the 401, or 429. Owns for how long the tickets of an address must
 * pass the limit before they are looked up.
 */
import type { Request, RequestHandler, Response } from 'express'
import { CALLBACK_TIMEOUT_MS, settle } from '../core/callbacks.js'
import type { Clock } from '../core/clock.js'
import { InvalidOptionError, RequestError } from '../core/errors.js'
import { addressKey, addressOf } from '../http/address.js'
import { callHandler } from '../http/answering.js'

/** Addresses remembered. The oldest make room. */
const MAX_REFUSED = 10_000

export class FailureLimit {
  readonly #limit: RequestHandler
  readonly #clock: Clock
  /** By address: until when, by the monotonic clock. */
  readonly #refusedUntil = new Map<string, number>()

  /** @throws InvalidOptionError */
  constructor(limit: RequestHandler, clock: Clock) {
    if (typeof limit !== 'function') {
      throw new InvalidOptionError('failureLimit must be a request handler, such as rateLimit() makes')
    }
    this.#limit = limit
    this.#clock = clock
  }

  /** A request was refused. Resolves when the limit has counted it, and answered or callHandler it on. */
  async count(req: Request, res: Response, error: unknown): Promise<void> {
    if (!res.headersSent && error instanceof RequestError && NOT_GENUINE.has(error.code)) await this.#pass(req, res)
  }

  /** Whether a ticket must pass the limit before it is looked up. */
  isBlocked(req: Request): boolean {
    if (this.#refusedUntil.size === 0) return false
    return (this.#refusedUntil.get(addressKey(addressOf(req))) ?? 0) > this.#clock.now()
  }

  /** Resolves with whether the request may go on: otherwise the limit has answered it. */
  async admit(req: Request, res: Response): Promise<boolean> {
    await this.#pass(req, res)
    return !res.headersSent
  }

  async #pass(req: Request, res: Response): Promise<void> {
    const decided = (): Promise<void> => callHandler(this.#limit, req, res)
    await settle('failureLimit', decided, { clock: this.#clock, timeoutMs: CALLBACK_TIMEOUT_MS })
    const key = addressKey(addressOf(req))
    this.#refusedUntil.delete(key)
    if (!res.headersSent) return
    const retryAfterS = Number(res.getHeader('Retry-After'))
    this.#refusedUntil.set(key, this.#clock.now() + (retryAfterS > 0 ? retryAfterS : 1) * 1000)
    if (this.#refusedUntil.size <= MAX_REFUSED) return
    for (const oldest of this.#refusedUntil.keys()) {
      this.#refusedUntil.delete(oldest)
      break
    }
  }
}

/** Tokens that are genuine and no longer good are not guesses. */
const NOT_GENUINE: ReadonlySet<string> = new Set(['ERR_SSE_TOKEN_INVALID', 'ERR_SSE_TICKET_INVALID'])
