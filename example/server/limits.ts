/**
 * The limits of the app: requests, streams and failures. They hold over all processes on one Redis, or in this process.
 */
import {
  createStreamLimits,
  type RateLimitHandler,
  rateLimit,
  type SharedRedis,
  type StreamLimits,
} from 'express-sse-kit'

const MINUTE_S = 60

export interface Limits {
  /** For all routes except the sign-in. Needs `authenticate()` before it, also with `optional: true`. */
  readonly requests: RateLimitHandler
  /** For the sign-in, where no user is known yet: by address. */
  readonly signIns: RateLimitHandler
  /** Counts wrong signatures of webhooks, never correct ones. */
  readonly webhookFailures: RateLimitHandler
  /** Counts forged tokens and guessed tickets, never valid ones. */
  readonly tokenFailures: RateLimitHandler
  readonly streams: StreamLimits
  close(): Promise<void>
}

export function openLimits(redis: SharedRedis): Limits {
  const requests = rateLimit({
    redis,
    limits: [
      { by: 'user', points: 1000, duration: MINUTE_S },
      { by: 'tenant', points: 20_000, duration: MINUTE_S },
      { by: 'ip', points: 300, duration: MINUTE_S, skip: ({ auth }) => auth !== undefined },
    ],
  })
  // These limits protect against guessing, so nothing passes unchecked while Redis is unavailable. The longer time-out
  // avoids refusals after a short delay.
  const guarded = { redis, by: 'ip', duration: MINUTE_S, onError: 'closed', timeoutMs: 1000 } as const
  const signIns = rateLimit({ ...guarded, name: 'sign-in', points: 300 })
  const webhookFailures = rateLimit({ ...guarded, name: 'webhook-signatures', points: 20 })
  const tokenFailures = rateLimit({ ...guarded, name: 'token-failures', points: 60 })
  const streams = createStreamLimits({ redis })
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
