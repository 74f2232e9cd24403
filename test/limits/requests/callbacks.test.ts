import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect } from 'chai'
import type { ErrorRequestHandler, RequestHandler } from 'express'
import supertest from 'supertest'
import { diagnostics, type RateLimitOptions, rateLimit } from '../../../lib/index.js'
import { EXPRESS_VERSIONS } from '../../helpers/express-versions.js'
import { serve } from '../../helpers/http-server.js'
import { createStreamLimits } from '../../helpers/internals.js'
import { RedisServer } from '../../helpers/redis-server.js'

const LIMIT = { by: 'ip', points: 3, duration: 2_073_600 } as const

function note(undo: (() => unknown)[]): { operation: string; error: unknown }[] {
  const reported: { operation: string; error: unknown }[] = []
  const listener = (message: unknown): void => void reported.push(message as (typeof reported)[number])
  subscribe(diagnostics.limiterError, listener)
  undo.push(() => unsubscribe(diagnostics.limiterError, listener))
  return reported
}

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`functions that the application gives to rateLimit on ${name}`, () => {
    const undo: (() => unknown)[] = []
    let errors: Error[]

    beforeEach(() => {
      errors = []
    })

    afterEach(async () => {
      for (const step of undo.splice(0).reverse()) await step()
    })

    async function start(
      options: RateLimitOptions,
      ...before: RequestHandler[]
    ): Promise<ReturnType<typeof supertest>> {
      const limit = rateLimit(options)
      const app = express()
      app.set('env', 'test')
      for (const handler of before) app.use(handler)
      app.use(limit)
      app.get('/', (_req, res) => void res.status(401).json({ ok: true }))
      app.use(((error: Error, _req, res, _next) => {
        errors.push(error)
        res.status(500).end()
      }) as ErrorRequestHandler)
      const server = await serve(app)
      undo.push(
        () => limit.close(),
        () => server.stop(),
      )
      return supertest(server.url)
    }

    const broken: Record<string, () => never> = {
      throws: () => {
        throw new Error('broken')
      },
      rejects: () => Promise.reject(new Error('broken')) as never,
    }

    for (const option of ['by', 'skip', 'cost', 'points'] as const) {
      for (const [how, fail] of Object.entries(broken)) {
        it(`pass their error to the error handler, and admit nothing: ${option} ${how}`, async () => {
          const reported = note(undo)
          const agent = await start({ ...LIMIT, name: 'limit', [option]: fail })
          expect((await agent.get('/')).status).to.equal(500)
          expect(errors).to.have.length(1)
          if (how === 'throws') expect(errors[0]?.message).to.equal('broken')
          else {
            expect(errors[0]?.message).to.contain(`${option} must return its result, not a promise`)
            await new Promise((resolve) => setImmediate(resolve))
            expect(reported.map(({ operation, error }) => [operation, String(error)])).to.deep.equal([
              [option, 'Error: broken'],
            ])
          }
        })
      }
    }

    it('cause an error for the error handler if they return an invalid value', async () => {
      for (const by of [null, 7, {}, [], true, async () => 'key', Symbol('key')]) {
        const agent = await start({ ...LIMIT, name: 'limit', by: (() => by) as never })
        expect((await agent.get('/')).status, String(by)).to.equal(500)
        expect(errors.pop()?.message).to.contain('by must return')
      }
    })

    for (const [how, fail] of Object.entries(broken)) {
      it(`count the answer if countWhen ${how}, and report the error`, async () => {
        const reported = note(undo)
        const agent = await start({ ...LIMIT, countWhen: fail })
        const statuses: number[] = []
        for (let i = 0; i < 5; i++) statuses.push((await agent.get('/')).status)
        expect(statuses).to.deep.equal([401, 401, 401, 429, 429])
        expect(reported[0]?.operation).to.equal('countWhen')
        expect(new Set(reported.map(({ error }) => (error as Error).message))).to.include('broken')
      })
    }

    it('do not change a response that was sent during the call to Redis', async () => {
      const redis = await RedisServer.start()
      undo.push(() => redis.stop())
      const impatient: RequestHandler = (_req, res, next) => {
        next()
        res.status(504).end()
      }
      for (const mode of ['hybrid', 'exact'] as const) {
        const agent = await start({ ...LIMIT, redis: redis.url, mode }, impatient)
        expect((await agent.get('/')).status).to.equal(504)
      }
      await new Promise((resolve) => setTimeout(resolve, 300))
      expect(errors).to.deep.equal([])
    })
  })
}

describe('the holders of stream leases', () => {
  for (const [how, close] of Object.entries({
    throws: () => {
      throw new Error('broken')
    },
    rejects: () => Promise.reject(new Error('broken')),
  })) {
    it(`do not prevent a newer stream from opening if close ${how}`, async () => {
      const undo: (() => unknown)[] = []
      const reported = note(undo)
      const limits = createStreamLimits({ perUser: 1, evictOldest: true })
      const owner = { auth: { user: 'dana', tenant: 'acme', expiresAt: Date.now() + 60_000, claims: {} } }
      await limits.acquire(owner, { id: 'first', close })
      await limits.acquire(owner, { id: 'second', close: () => undefined })
      expect(limits.size).to.equal(1)
      await new Promise((resolve) => setImmediate(resolve))
      expect(reported.map(({ operation, error }) => [operation, String(error)])).to.deep.equal([
        ['evict', 'Error: broken'],
      ])
      await limits.close()
      for (const step of undo) step()
    })
  }
})
