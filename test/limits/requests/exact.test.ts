import { expect } from 'chai'
import { Redis } from 'ioredis'
import { RateLimiterRedis } from 'rate-limiter-flexible'
import type { RateLimitOptions } from '../../../lib/limits/requests/options.js'
import { type RateLimitHandler, rateLimit } from '../../../lib/routers/rate-limit.js'
import type { RedisServer } from '../../helpers/redis-server.js'
import { startSuiteRedis } from '../../helpers/suite-redis.js'
import { admittedOf, ask, request } from './support.js'

const alice = request({ user: 'alice' })

describe('request limits that send a command to Redis for each request', () => {
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

  function limiter(options: RateLimitOptions): RateLimitHandler {
    const handler = rateLimit({ redis: server.url, mode: 'exact', timeoutMs: 10_000, ...options })
    handlers.push(handler)
    return handler
  }

  it('admit exactly their points on any number of processes, each request immediately', async () => {
    const limiters = Array.from({ length: 3 }, () => limiter({ by: 'user', points: 50, duration: 600 }))
    const answers = await Promise.all(
      Array.from({ length: 150 }, (_, i) => ask(limiters[i % 3] as RateLimitHandler, alice)),
    )
    expect(answers.filter(({ admitted }) => admitted)).to.have.length(50)
    const { headers, body } = await ask(limiters[0] as RateLimitHandler, alice)
    expect(headers.RateLimit).to.match(/^"user";r=0;t=(600|59\d)$/)
    expect(headers['Retry-After']).to.match(/^(600|59\d)$/)
    expect(body).to.include({ code: 'ERR_SSE_RATE_LIMITED', limit: 'user', points: 50 })
  })

  it('count a request against all limits or none, and weigh it', async () => {
    const both = limiter({
      limits: [
        { by: 'user', points: 10, duration: 600, cost: ({ path }) => Number(path) },
        { by: 'tenant', points: 3, duration: 600 },
      ],
    })
    const weighing = (path: string) => request({ user: 'alice', path })
    expect(await admittedOf(both, 5, weighing('7'))).to.equal(1)
    expect(await admittedOf(both, 5, weighing('1')), 'what the tenant has left').to.equal(2)
    const user = limiter({ by: 'user', points: 10, duration: 600 })
    expect(await admittedOf(user, 5, alice), 'what the user has left').to.equal(1)
  })

  it('apply points that change within the window', async () => {
    let points = 5
    const handler = limiter({ by: 'tenant', points: () => points, duration: 600 })
    expect(await admittedOf(handler, 5, alice)).to.equal(5)
    points = 8
    expect(await admittedOf(handler, 10, alice)).to.equal(3)
    points = 2
    expect(await admittedOf(handler, 10, alice)).to.equal(0)
  })

  it("do not affect the application's own limiters on the same client", async () => {
    const client = new Redis(server.url)
    const own = new RateLimiterRedis({ storeClient: client, points: 3, duration: 600, keyPrefix: 'own' })
    const handler = limiter({ redis: client, by: 'user', points: 5, duration: 600 })
    for (let i = 0; i < 3; i++) await own.consume('alice')
    const refused = await own.consume('alice').catch((reason: unknown) => reason)
    expect(refused).to.have.property('consumedPoints', 4)
    expect(await admittedOf(handler, 10, alice)).to.equal(5)
    await handlers.pop()?.close()
    expect(await client.ping()).to.equal('PONG')
    client.disconnect()
  })
})
