import type { Request, Response } from 'express'
import { markAuthenticated } from '../../../lib/http/auth-of.js'
import type { RateLimitHandler } from '../../../lib/routers/rate-limit.js'

/** The properties of a request that limits read. */
export function request({ user, tenant = 'acme', ip = '192.0.2.1', ...more }: Record<string, unknown> = {}): Request {
  const auth = user === undefined ? undefined : { user, tenant, expiresAt: 0, claims: {} }
  const req = { auth, ip, ...more } as unknown as Request
  markAuthenticated(req)
  return req
}

export interface Answer {
  /** The latest possible time of the decision, in ms since 1970. Redis runs on this machine and has the same clock. */
  readonly at: number
  readonly admitted: boolean
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Readonly<Record<string, unknown>>
}

/** Sends a request directly to a limiter, without HTTP, so that a test can send many. @returns the limiter's answer */
export function ask(handler: RateLimitHandler, req: Request): Promise<Answer> {
  return new Promise((resolve, reject) => {
    // A synchronous decision used a lease that existed before.
    const calledAt = Date.now()
    let synchronous = true
    const decidedAt = () => (synchronous ? calledAt : Date.now())
    const headers: Record<string, string> = {}
    const res = {
      headersSent: false,
      statusCode: 200,
      getHeader: (name: string) => headers[name],
      setHeader: (name: string, value: string) => {
        headers[name] = String(value)
      },
      once: () => undefined,
      end: (body: Buffer) =>
        resolve({
          at: decidedAt(),
          admitted: false,
          status: res.statusCode,
          headers,
          body: JSON.parse(body.toString()),
        }),
    }
    void handler(req, res as unknown as Response, (error?: unknown) => {
      if (error === undefined) resolve({ at: decidedAt(), admitted: true, status: 200, headers, body: {} })
      else reject(error)
    })
    synchronous = false
  })
}

/** How many of `count` requests in a row are admitted. */
export async function admittedOf(handler: RateLimitHandler, count: number, req: Request): Promise<number> {
  let admitted = 0
  for (let i = 0; i < count; i++) if ((await ask(handler, req)).admitted) admitted++
  return admitted
}

/**
 * The largest excess of admissions over burst + refill × span, over any span. At most 0 if the bucket is exact.
 */
export function overBucket(
  admissions: readonly number[],
  { burst, perSecond }: { burst: number; perSecond: number },
): number {
  let level = 0
  let before = admissions[0] ?? 0
  let over = Number.NEGATIVE_INFINITY
  for (const at of admissions) {
    level = Math.max(0, level - ((at - before) * perSecond) / 1000) + 1
    before = at
    over = Math.max(over, level - burst)
  }
  return over
}
