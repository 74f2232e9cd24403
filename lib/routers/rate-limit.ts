/**
 * request ─► **middleware** ─► charges ─► limiter ─► next, 429 or 503. Owns the HTTP side of request limits.
 */
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { answeredAtOnce, failing } from '../core/callbacks.js'
import { diagnostics, reportTo } from '../core/diagnostics.js'
import { RequestError, SseError } from '../core/errors.js'
import { LeaseClock } from '../core/lease-clock.js'
import { Exchange } from '../http/exchange.js'
import { answerProblem, type ProblemAnswer, problemAnswer } from '../http/problem.js'
import { chargesOf } from '../limits/requests/charges.js'
import { ExactLimiter } from '../limits/requests/exact-limiter.js'
import { RateLimitHeaders } from '../limits/requests/headers.js'
import { LeaseLimiter } from '../limits/requests/lease-limiter.js'
import type { Charge, LimitDecision, Limiter, Reservation } from '../limits/requests/limiter.js'
import { LimiterConnection } from '../limits/requests/limiter-connection.js'
import {
  type RateLimitOptions,
  type ResolvedLimit,
  type ResolvedRateLimit,
  resolveRateLimit,
} from '../limits/requests/options.js'

/** The middleware that `rateLimit` returns. */
export type RateLimitHandler = RequestHandler & {
  /** Returns the leased points and closes the connection, unless it was passed as an option. Idempotent. */
  close(): Promise<void>
}

/**
 * Limits requests by user, tenant, address or a string of the application; with one limit or several. If the points are
 * leased, which is the usual case, a request is decided without a call to Redis and without a promise.
 *
 * As long as Redis answers and keeps its data, all processes together admit at most `points` in a window (token bucket:
 * `points` + refill × span over any span). A request may be refused although points are left, if another process has
 * leased them. These are at most twice the points that it used in the last second, or a 64th of `points`, for 2 s;
 * after a crash its leased points until the window ends (token bucket: for 3 s).
 *
 * @throws InvalidOptionError
 */
export function rateLimit(options: RateLimitOptions): RateLimitHandler {
  const resolved = resolveRateLimit(options)
  const { limits } = resolved
  const limiter = createLimiter(resolved)
  const refusals = new Refusals()
  const headers = new RateLimitHeaders()
  let checkTrust = limits.some(({ by }) => by === 'ip')

  function conclude(decision: LimitDecision, req: Request, res: Response, next: NextFunction): void {
    if (diagnostics.limiterDecision.hasSubscribers) report(decision)
    if (decision !== undefined) headers.set(res, decision.states, decision.at)
    if (decision?.admitted !== true) {
      answerProblem(res, refusals.for(decision))
      return
    }
    settleLater(decision.reservations, req, res)
    next()
  }

  /** Another handler, such as a time-out middleware, may have answered meanwhile. */
  function concludeLater(decision: LimitDecision, req: Request, res: Response, next: NextFunction): void {
    if (!res.headersSent) conclude(decision, req, res, next)
    else if (decision?.admitted) settleLater(decision.reservations, req, res)
  }

  function limited(req: Request, res: Response, next: NextFunction): void {
    let decision: LimitDecision | Promise<LimitDecision>
    let charges: readonly Charge[]
    try {
      if (checkTrust) {
        checkTrust = false
        warnIfAllAreTrusted(req)
      }
      charges = chargesOf(req, limits)
      if (charges.length === 0) {
        next()
        return
      }
      decision = limiter.check(charges)
    } catch (error) {
      failing(next, 'The limit')(error)
      return
    }
    // Not `async`: Express 4 ignores rejected promises, and most decisions need no promise.
    if (decision instanceof Promise) {
      decision.then((decided) => concludeLater(decided, req, res, next)).catch(failing(next, 'The limit'))
    } else conclude(decision, req, res, next)
  }

  return Object.assign(limited, { close: () => limiter.close() })
}

function createLimiter({ limits, clock, redis, timeoutMs, failOpen, mode }: ResolvedRateLimit): Limiter {
  if (redis === undefined) return new LeaseLimiter({ limits, clock, connection: undefined, failOpen })
  const leaseClock = new LeaseClock(clock)
  const connection = new LimiterConnection({ redis, timeoutMs, clock: leaseClock })
  const Kind = mode === 'exact' ? ExactLimiter : LeaseLimiter
  return new Kind({ limits, clock: leaseClock, connection, failOpen })
}

interface Refusal {
  readonly points: number
  readonly retryS: number
  readonly answer: ProblemAnswer
}

/**
 * A flood of refused requests gets the same response for a second: creating one, with its stack trace, costs more than
 * the rest of the check (bench `limiter`).
 */
class Refusals {
  readonly #last = new Map<ResolvedLimit, Refusal>()
  readonly #unavailable = problemAnswer(
    new SseError('ERR_SSE_LIMITER_UNAVAILABLE', 'Request limits are temporarily unavailable', {
      headers: { 'Retry-After': '1' },
    }),
  )

  for(decision: Exclude<LimitDecision, { admitted: true }>): ProblemAnswer {
    if (decision === undefined) return this.#unavailable
    const { limit, points } = decision.refusedBy
    const retryS = Math.max(1, Math.ceil(decision.retryMs / 1000))
    const last = this.#last.get(limit)
    if (last?.points === points && last.retryS === retryS) return last.answer
    const error = new RequestError(
      'ERR_SSE_RATE_LIMITED',
      `The limit "${limit.name}" is exhausted. Retry after ${retryS} s.`,
      {
        headers: { 'Retry-After': String(retryS) },
        members: { limit: limit.name, points, durationMs: limit.durationMs },
      },
    )
    const answer = problemAnswer(error)
    this.#last.set(limit, { points, retryS, answer })
    return answer
  }
}

/**
 * The points are taken already, so a client gains nothing by leaving: an exchange that ends without a response counts.
 * The exchange ends in any case.
 */
function settleLater(reservations: readonly Reservation[], req: Request, res: Response): void {
  if (reservations.length === 0) return
  new Exchange(req, res).onOver(() => {
    for (const reservation of reservations) reservation.settle(!res.headersSent || counts(reservation, res))
  })
}

/** No request waits for `countWhen` any more. If it throws, the response counts. */
function counts({ limit: { countWhen } }: Reservation, res: Response): boolean {
  const failed = (error: unknown): void => reportTo(diagnostics.limiterError, 'countWhen', error)
  try {
    return countWhen !== undefined && Boolean(answeredAtOnce('countWhen', countWhen(res), failed))
  } catch (error) {
    failed(error)
    return true
  }
}

function warnIfAllAreTrusted(req: Request): void {
  if (req.app?.get('trust proxy') !== true) return
  process.emitWarning(
    "Express trusts every proxy ('trust proxy' is true), so a client can choose its address with X-Forwarded-For. " +
      "Set 'trust proxy' to the addresses or the number of your proxies.",
    { code: 'SSE_TRUST_PROXY' },
  )
}

function report(decision: LimitDecision): void {
  if (decision === undefined) {
    diagnostics.limiterDecision.publish({ admitted: false, source: 'fail-closed' })
    return
  }
  const { admitted, source } = decision
  const limit = decision.admitted ? undefined : decision.refusedBy.limit.name
  diagnostics.limiterDecision.publish({ admitted, source, limit })
}
