/**
 * `RateLimit-Policy` and `RateLimit` as structured fields, see draft-ietf-httpapi-ratelimit-headers-10:
 *
 *   RateLimit-Policy: "user";q=1000;w=60, "tenant";q=20000;w=60
 *   RateLimit: "user";r=993;t=41, "tenant";r=18204;t=41
 */
import type { ServerResponse } from 'node:http'
import type { LimitState } from './limiter.js'
import type { ResolvedLimit } from './options.js'

/**
 * Sets the headers, after those that an earlier limiter of the request has set. The text of a policy is cached (bench
 * `limiter`).
 */
export class RateLimitHeaders {
  readonly #policies = new Map<ResolvedLimit, { readonly points: number; readonly text: string }>()

  set(res: ServerResponse, states: readonly LimitState[], now: number): void {
    if (res.headersSent) return
    let policies = String(res.getHeader('RateLimit-Policy') ?? '')
    let limits = policies === '' ? '' : String(res.getHeader('RateLimit') ?? '')
    for (const state of states) {
      const separator = policies === '' ? '' : ', '
      policies += separator + this.#policyOf(state)
      const resetS = Math.ceil(state.resetMs(now) / 1000)
      limits += `${separator}"${state.limit.name}";r=${state.remaining(now)};t=${resetS}`
    }
    res.setHeader('RateLimit-Policy', policies)
    res.setHeader('RateLimit', limits)
  }

  #policyOf({ limit, points }: LimitState): string {
    const known = this.#policies.get(limit)
    if (known?.points === points) return known.text
    const text = `"${limit.name}";q=${points};w=${windowS(limit, points)}`
    this.#policies.set(limit, { points, text })
    return text
  }
}

/** For a token bucket: the time in which it refills completely. */
function windowS({ durationMs, refillPerSecond }: ResolvedLimit, points: number): number {
  return refillPerSecond === undefined ? durationMs / 1000 : Math.ceil(points / refillPerSecond)
}
