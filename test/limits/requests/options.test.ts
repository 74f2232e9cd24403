import { expect } from 'chai'
import { type RateLimitOptions, resolveRateLimit } from '../../../lib/limits/requests/options.js'
import { rateLimit } from '../../../lib/routers/rate-limit.js'
import { ask, request } from './support.js'

const good = { by: 'user', points: 10, duration: 60 } as const

describe('the options of request limits', () => {
  for (const [what, options] of Object.entries({
    'no by': { points: 10, duration: 60 },
    'an unknown by': { ...good, by: 'planet' },
    'a function without a name': { ...good, by: () => 'key' },
    'an empty name': { ...good, name: '' },
    'a name that would break a header': { ...good, name: 'a"b' },
    'a name in capitals': { ...good, name: 'User' },
    'a long name': { ...good, name: 'a'.repeat(65) },
    'no points': { by: 'user', duration: 60 },
    'points 0': { ...good, points: 0 },
    'points below 0': { ...good, points: -1 },
    'half a point': { ...good, points: 1.5 },
    'points NaN': { ...good, points: Number.NaN },
    'points as text': { ...good, points: '10' },
    'too many points': { ...good, points: 1_000_000_001 },
    'no duration': { by: 'user', points: 10 },
    'duration 0': { ...good, duration: 0 },
    'duration below a second': { ...good, duration: 0.5 },
    'duration beyond 2³¹−1 ms': { ...good, duration: 2_147_484 },
    'an infinite duration': { ...good, duration: Number.POSITIVE_INFINITY },
    'an unknown algorithm': { ...good, algorithm: 'sliding' },
    'a refill without a bucket': { ...good, refillPerSecond: 1 },
    'refill 0': { ...good, algorithm: 'token-bucket', refillPerSecond: 0 },
    'an infinite refill': { ...good, algorithm: 'token-bucket', refillPerSecond: Number.POSITIVE_INFINITY },
    'a cost that is not a function': { ...good, cost: 2 },
    'a skip that is not a function': { ...good, skip: true },
    'a countWhen that is not a function': { ...good, countWhen: 401 },
    'localPoints 0': { ...good, localPoints: 0 },
    'no limits': { limits: [] },
    'limits that are not a list': { limits: good },
    'two limits with one name': { limits: [good, { ...good, duration: 1 }] },
    'an unknown mode': { ...good, redis: 'redis://localhost', mode: 'loose' },
    'a mode without redis': { ...good, mode: 'exact' },
    'a token bucket in mode exact': { ...good, redis: 'redis://localhost', mode: 'exact', algorithm: 'token-bucket' },
    'an unknown onError': { ...good, onError: 'shut' },
    'a prefix that is not text': { ...good, prefix: 7 },
    'timeoutMs 0': { ...good, timeoutMs: 0 },
    'timeoutMs over a minute': { ...good, timeoutMs: 60_001 },
    'a redis that is not a URL': { ...good, redis: 'localhost:6379' },
  })) {
    it(`are refused with a code: ${what}`, () => {
      expect(() => rateLimit(options as unknown as RateLimitOptions))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    })
  }

  it('accept durations from one second to 24.8 days', () => {
    for (const duration of [1, 2_147_483]) {
      expect(resolveRateLimit({ ...good, duration }).limits[0]?.durationMs).to.equal(duration * 1000)
    }
  })

  it('are also checked if a function returns them for a request', async () => {
    for (const wrong of [
      { points: () => 0 },
      { points: () => Number.NaN },
      { cost: () => -1 },
      { cost: () => 1.5 },
      { cost: () => undefined as unknown as number },
    ]) {
      const handler = rateLimit({ ...good, ...wrong })
      const error = await ask(handler, request({ user: 'a' })).catch((reason: unknown) => reason)
      expect(error, String(Object.values(wrong)[0])).to.have.property('code', 'ERR_SSE_OPTION_INVALID')
      await handler.close()
    }
  })
})
