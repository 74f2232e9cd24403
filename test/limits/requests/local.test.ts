import { createHash } from 'node:crypto'
import { expect } from 'chai'
import type { Response } from 'express'
import fc from 'fast-check'
import { LeaseLimiter } from '../../../lib/limits/requests/lease-limiter.js'
import { type RequestLimit, resolveRateLimit, type SharedLimitOptions } from '../../../lib/limits/requests/options.js'
import { type RateLimitHandler, rateLimit } from '../../../lib/routers/rate-limit.js'
import { FakeClock } from '../../helpers/fake-clock.js'
import { admittedOf, ask, overBucket, request } from './support.js'

describe('request limits without Redis', () => {
  let clock: FakeClock
  const handlers: RateLimitHandler[] = []

  beforeEach(() => {
    clock = new FakeClock()
    // Advances to the beginning of a minute.
    clock.advance(60_000 - (clock.wallTime() % 60_000))
  })

  afterEach(async () => {
    for (const handler of handlers.splice(0)) await handler.close()
    expect(clock.pending, 'timers').to.equal(0)
  })

  function limiter(limits: RequestLimit | readonly RequestLimit[], shared: SharedLimitOptions = {}): RateLimitHandler {
    const handler = rateLimit({ limits: [limits].flat() as RequestLimit[], clock, ...shared })
    handlers.push(handler)
    return handler
  }

  const alice = request({ user: 'alice' })

  it('admit exactly their points in each window', async () => {
    const handler = limiter({ by: 'user', points: 10, duration: 60 })
    for (let window = 0; window < 3; window++) {
      expect(await admittedOf(handler, 30, alice)).to.equal(10)
      clock.advance(59_999)
      expect(await admittedOf(handler, 5, alice), 'before the end of the window').to.equal(0)
      clock.advance(1)
    }
  })

  it('set no headers on a response whose headers are sent', () => {
    const handler = limiter({ by: 'user', points: 10, duration: 60 })
    const setHeader = (): void => expect.fail('the headers are sent')
    const passed: unknown[] = []
    const res = { headersSent: true, getHeader: () => undefined, setHeader }
    handler(alice, res as unknown as Response, (error?: unknown) => passed.push(error))
    expect(passed).to.deep.equal([undefined])
  })

  for (const algorithm of ['fixed-window', 'token-bucket'] as const) {
    it(`neither refill nor wait when the wall clock is set, forward or back: ${algorithm}`, async () => {
      const handler = limiter({ by: 'user', points: 10, duration: 60, algorithm })
      expect(await admittedOf(handler, 30, alice)).to.equal(10)
      for (const byMs of [3_600_000, -7_200_000]) {
        clock.setWallClock(byMs)
        expect(await admittedOf(handler, 5, alice), `set by ${byMs} ms`).to.equal(0)
        clock.advance(61_000)
        expect(await admittedOf(handler, 30, alice), 'a minute later').to.equal(10)
      }
    })
  }

  it('admit a request after exactly the wait that a refusal announced', async () => {
    const rate = { points: fc.integer({ min: 1, max: 50 }), duration: fc.integer({ min: 1, max: 100 }) }
    const costs = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 5, maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(fc.record(rate), costs, async ({ points, duration }, sequence) => {
        const { limits } = resolveRateLimit({
          limits: [{ by: 'user', points, duration, algorithm: 'token-bucket' }],
          clock,
        })
        const [limit] = limits
        if (limit === undefined) throw new Error('There must be a limit')
        const bucket = new LeaseLimiter({ limits, clock, connection: undefined, failOpen: true })
        for (const cost of sequence) {
          const charges = [{ limit, key: 'alice', points, cost: Math.min(cost, points) }]
          const first = await bucket.check(charges)
          if (first?.admitted !== false) continue
          clock.advance(first.retryMs)
          expect(await bucket.check(charges), `after ${first.retryMs} ms`).to.have.property('admitted', true)
        }
        await bucket.close()
      }),
    )
  })

  it('count by user within the tenant, by tenant, by address, and by the result of a function', async () => {
    const of = (by: RequestLimit['by']): RateLimitHandler => limiter({ by, name: 'it', points: 2, duration: 60 })
    for (const [handler, one, same, other] of [
      [of('user'), { user: 'a' }, { user: 'a', ip: '192.0.2.9' }, { user: 'a', tenant: 'globex' }],
      [of('tenant'), { user: 'a' }, { user: 'b' }, { user: 'a', tenant: 'globex' }],
      [of('ip'), { ip: '192.0.2.1' }, { ip: '::ffff:192.0.2.1', user: 'b' }, { ip: '192.0.2.2' }],
      [of('ip'), { ip: '2001:db8:0:aa01::1' }, { ip: '2001:db8:0:aaff::9' }, { ip: '2001:db8:0:ab01::1' }],
      [of(({ path }) => path), { path: '/a' }, { path: '/a' }, { path: '/b' }],
    ] as const) {
      expect(await admittedOf(handler, 5, request(one)), JSON.stringify(one)).to.equal(2)
      expect(await admittedOf(handler, 5, request(same)), JSON.stringify(same)).to.equal(0)
      expect(await admittedOf(handler, 5, request(other)), JSON.stringify(other)).to.equal(2)
    }
  })

  it('separate tenants and users with any names', async () => {
    const handler = limiter({ by: 'user', points: 1, duration: 60 })
    for (const [tenant, user] of [
      ['a', '1:b:c'],
      ['a:1', 'b:c'],
      ['a:1:b', 'c'],
      ['a', 'b'],
      ['a\n', 'b'],
      ['a', '\nb'],
    ]) {
      expect(await admittedOf(handler, 2, request({ tenant, user })), `${tenant} ${user}`).to.equal(1)
    }
  })

  it('do not count requests without a key: no user, or a function that returns undefined', async () => {
    for (const by of ['user', 'tenant', () => undefined] as const) {
      const answer = await ask(limiter({ by, name: 'it', points: 1, duration: 60 }), request())
      expect(answer).to.deep.include({ admitted: true, headers: {} })
      expect(await admittedOf(limiter({ by, name: 'it', points: 1, duration: 60 }), 5, request())).to.equal(5)
    }
  })

  it('do not let a client use the bucket of a long key by sending its hash', async () => {
    const handler = limiter({ by: ({ path }) => path, name: 'it', points: 1, duration: 60 })
    const long = 'x'.repeat(1000)
    const digest = createHash('sha256').update(long).digest('base64url')
    expect(await admittedOf(handler, 2, request({ path: long }))).to.equal(1)
    for (const guess of [digest, `sha256:${digest}`, `sha256:${digest}:`]) {
      expect(await admittedOf(handler, 2, request({ path: guess })), guess).to.equal(1)
    }
  })

  it('distinguish long keys', async () => {
    const handler = limiter({ by: ({ path }) => path, name: 'it', points: 1, duration: 60 })
    const long = 'x'.repeat(100_000)
    expect(await admittedOf(handler, 2, request({ path: `${long}a` }))).to.equal(1)
    expect(await admittedOf(handler, 2, request({ path: `${long}b` }))).to.equal(1)
  })

  it('count a request against all limits or none', async () => {
    const handler = limiter([
      { by: 'user', points: 10, duration: 60 },
      { by: 'tenant', points: 15, duration: 60 },
      { by: 'ip', points: 1000, duration: 60, algorithm: 'token-bucket' },
    ])
    expect(await admittedOf(handler, 100, alice)).to.equal(10)
    const bob = request({ user: 'bob' })
    expect(await admittedOf(handler, 100, bob), 'what the tenant has left').to.equal(5)
    // Neither Alice's 90 refusals nor Bob's 95 consumed points.
    const { headers } = await ask(handler, bob)
    expect(headers.RateLimit).to.equal('"user";r=5;t=60, "tenant";r=0;t=60, "ip";r=985;t=1')
  })

  it('weigh requests, and do not count requests that cost nothing or are skipped', async () => {
    const handler = limiter({
      by: 'user',
      points: 10,
      duration: 60,
      cost: ({ path }) => Number(path),
      skip: ({ method }) => method === 'OPTIONS',
    })
    const weighing = (path: string, method = 'GET') => request({ user: 'a', path, method })
    expect(await admittedOf(handler, 20, weighing('0'))).to.equal(20)
    expect(await admittedOf(handler, 20, weighing('5', 'OPTIONS'))).to.equal(20)
    expect(await admittedOf(handler, 1, weighing('11')), 'more than the limit').to.equal(0)
    expect(await admittedOf(handler, 5, weighing('4'))).to.equal(2)
    expect(await admittedOf(handler, 5, weighing('3'))).to.equal(0)
    expect(await admittedOf(handler, 5, weighing('1'))).to.equal(2)
  })

  it('apply points that change within the window', async () => {
    for (const algorithm of ['fixed-window', 'token-bucket'] as const) {
      let points = 5
      const handler = limiter({
        by: 'tenant',
        points: () => points,
        duration: 60,
        algorithm,
      })
      expect(await admittedOf(handler, 20, alice)).to.equal(5)
      points = 8
      expect(await admittedOf(handler, 20, alice), `${algorithm}, raised`).to.equal(
        algorithm === 'fixed-window' ? 3 : 0,
      )
      points = 2
      expect(await admittedOf(handler, 20, alice), 'lowered').to.equal(0)
      clock.advance(60_000)
      expect(await admittedOf(handler, 20, alice), `${algorithm}, later`).to.equal(2)
    }
  })

  it('never admit more than burst + refill × span from a token bucket, over any span', () => {
    const rate = fc.record({ burst: fc.integer({ min: 1, max: 20 }), perSecond: fc.integer({ min: 1, max: 50 }) })
    const pauses = fc.array(fc.integer({ min: 0, max: 500 }), { minLength: 20, maxLength: 100 })
    fc.assert(
      fc.property(rate, pauses, ({ burst, perSecond }, sequence) => {
        const { limits } = resolveRateLimit({
          by: 'user',
          points: burst,
          duration: 60,
          algorithm: 'token-bucket',
          refillPerSecond: perSecond,
        })
        const core = new LeaseLimiter({ limits, clock, connection: undefined, failOpen: true })
        const limit = limits[0] as (typeof limits)[number]
        const charge = { limit, key: 'key', points: burst, cost: 1 }
        const admissions: number[] = []
        for (const pause of sequence) {
          clock.advance(pause)
          const decision = core.check([charge])
          if (!(decision instanceof Promise) && decision?.admitted) admissions.push(clock.now())
        }
        expect(overBucket(admissions, { burst, perSecond })).to.be.at.most(1e-6)
        expect(admissions.length).to.be.at.least(Math.min(burst, sequence.length))
        void core.close()
      }),
    )
  })

  it('keep no key whose window is over or whose bucket is full, and a bounded number of others', () => {
    for (const algorithm of ['fixed-window', 'token-bucket'] as const) {
      const { limits } = resolveRateLimit({ by: 'user', points: 10, duration: 60, algorithm })
      const limit = limits[0] as (typeof limits)[number]
      const core = new LeaseLimiter({ limits, clock, connection: undefined, failOpen: true })
      for (let i = 0; i < 100_050; i++) void core.check([{ limit, key: `key ${i}`, points: 10, cost: 1 }])
      expect(core.size).to.equal(100_000)
      clock.advance(62_000)
      expect(core.size).to.equal(0)
      expect(clock.pending, 'no timer without keys').to.equal(0)
      void core.close()
    }
  })
})
