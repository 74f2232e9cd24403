import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import type { RateLimitOptions } from '../../../lib/limits/requests/options.js'
import { type RateLimitHandler, rateLimit } from '../../../lib/routers/rate-limit.js'
import { eventually } from '../../helpers/eventually.js'
import { freePort } from '../../helpers/free-port.js'
import { RedisServer } from '../../helpers/redis-server.js'
import { type Answer, admittedOf, ask, request } from './support.js'

const LONG = 2_073_600
const TIMEOUT_MS = 250
const alice = request({ user: 'alice' })

type Fault = 'hangs' | 'is killed' | 'was never there'

describe('request limits while Redis fails', () => {
  let server: RedisServer
  const undo: (() => Promise<void> | void)[] = []

  beforeEach(async () => {
    server = await RedisServer.start()
    undo.push(() => server.stop())
  })

  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step()
  })

  function limiter(options: Partial<RateLimitOptions> = {}): RateLimitHandler {
    const defaults = { by: 'user', points: 100, duration: LONG, redis: server.url, timeoutMs: TIMEOUT_MS }
    const handler = rateLimit({ ...defaults, ...options } as RateLimitOptions)
    undo.push(() => handler.close())
    return handler
  }

  /** Sends requests until the handler has no leased points and Redis has failed. @returns the number of admissions */
  async function untilRedisFails(handler: RateLimitHandler, user = 'alice'): Promise<number> {
    const failed = nextError()
    let admitted = 0
    while (!failed.seen) {
      if ((await ask(handler, request({ user }))).admitted) admitted++
      await new Promise(setImmediate)
    }
    return admitted
  }

  function admin(): Redis {
    const client = new Redis(server.url)
    // Its connection ends with the server.
    client.on('error', () => undefined)
    undo.push(() => client.disconnect())
    return client
  }

  function nextError(): { seen: boolean } {
    const state = { seen: false }
    const listener = (): void => {
      state.seen = true
    }
    subscribe('express-sse-kit:limiter:error', listener)
    undo.push(() => void unsubscribe('express-sse-kit:limiter:error', listener))
    return state
  }

  async function make(fault: Fault): Promise<void> {
    if (fault === 'hangs') server.pause()
    else await server.kill()
  }

  for (const mode of ['hybrid', 'exact'] as const) {
    for (const fault of ['hangs', 'is killed', 'was never there'] as const) {
      const options = async (): Promise<Partial<RateLimitOptions>> => ({
        mode,
        ...(fault === 'was never there' && { redis: `redis://127.0.0.1:${await freePort()}` }),
      })

      it(`admit up to the local cap and never fail with onError open: ${mode}, Redis ${fault}`, async () => {
        const handler = limiter({ ...(await options()), onError: 'open', localPoints: 30 })
        if (fault !== 'was never there') {
          expect(await admittedOf(handler, 5, alice)).to.equal(5)
          await make(fault)
        }
        const answers: Answer[] = []
        for (let i = 0; i < 150; i++) answers.push(await ask(handler, alice))
        expect(answers.filter(({ admitted }) => admitted).length).to.be.within(25, 30)
        expect(new Set(answers.map(({ status }) => status))).to.deep.equal(new Set([200, 429]))
        // Another user has a separate cap.
        expect(await admittedOf(handler, 100, request({ user: 'bob' }))).to.equal(30)
      })

      it(`answer 503 with Retry-After with onError closed: ${mode}, Redis ${fault}`, async () => {
        const handler = limiter({ ...(await options()), onError: 'closed' })
        if (fault !== 'was never there') {
          expect(await admittedOf(handler, 5, alice)).to.equal(5)
          await make(fault)
        }
        await untilRedisFails(handler)
        const answer = await ask(handler, request({ user: 'bob' }))
        expect(answer).to.deep.include({ admitted: false, status: 503 })
        expect(answer.headers).to.include({
          'Retry-After': '1',
          'Content-Type': 'application/problem+json; charset=utf-8',
        })
        expect(answer.body).to.include({ code: 'ERR_SSE_LIMITER_UNAVAILABLE', status: 503 })
      })
    }

    it(`do not wait once Redis is known to be unavailable, and recover with it: ${mode}`, async () => {
      const handler = limiter({ mode, onError: 'closed' })
      await ask(handler, alice)
      server.pause()
      await untilRedisFails(handler)
      // Redis could answer none of these requests: each would wait for the time-out.
      const before = performance.now()
      for (let i = 0; i < 1000; i++) expect((await ask(handler, request({ user: `user ${i}` }))).status).to.equal(503)
      expect(performance.now() - before).to.be.below(1000 * TIMEOUT_MS)
      server.resume()
      await eventually(async () => (await ask(handler, request({ user: 'carol' }))).admitted)
    })
  }

  for (const onError of ['open', 'closed'] as const) {
    it(`fail no request under load while Redis hangs, is killed and restarts empty: ${onError}`, async () => {
      const limiters = [limiter({ onError, points: 50, duration: 2 }), limiter({ onError, points: 50, duration: 2 })]
      const lately = new Set<number>()
      const ever = new Set<number>()
      let ended = false
      const load = limiters.map(async (handler) => {
        for (let i = 0; !ended; i++) {
          const { status } = await ask(handler, request({ user: `user ${i % 20}` }))
          lately.add(status)
          ever.add(status)
          if (i % 20 === 0) await new Promise(setImmediate)
        }
      })
      const seen = async (status: number): Promise<void> => {
        lately.clear()
        await eventually(() => lately.has(status))
      }
      const [good, bad] = onError === 'open' ? [200, 200] : [200, 503]
      for (const [fail, recover] of [
        [() => server.pause(), () => server.resume()],
        [() => server.kill(), () => server.up()],
      ] as const) {
        await seen(good)
        await fail()
        await seen(bad)
        await recover()
        await seen(good)
      }
      ended = true
      await Promise.all(load)
      expect([...ever].filter((status) => status !== 429 && status !== good && status !== bad)).to.deep.equal([])
    })
  }

  it('admit by leased points while Redis is unavailable, also with onError closed', async () => {
    const handler = limiter({ points: 6400, onError: 'closed' })
    await ask(handler, alice)
    await server.kill()
    expect(await admittedOf(handler, 50, alice)).to.equal(50)
  })

  for (const algorithm of ['fixed-window', 'token-bucket'] as const) {
    const key = `sse:limit:${algorithm === 'fixed-window' ? 'w' : 'b'}${LONG}:user:{acme:alice}`

    it(`count admissions during an outage of Redis when it is available again: ${algorithm}`, async () => {
      const [first, second] = [limiter({ algorithm }), limiter({ algorithm })]
      await ask(second, alice)
      server.pause()
      let admitted = await untilRedisFails(first)
      admitted += await admittedOf(first, 70 - admitted, alice)
      expect(admitted).to.equal(70)
      server.resume()
      const redis = admin()
      await eventually(async () => {
        const { c = 0, t = 100 } = await redis.hgetall(key)
        return algorithm === 'fixed-window' ? Number(c) >= 70 : Number(t) <= 30
      })
      expect(await eventuallyExhausted([first, second])).to.be.within(20, 29)
    })

    it(`restore consumed points in a Redis that restarts without data: ${algorithm}`, async () => {
      const [first, second] = [limiter({ algorithm, points: 200 }), limiter({ algorithm, points: 200 })]
      expect(await admittedOf(first, 60, alice)).to.equal(60)
      expect(await admittedOf(second, 20, alice)).to.equal(20)
      const redis = admin()
      // Waits until no point is leased, so that only the return of Redis causes the next report.
      await eventually(async () => {
        const { l, c, t } = await redis.hgetall(key)
        return algorithm === 'fixed-window' ? l === '80' && c === '80' : Number(t) >= 120
      })
      await server.kill()
      await server.up()
      const holders = async () => Object.keys(await redis.hgetall(key)).filter((field) => field.length > 1)
      await eventually(async () => (await holders()).length === 2)
      const rest = await eventuallyExhausted([first, second])
      // A bucket begins with the tokens that the first process last saw, which may be fewer than there were.
      if (algorithm === 'fixed-window') expect(rest).to.equal(120)
      else expect(rest).to.be.within(40, 140)
    })
  }

  it('use the lease of an answer that arrives after the time-out', async () => {
    const handler = limiter({ onError: 'closed', points: 6400 })
    await ask(handler, request({ user: 'warm' }))
    server.pause()
    expect((await ask(handler, alice)).status).to.equal(503)
    server.resume()
    const redis = admin()
    await eventually(async () => (await redis.exists(`sse:limit:w${LONG}:user:{acme:alice}`)) === 1)
    await server.kill()
    // From the lease of the late answer, because Redis is not running any more.
    await eventually(async () => (await ask(handler, alice)).admitted)
  })

  it('apply onError if Redis refuses a command, and answer neither 429 nor 500', async () => {
    const own = await RedisServer.start(['--maxmemory', '1', '--maxmemory-policy', 'noeviction'])
    undo.push(() => own.stop())
    for (const mode of ['hybrid', 'exact'] as const) {
      const open = limiter({ mode, redis: own.url })
      expect(await admittedOf(open, 5, alice)).to.equal(5)
      const closed = limiter({ mode, redis: own.url, onError: 'closed' })
      expect((await ask(closed, alice)).status).to.equal(503)
    }
  })

  it('send scripts again that Redis has lost', async () => {
    const handler = limiter({ onError: 'closed' })
    const failed = nextError()
    await ask(handler, alice)
    const redis = admin()
    await redis.script('FLUSH')
    // Unused points are returned.
    await eventually(async () => {
      const [leased, consumed] = await redis.hmget(`sse:limit:w${LONG}:user:{acme:alice}`, 'l', 'c')
      return leased === '1' && consumed === '1'
    })
    await redis.script('FLUSH')
    expect((await ask(handler, request({ user: 'bob' }))).admitted).to.equal(true)
    expect(failed.seen).to.equal(false)
  })

  it('recover from 100,000 keys that were created and evicted while Redis hung', async () => {
    const handler = limiter({ points: 1 })
    server.pause()
    await untilRedisFails(handler)
    for (let i = 0; i < 100_100; i++) void handler(request({ user: `u${i}` }), PASSIVE as never, () => undefined)
    server.resume()
    await eventually(async () => (await ask(handler, request({ user: 'later' }))).admitted)
  })

  /** Sends requests to all handlers until none admits, and no other process can hold a lease. */
  async function eventuallyExhausted(handlers: readonly RateLimitHandler[]): Promise<number> {
    let admitted = 0
    await eventually(async () => {
      const answers = await Promise.all(handlers.map((handler) => ask(handler, alice)))
      admitted += answers.filter((answer) => answer.admitted).length
      return answers.every(({ headers, status }) => status === 429 && Number(headers['Retry-After']) > 10)
    })
    return admitted
  }
})

const PASSIVE = { getHeader: () => undefined, setHeader: () => undefined, once: () => undefined, end: () => undefined }
