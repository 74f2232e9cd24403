import { createHmac } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect } from 'chai'
import type { ErrorRequestHandler, RequestHandler } from 'express'
import supertest from 'supertest'
import { markAuthenticated } from '../../../lib/http/auth-of.js'
import { type RateLimitHandler, rateLimit } from '../../../lib/routers/rate-limit.js'
import { webhooks } from '../../../lib/routers/webhooks/webhooks.js'
import { EXPRESS_VERSIONS } from '../../helpers/express-versions.js'
import { FakeClock } from '../../helpers/fake-clock.js'
import { serve, type TestServer } from '../../helpers/http-server.js'
import { RedisServer } from '../../helpers/redis-server.js'

/** Authenticates a request as the user in `X-User`. */
const authenticated: RequestHandler = (req, _res, next) => {
  const user = req.get('X-User')
  req.auth = user ? { user, tenant: req.get('X-Tenant') ?? 'acme', expiresAt: 0, claims: {} } : undefined
  markAuthenticated(req)
  next()
}

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`rateLimit on ${name}`, () => {
    const undo: (() => Promise<void>)[] = []
    let clock: FakeClock

    beforeEach(() => {
      clock = new FakeClock()
      // 19 s into a minute.
      clock.advance(79_000 - (clock.wallTime() % 60_000))
    })

    afterEach(async () => {
      for (const step of undo.splice(0).reverse()) await step()
    })

    function closing(handler: RateLimitHandler): RateLimitHandler {
      undo.push(() => handler.close())
      return handler
    }

    async function start(handlers: readonly RequestHandler[], trustProxy: unknown = 'loopback'): Promise<TestServer> {
      const app = express()
      app.set('trust proxy', trustProxy)
      app.use(authenticated)
      for (const handler of handlers) app.use(handler)
      app.get('/', (_req, res) => void res.json({ ok: true }))
      const failed: ErrorRequestHandler = (error, _req, res, _next) =>
        void res.status(500).json({ error: String(error) })
      app.use(failed)
      const server = await serve(app)
      undo.push(() => server.stop())
      return server
    }

    it('sends the policy and the remaining points, and answers 429 with a problem document', async () => {
      const limits = [
        { by: 'user', points: 2, duration: 60 },
        { by: 'tenant', points: 1000, duration: 60, algorithm: 'token-bucket', refillPerSecond: 50 },
      ] as const
      const agent = supertest((await start([closing(rateLimit({ limits, clock }))])).url)
      const first = await agent.get('/').set('X-User', 'alice')
      expect(first.status).to.equal(200)
      expect(first.headers).to.include({
        'ratelimit-policy': '"user";q=2;w=60, "tenant";q=1000;w=20',
        ratelimit: '"user";r=1;t=41, "tenant";r=999;t=1',
      })
      expect(first.headers).not.to.have.property('retry-after')
      await agent.get('/').set('X-User', 'alice')
      clock.advance(500)
      const refused = await agent.get('/').set('X-User', 'alice')
      expect(refused.status).to.equal(429)
      expect(refused.headers).to.include({
        'content-type': 'application/problem+json; charset=utf-8',
        'retry-after': '41',
        ratelimit: '"user";r=0;t=41, "tenant";r=1000;t=0',
      })
      expect(refused.body).to.deep.equal({
        limit: 'user',
        points: 2,
        durationMs: 60_000,
        title: 'Too many requests',
        status: 429,
        code: 'ERR_SSE_RATE_LIMITED',
        detail: 'The limit "user" is exhausted. Retry after 41 s.',
      })
    })

    it('sends a Retry-After of at least 1, also at the end of a window', async () => {
      const agent = supertest((await start([closing(rateLimit({ by: 'ip', points: 1, duration: 60, clock }))])).url)
      await agent.get('/')
      clock.advance(40_999)
      for (const ms of [0, 0.9, 0.09]) {
        clock.advance(ms)
        expect((await agent.get('/')).headers['retry-after'], `${ms} ms later`).to.equal('1')
      }
    })

    it('adds to the headers of an earlier limiter', async () => {
      const both = [
        closing(rateLimit({ by: 'ip', points: 5, duration: 60, clock })),
        closing(rateLimit({ by: 'user', points: 3, duration: 60, clock })),
      ]
      const answer = await supertest((await start(both)).url)
        .get('/')
        .set('X-User', 'alice')
      expect(answer.headers).to.include({
        'ratelimit-policy': '"ip";q=5;w=60, "user";q=3;w=60',
        ratelimit: '"ip";r=4;t=41, "user";r=2;t=41',
      })
    })

    it('gives each of ten users behind one address the full quota', async () => {
      const limits = [
        { by: 'user', points: 20, duration: 60 },
        { by: 'ip', points: 3, duration: 60, skip: (req: { auth?: unknown }) => req.auth !== undefined },
      ] as const
      const agent = supertest((await start([closing(rateLimit({ limits, clock }))])).url)
      const users = Array.from({ length: 10 }, (_, i) => `user ${i}`)
      const admitted = await Promise.all(
        users.map(async (user) => {
          let count = 0
          for (let i = 0; i < 25; i++) if ((await agent.get('/').set('X-User', user)).status === 200) count++
          return count
        }),
      )
      expect(admitted).to.deep.equal(Array(10).fill(20))
      const anonymous = await Promise.all(Array.from({ length: 5 }, () => agent.get('/')))
      expect(anonymous.filter(({ status }) => status === 200)).to.have.length(3)
    })

    it('counts the addresses that a trusted proxy sends: IPv4-mapped ones as IPv4, IPv6 by /56', async () => {
      const agent = supertest((await start([closing(rateLimit({ by: 'ip', points: 2, duration: 60, clock }))])).url)
      const from = async (address: string) => (await agent.get('/').set('X-Forwarded-For', address)).status
      expect([await from('192.0.2.1'), await from('::ffff:192.0.2.1'), await from('192.0.2.1')]).to.deep.equal([
        200, 200, 429,
      ])
      expect(await from('192.0.2.2')).to.equal(200)
      const rotated = ['2001:db8:0:1200::1', '2001:db8:0:12ff::2', '2001:db8:0:1234:5:6:7:8']
      expect([await from('2001:db8:0:1300::1'), ...(await Promise.all(rotated.map(from))).sort()]).to.deep.equal([
        200, 200, 200, 429,
      ])
    })

    it('warns once if any client can set its address', async () => {
      const warnings: Error[] = []
      const listener = (warning: Error): void => void warnings.push(warning)
      process.on('warning', listener)
      undo.push(async () => void process.off('warning', listener))
      for (const [trusted, expected] of [
        [true, 1],
        [1, 0],
        ['loopback', 0],
      ] as const) {
        warnings.length = 0
        const agent = supertest(
          (await start([closing(rateLimit({ by: 'ip', points: 2, duration: 60, clock }))], trusted)).url,
        )
        for (let i = 0; i < 3; i++) await agent.get('/')
        expect(warnings.filter((warning) => 'code' in warning && warning.code === 'SSE_TRUST_PROXY')).to.have.length(
          expected,
        )
      }
    })

    it('passes an invalid result of an option to Express as an error', async () => {
      const limit = closing(rateLimit({ by: 'ip', points: () => Number.NaN, duration: 60, clock }))
      const answer = await supertest((await start([limit])).url).get('/')
      expect([answer.status, answer.body.error]).to.deep.equal([
        500,
        'InvalidOptionError: points must be a whole number from 1 to 1000000000, got NaN',
      ])
    })

    it('reports decisions to diagnostics', async () => {
      const decisions: unknown[] = []
      const listener = (message: unknown): void => void decisions.push(message)
      subscribe('express-sse-kit:limiter:decision', listener)
      undo.push(async () => void unsubscribe('express-sse-kit:limiter:decision', listener))
      const agent = supertest((await start([closing(rateLimit({ by: 'ip', points: 1, duration: 60, clock }))])).url)
      for (let i = 0; i < 2; i++) await agent.get('/')
      expect(decisions).to.deep.equal([
        { admitted: true, source: 'local', limit: undefined },
        { admitted: false, source: 'local', limit: 'ip' },
      ])
    })

    describe('before webhooks', () => {
      const secret = '0123456789abcdef0123456789abcdef'
      const body = JSON.stringify({ object: 'whatsapp_business_account', entry: [] })
      const signed = `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
      let redis: RedisServer

      before(async () => {
        redis = await RedisServer.start()
      })

      after(async () => {
        await redis.stop()
      })

      async function receiver(options: { redis?: string; mode?: 'exact' }): Promise<TestServer> {
        const router = webhooks({ secrets: secret, verifyToken: 'token', onMessage: () => undefined })
        const limit = rateLimit({
          by: 'ip',
          name: `signatures-${undo.length}-${name.at(-1)}-${options.mode ?? 'hybrid'}`,
          points: 5,
          duration: 2_073_600,
          countWhen: ({ statusCode }) => statusCode === 401,
          ...options,
        })
        undo.push(() => router.close())
        return start([closing(limit), router])
      }

      const post = (url: string, signature: string) =>
        supertest(url)
          .post('/whatsapp')
          .set('Content-Type', 'application/json')
          .set('X-Hub-Signature-256', signature)
          .send(body)

      for (const kind of ['in this process', 'on leases', 'exact'] as const) {
        it(`limits failed signatures by address, and no valid ones below the limit: ${kind}`, async () => {
          const options = {
            ...(kind !== 'in this process' && { redis: redis.url }),
            ...(kind === 'exact' && { mode: 'exact' as const }),
          }
          const { url } = await receiver(options)
          // Not more requests at a time than points: each may be a failure until it is answered.
          for (let i = 0; i < 10; i++) {
            const burst = await Promise.all(Array.from({ length: 3 }, () => post(url, signed)))
            expect(new Set(burst.map(({ status }) => status))).to.deep.equal(new Set([200]))
            // Points are returned when the answer is sent.
            await new Promise((resolve) => setTimeout(resolve, 20))
          }
          const statuses: number[] = []
          for (let i = 0; i < 8; i++) {
            statuses.push((await post(url, 'sha256=00')).status)
            // The exact limiter counts in Redis when the answer is sent.
            await new Promise((resolve) => setTimeout(resolve, 20))
          }
          expect(statuses).to.deep.equal([401, 401, 401, 401, 401, 429, 429, 429])
          expect((await post(url, signed)).status, 'afterwards any request of this address').to.equal(429)
        })
      }

      it('counts a failed signature by address if the client has disconnected', async () => {
        const limit = closing(rateLimit({ by: 'ip', points: 5, duration: 2_073_600 }))
        const router = webhooks({
          secrets: secret,
          verifyToken: 'token',
          onMessage: () => undefined,
          failureLimit: limit,
        })
        undo.push(() => router.close())
        const leaving: RequestHandler = (req, _res, next) => {
          if (req.get('X-Leaves')) req.once('end', () => req.socket.destroy())
          next()
        }
        const { url } = await start([leaving, router])
        for (let i = 0; i < 5; i++) {
          const left = await post(url, 'sha256=00')
            .set('X-Leaves', 'yes')
            .then(
              () => false,
              () => true,
            )
          expect(left).to.equal(true)
        }
        expect((await post(url, 'sha256=00')).status).to.equal(429)
      })

      it('limits only failed signatures as the failureLimit of webhooks', async () => {
        const limit = rateLimit({ by: 'ip', points: 5, duration: 2_073_600 })
        const router = webhooks({
          secrets: secret,
          verifyToken: 'token',
          onMessage: () => undefined,
          failureLimit: limit,
        })
        undo.push(
          () => limit.close(),
          () => router.close(),
        )
        const { url } = await start([router])
        const statuses: number[] = []
        for (let i = 0; i < 7; i++) {
          statuses.push((await post(url, 'sha256=00')).status, (await post(url, signed)).status)
        }
        const expected = [401, 401, 401, 401, 401, 429, 429].flatMap((status) => [status, 200])
        expect(statuses).to.deep.equal(expected)
        const refused = await post(url, 'sha256=00')
        expect(refused.body).to.include({ code: 'ERR_SSE_RATE_LIMITED', limit: 'ip' })
      })
    })
  })
}
