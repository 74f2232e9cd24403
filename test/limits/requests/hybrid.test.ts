import { expect } from 'chai'
import { Redis } from 'ioredis'
import type { RateLimitOptions } from '../../../lib/limits/requests/options.js'
import { type RateLimitHandler, rateLimit } from '../../../lib/routers/rate-limit.js'
import { eventually } from '../../helpers/eventually.js'
import { commandCalls, type RedisServer } from '../../helpers/redis-server.js'
import { startSuiteRedis } from '../../helpers/suite-redis.js'
import { admittedOf, ask, overBucket, request } from './support.js'

/** 24 days: no window ends during a test. */
const LONG = 2_073_600
const alice = request({ user: 'alice' })

describe('request limits on leases from Redis', () => {
  let server: RedisServer
  let admin: Redis
  const handlers: RateLimitHandler[] = []

  startSuiteRedis((started) => {
    ;({ server, admin } = started)
  })

  afterEach(async () => {
    for (const handler of handlers.splice(0)) await handler.close()
    await admin.flushall()
  })

  /** One limiter for each simulated process. */
  function fleet(count: number, options: RateLimitOptions): RateLimitHandler[] {
    // On a busy machine a slow Redis must not count as unavailable.
    const made = Array.from({ length: count }, () => rateLimit({ redis: server.url, timeoutMs: 10_000, ...options }))
    handlers.push(...made)
    return made
  }

  function calls(): Promise<number> {
    return commandCalls(admin, 'evalsha')
  }

  /** Sends requests until none is admitted any more, and no other limiter holds a lease. */
  async function exhaust(limiters: readonly RateLimitHandler[], req = alice): Promise<number> {
    let admitted = 0
    for (;;) {
      const answers = await Promise.all(limiters.flatMap((each) => Array.from({ length: 5 }, () => ask(each, req))))
      admitted += answers.filter((answer) => answer.admitted).length
      const over = answers.every(({ headers }) => Number(headers['Retry-After']) > 60)
      if (over) return admitted
      await new Promise(setImmediate)
    }
  }

  it('admit exactly their points over all processes', async () => {
    for (const points of [1, 7, 100, 1000]) {
      const limiters = fleet(4, { by: 'user', name: `p${points}`, points, duration: LONG })
      expect(await exhaust(limiters), `${points} points`).to.equal(points)
    }
  })

  it('never admit more than their points in a window of Redis, under any load', async () => {
    const points = 100
    const limiters = fleet(4, { by: 'user', points, duration: 1 })
    const users = ['a', 'b', 'c'].map((user) => request({ user }))
    const admitted = new Map<string, number>()
    const until = Date.now() + 3500
    await Promise.all(
      limiters.map(async (limiter) => {
        while (Date.now() < until) {
          await Promise.all(
            users.map(async (req) => {
              const answer = await ask(limiter, req)
              if (!answer.admitted) return
              const window = `${req.auth?.user} ${Math.floor(answer.at / 1000)}`
              admitted.set(window, (admitted.get(window) ?? 0) + 1)
            }),
          )
          await new Promise(setImmediate)
        }
      }),
    )
    expect(admitted.size).to.be.at.least(9)
    expect(Math.max(...admitted.values())).to.equal(points)
  })

  it('never admit by a lease after the end of its window', async () => {
    const limiters = fleet(4, { by: 'user', points: 200, duration: 1 })
    const admitted = new Map<number, number>()
    const askAll = async (): Promise<void> => {
      for (const answer of await Promise.all(limiters.map((limiter) => ask(limiter, alice)))) {
        const window = Math.floor(answer.at / 1000)
        if (answer.admitted) admitted.set(window, (admitted.get(window) ?? 0) + 1)
      }
    }
    const until = (at: number) => new Promise((resolve) => setTimeout(resolve, at - Date.now()))
    for (let round = 0; round < 3; round++) {
      const turn = Math.ceil((Date.now() + 300) / 1000) * 1000
      await until(turn - 200)
      for (let i = 0; i < 20; i++) await askAll()
      // Many leased points are unused when the window ends.
      await until(turn - 5)
      while (Date.now() < turn + 300) await askAll()
    }
    expect(Math.max(...admitted.values())).to.equal(200)
  })

  it('never admit more than burst + refill × span from a token bucket, over any span', async () => {
    const [burst, perSecond] = [50, 40]
    const limiters = fleet(4, {
      by: 'user',
      points: burst,
      duration: 60,
      algorithm: 'token-bucket',
      refillPerSecond: perSecond,
    })
    const admissions: number[] = []
    const begin = performance.now()
    await Promise.all(
      limiters.map(async (limiter, i) => {
        while (performance.now() < begin + 3000) {
          // With pauses, in which leases are idle, are released or expire.
          const resting = i > 1 && Math.floor((performance.now() - begin) / 700) % 2 === 1
          if (!resting && (await ask(limiter, alice)).admitted) admissions.push(performance.now())
          await new Promise(setImmediate)
        }
      }),
    )
    // On a busy machine an admission is recorded some ms late.
    expect(overBucket(admissions, { burst, perSecond })).to.be.at.most(1)
    expect(admissions.length).to.be.above(burst)
  })

  it('send few commands to Redis, and none while a key is known to be exhausted', async () => {
    const limiters = fleet(4, { by: 'user', points: 1000, duration: LONG })
    const before = await calls()
    let admitted = 0
    for (let round = 0; round < 225; round++) {
      for (const limiter of limiters) if ((await ask(limiter, alice)).admitted) admitted++
    }
    expect(admitted).to.equal(900)
    expect((await calls()) - before, 'for 900 checks').to.be.below(900 * 0.1)
    await exhaust(limiters)
    const exhausted = await calls()
    expect(await admittedOf(limiters[0] as RateLimitHandler, 10_000, alice)).to.equal(0)
    expect((await calls()) - exhausted).to.equal(0)
  })

  it('admit synchronously while enough points are leased', async () => {
    const [limiter] = fleet(1, { by: 'user', points: 64_000, duration: LONG }) as [RateLimitHandler]
    await ask(limiter, alice)
    let synchronous = 0
    for (let i = 0; i < 100; i++) {
      let called = false
      const res = { getHeader: () => undefined, setHeader: () => undefined, once: () => undefined }
      void limiter(alice, res as never, () => {
        called = true
      })
      if (called) synchronous++
    }
    expect(synchronous).to.equal(100)
  })

  it('share one call among waiting requests', async () => {
    const [limiter] = fleet(1, { by: 'user', points: 100, duration: LONG }) as [RateLimitHandler]
    await ask(limiter, request({ user: 'another user' }))
    const before = await calls()
    const answers = await Promise.all(Array.from({ length: 60 }, () => ask(limiter, alice)))
    expect(answers.filter(({ admitted }) => admitted)).to.have.length(60)
    // The second call is ahead of demand.
    expect((await calls()) - before).to.be.at.most(2)
  })

  it('count a request against all limits or none', async () => {
    const limits = [
      { by: 'user', points: 10, duration: LONG },
      { by: 'tenant', points: 15, duration: LONG },
    ] as const
    const limiters = fleet(3, { limits })
    expect(await exhaust(limiters)).to.equal(10)
    expect(await exhaust(limiters, request({ user: 'bob' }))).to.equal(5)
    // Bob's remaining points are available: refusals by the tenant's limit did not consume them.
    const [other] = fleet(1, { ...limits[0] }) as [RateLimitHandler]
    for (const limiter of handlers.splice(0, 3)) await limiter.close()
    expect(await exhaust([other], request({ user: 'bob' }))).to.equal(5)
  })

  it('weigh requests', async () => {
    const cost = (req: { path: string }) => Number(req.path)
    const limiters = fleet(3, { by: 'user', points: 100, duration: LONG, cost })
    const tooMuch = await ask(limiters[0] as RateLimitHandler, request({ user: 'alice', path: '101' }))
    expect(tooMuch.status, 'more than the limit').to.equal(429)
    expect(await admin.keys('*')).to.deep.equal([])
    expect(await exhaust(limiters, request({ user: 'alice', path: '7' }))).to.equal(14)
    expect(await exhaust(limiters, request({ user: 'alice', path: '1' }))).to.equal(2)
  })

  for (const algorithm of ['fixed-window', 'token-bucket'] as const) {
    it(`return unused points, so that other processes can use them: ${algorithm}`, async () => {
      const [hoarder, other] = fleet(2, { by: 'user', points: 100, duration: LONG, algorithm }) as [
        RateLimitHandler,
        RateLimitHandler,
      ]
      // Leases grow with demand.
      let admitted = await admittedOf(hoarder, 20, alice)
      await eventually(async () => {
        admitted += await admittedOf(other, 5, alice)
        return admitted >= 100
      })
      expect(admitted).to.equal(100)
    })

    it(`return leased points when they are closed: ${algorithm}`, async () => {
      const [first, second] = fleet(2, { by: 'user', points: 1000, duration: LONG, algorithm }) as [
        RateLimitHandler,
        RateLimitHandler,
      ]
      expect(await admittedOf(first, 30, alice)).to.equal(30)
      await Promise.all([first.close(), first.close()])
      expect(await exhaust([second])).to.equal(970)
    })

    it(`return points that are granted while they are closed: ${algorithm}`, async () => {
      const [first, second] = fleet(2, { by: 'user', points: 1000, duration: LONG, algorithm }) as [
        RateLimitHandler,
        RateLimitHandler,
      ]
      await ask(first, request({ user: 'bob' }))
      server.pause()
      const answer = ask(first, alice)
      await new Promise(setImmediate)
      const closed = first.close()
      server.resume()
      await closed
      expect((await answer).admitted).to.equal(true)
      expect(await exhaust([second])).to.equal(999)
    })
  }

  it('request no lease once they are closing', async () => {
    const [limiter] = fleet(1, { by: 'user', points: 1000, duration: LONG }) as [RateLimitHandler]
    await ask(limiter, alice)
    const closed = limiter.close()
    expect((await ask(limiter, request({ user: 'bob' }))).admitted).to.equal(true)
    await closed
    // The admission was reported, and there is no field for a holder.
    const { w, ...rest } = await admin.hgetall('sse:limit:w2073600:user:{acme:bob}')
    expect(rest).to.deep.equal({ l: '1', c: '1' })
    expect(w).to.be.a('string')
  })

  it('report that all their points are consumed, so that other processes know the time to wait', async () => {
    const [first, second] = fleet(2, { by: 'user', points: 1, duration: LONG }) as [RateLimitHandler, RateLimitHandler]
    expect(await admittedOf(first, 1, alice)).to.equal(1)
    await eventually(async () => Number((await ask(second, alice)).headers['Retry-After']) > 60)
  })

  it('report consumed points when they are closed', async () => {
    const [first, second] = fleet(2, { by: 'user', points: 1, duration: LONG }) as [RateLimitHandler, RateLimitHandler]
    expect(await admittedOf(first, 1, alice)).to.equal(1)
    await first.close()
    expect(Number((await ask(second, alice)).headers['Retry-After'])).to.be.above(60)
  })

  it('apply points that change within the window', async () => {
    let points = 100
    const limiters = fleet(3, { by: 'user', points: () => points, duration: LONG })
    expect(await exhaust(limiters)).to.equal(100)
    points = 150
    expect(await exhaust(limiters), 'raised').to.equal(50)
    points = 50
    expect(await exhaust(limiters), 'lowered').to.equal(0)
  })

  it('serve requests of one key with different points', async () => {
    const limiters = fleet(2, { by: 'user', points: ({ path }) => Number(path), duration: LONG })
    const answers = await Promise.all(
      limiters.flatMap((limiter) =>
        Array.from({ length: 100 }, (_, i) => ask(limiter, request({ user: 'alice', path: i % 2 ? '40' : '60' }))),
      ),
    )
    expect(answers.filter(({ admitted }) => admitted).length).to.be.within(40, 60)
  })

  it('leave keys in Redis that expire with their window, or when their bucket is full', async () => {
    const window = fleet(1, { by: 'user', points: 10, duration: 60 })[0] as RateLimitHandler
    const bucket = fleet(1, { by: 'user', points: 10, duration: 10, algorithm: 'token-bucket' })[0] as RateLimitHandler
    await admittedOf(window, 5, alice)
    await admittedOf(bucket, 10, alice)
    const keys = (await admin.keys('*')).sort()
    expect(keys).to.deep.equal(['sse:limit:b10:user:{acme:alice}', 'sse:limit:w60:user:{acme:alice}'])
    expect(await admin.pttl(keys[0] as string)).to.be.within(5000, 13_000)
    expect(await admin.pttl(keys[1] as string)).to.be.within(1, 60_001)
  })

  it('use a given client directly, and do not close it', async () => {
    const client = new Redis(server.url, { lazyConnect: true, keyPrefix: 'app:' })
    try {
      const limiter = rateLimit({ by: 'user', points: 10, duration: LONG, redis: client, timeoutMs: 10_000 })
      expect(await admittedOf(limiter, 20, alice)).to.equal(10)
      await limiter.close()
      expect(await client.ping()).to.equal('PONG')
      expect(await admin.keys('*')).to.deep.equal([`app:sse:limit:w${LONG}:user:{acme:alice}`])
      expect(client.listenerCount('ready')).to.equal(0)
    } finally {
      client.disconnect()
    }
  })
})
