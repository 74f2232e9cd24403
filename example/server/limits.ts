/** How much anybody may ask of the app: requests, streams, failures. Over all processes on one Redis, or in this one. */
import { createStreamLimits, type RateLimitHandler, rateLimit, type StreamLimits } from 'express-sse-kit'
import type { Cluster, Redis } from 'ioredis'

const MINUTE_S = 60

export interface Limits {
  /** For all but the sign-in. Needs `authenticate()` before it, which may be optional. */
  readonly requests: RateLimitHandler
  /** Nobody is known yet. */
  readonly signIns: RateLimitHandler
  /** Wrong signatures of webhooks, never good ones. */
  readonly webhookFailures: RateLimitHandler
  /** Forged tokens and guessed tickets, never good tokens. */
  readonly tokenFailures: RateLimitHandler
  readonly streams: StreamLimits
  close(): Promise<void>
}

export function openLimits(client: Redis | Cluster | undefined): Limits {
  const shared = client === undefined ? {} : { redis: client }
  const requests = rateLimit({
    ...shared,
    limits: [
      { by: 'user', points: 1000, duration: MINUTE_S },
      { by: 'tenant', points: 20_000, duration: MINUTE_S },
      { by: 'ip', points: 300, duration: MINUTE_S, skip: ({ auth }) => auth !== undefined },
    ],
  })
  // Where guessing would pay, nothing is let through unchecked while Redis is away; so it is better to wait a little than to refuse.
  const guarded = { ...shared, by: 'ip', duration: MINUTE_S, onError: 'closed', timeoutMs: 1000 } as const
  const signIns = rateLimit({ ...guarded, name: 'sign-in', points: 300 })
  const webhookFailures = rateLimit({ ...guarded, name: 'webhook-signatures', points: 20 })
  const tokenFailures = rateLimit({ ...guarded, name: 'token-failures', points: 60 })
  const streams = createStreamLimits(shared)
  return {
    requests,
    signIns,
    webhookFailures,
    tokenFailures,
    streams,
    async close() {
      await Promise.all([requests, signIns, webhookFailures, tokenFailures, streams].map((limit) => limit.close()))
    },
  }
}
