/**
 * `RateLimit-Policy` and `RateLimit` as structured fields, see draft-ietf-httpapi-ratelimit-headers-10:
 *
 *   RateLimit-Policy: "user";q=1000;w=60, "tenant";q=20000;w=60
 *   RateLimit: "user";r=993;t=41, "tenant";r=18204;t=41
 */
import type { ServerResponse } from 'node:http'
import type { Standing } from './limiter.js'
import type { ResolvedLimit } from './options.js'

/** After those that another limiter on the way has set. */
export function setRateLimitHeaders(res: ServerResponse, standings: readonly Standing[], now: number): void {
  if (res.headersSent) return
  let policies = before(res, 'RateLimit-Policy')
  let limits = before(res, 'RateLimit')
  for (const standing of standings) {
    const { limit, points } = standing
    const separator = policies === '' ? '' : ', '
    policies += `${separator}"${limit.name}";q=${points};w=${windowS(limit, points)}`
    limits += `${separator}"${limit.name}";r=${standing.remaining(now)};t=${Math.ceil(standing.resetMs(now) / 1000)}`
  }
  res.setHeader('RateLimit-Policy', policies)
  res.setHeader('RateLimit', limits)
}

/** A token bucket's is the time in which it fills up. */
function windowS({ durationMs, refillPerSecond }: ResolvedLimit, points: number): number {
  return refillPerSecond === undefined ? durationMs / 1000 : Math.ceil(points / refillPerSecond)
}

function before(res: ServerResponse, name: string): string {
  const value = res.getHeader(name)
  return value === undefined ? '' : String(value)
}
