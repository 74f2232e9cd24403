import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect } from 'chai'
import type { ErrorRequestHandler, RequestHandler } from 'express'
import supertest from 'supertest'
import type { Auth } from '../../lib/core/auth.js'
import {
  type ConversationStreamsOptions,
  conversationStreams,
  createMultiplexer,
  type DashboardData,
  dashboardInit,
  diagnostics,
  metrics,
  sseErrors,
  tickets,
  webhooks,
} from '../../lib/index.js'
import { MemoryStore } from '../../lib/store/memory.js'
import type { KeyValueStore } from '../../lib/store/store.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve } from '../helpers/http-server.js'

const signedIn: RequestHandler = (req, _res, next) => {
  req.auth = { user: 'dana', tenant: 'acme', expiresAt: Date.now() + 60_000, claims: {} }
  next()
}

/** Each way in which a function of the application can fail. */
const FAILURES: Record<string, () => never> = {
  'throws an Error': () => {
    throw new Error('broken')
  },
  'throws a value that is not an Error': () => {
    throw 'router'
  },
  'throws undefined': () => {
    throw undefined
  },
  'rejects with an Error': () => Promise.reject(new Error('broken')) as never,
  'rejects with a value that is not an Error': () => Promise.reject('route') as never,
  'rejects with undefined': () => Promise.reject() as never,
}

/** Waits until pending promises and immediates have run. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
}

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`functions that the application gives to routers, on ${name}`, () => {
    const undo: (() => unknown)[] = []
    let clock: FakeClock
    let errors: unknown[]

    beforeEach(() => {
      clock = new FakeClock()
      errors = []
    })

    afterEach(async () => {
      for (const step of undo.splice(0).reverse()) await step()
    })

    async function start(...handlers: RequestHandler[]): Promise<ReturnType<typeof supertest>> {
      const app = express()
      app.set('env', 'test')
      app.use(signedIn)
      for (const handler of handlers) app.use(handler)
      app.use(((error, _req, _res, next) => {
        errors.push(error)
        next(error)
      }) as ErrorRequestHandler)
      app.use(sseErrors({ onError: null }))
      const server = await serve(app)
      undo.push(() => server.stop())
      return supertest(server.url)
    }

    /** Never settles, and advances the clock when the time-out is set. */
    const never = (ms: number) => (): never => {
      setImmediate(() => clock.advance(ms))
      return new Promise(() => undefined) as never
    }

    function dashboard(
      load: (auth: Auth) => DashboardData | Promise<DashboardData>,
      more: object = {},
    ): RequestHandler {
      const router = dashboardInit({ load, clock, ...more })
      undo.push(() => router.close())
      return router
    }

    function conversations(authorize: ConversationStreamsOptions['authorize'], more: object = {}): RequestHandler {
      const multiplexer = createMultiplexer()
      undo.push(() => multiplexer.close())
      return conversationStreams({ multiplexer, authorize, clock, ...more })
    }

    function hooks(failureLimit: RequestHandler): RequestHandler {
      const router = webhooks({ secrets: 's', verifyToken: 't', onMessage: () => undefined, failureLimit, clock })
      undo.push(() => router.close())
      return router
    }

    const register = (read: () => never) => metrics({ register: { contentType: 'text/plain', metrics: read } })

    for (const [how, fail] of Object.entries(FAILURES)) {
      it(`pass the error to the error handler: load ${how}`, async () => {
        const agent = await start(dashboard(fail))
        for (let i = 1; i <= 2; i++) {
          expect((await agent.get('/init')).status).to.equal(500)
          expect(errors).to.have.length(i)
          expect(errors.at(-1)).to.be.an('error')
        }
      })

      it(`pass the error to the error handler: authorize ${how}`, async () => {
        const agent = await start(conversations(fail))
        for (const path of ['/messages/1', '/poll/messages/1']) expect((await agent.get(path)).status).to.equal(500)
        expect(errors).to.have.length(2)
        for (const error of errors) expect(error).to.be.an('error')
      })

      it(`pass the error to the error handler: failureLimit ${how}`, async () => {
        const agent = await start(hooks(fail))
        expect((await agent.post('/whatsapp').send({})).status).to.equal(500)
        expect(errors).to.have.length(1)
        expect(errors[0]).to.be.an('error')
      })

      it(`pass the error to the error handler: register.metrics ${how}`, async () => {
        const agent = await start(register(fail))
        expect((await agent.get('/')).status).to.equal(500)
        expect(errors).to.have.length(1)
        expect(errors[0]).to.be.an('error')
      })
    }

    it('end in 503 when load never settles, for all waiting requests, and the next request loads again', async () => {
      let loads = 0
      const agent = await start(
        dashboard(() => {
          if (++loads > 1) return { profile: 1, tenant: 2, features: 3, channels: 4 }
          return never(10_000)()
        }),
      )
      const refused = await agent.get('/init')
      expect([refused.status, refused.body.code, refused.headers['retry-after']]).to.deep.equal([
        503,
        'ERR_SSE_CALLBACK_TIMEOUT',
        '1',
      ])
      expect(errors).to.have.length(1)
      expect((await agent.get('/init')).body).to.deep.equal({ profile: 1, tenant: 2, features: 3, channels: 4 })
    })

    it('wait for loadTimeoutMs, and without a limit for 0', async () => {
      const agent = await start(dashboard(never(10), { loadTimeoutMs: 10 }))
      expect((await agent.get('/init')).status).to.equal(503)
      let finish = (): void => undefined
      const data = { profile: 1, tenant: 2, features: 3, channels: 4 }
      const load = (): Promise<DashboardData> => {
        setImmediate(() => {
          clock.advance(86_400_000)
          finish()
        })
        return new Promise((resolve) => {
          finish = () => resolve(data)
        })
      }
      const patient = await start(dashboard(load, { loadTimeoutMs: 0 }))
      expect((await patient.get('/init')).body).to.deep.equal(data)
    })

    it('do not cache the result of a load that settles too late', async () => {
      let finish = (): void => undefined
      let loads = 0
      const agent = await start(
        dashboard(() => {
          loads++
          setImmediate(() => clock.advance(10_000))
          return new Promise((resolve) => {
            finish = () => resolve({ profile: loads, tenant: 2, features: 3, channels: 4 })
          })
        }),
      )
      expect((await agent.get('/init')).status).to.equal(503)
      finish()
      expect((await agent.get('/init')).status).to.equal(503)
      expect(loads).to.equal(2)
    })

    for (const ttlMs of [0, 30_000]) {
      it(`do not change the answer of a time-out middleware: load with ttlMs ${ttlMs}`, async () => {
        const impatient: RequestHandler = (_req, res, next) => {
          setImmediate(() => res.status(504).end())
          next()
        }
        let finish = (): void => undefined
        const load = (): Promise<DashboardData> =>
          new Promise((resolve) => {
            finish = () => resolve({ profile: 1, tenant: 2, features: 3, channels: 4 })
          })
        const agent = await start(impatient, dashboard(load, { ttlMs }))
        expect((await agent.get('/init')).status).to.equal(504)
        finish()
        await settled()
        expect(errors, 'the client has its answer').to.deep.equal([])
      })
    }

    it('do not change the answer of a time-out middleware: metrics and tickets', async () => {
      const impatient: RequestHandler = (_req, res, next) => {
        setImmediate(() => res.status(504).end())
        next()
      }
      let finish = (): void => undefined
      const later = <T>(value: T): Promise<T> =>
        new Promise((resolve) => {
          finish = () => resolve(value)
        })
      const store = new MemoryStore()
      undo.push(() => store.close())
      const slow = Object.assign(Object.create(store) as KeyValueStore, {
        set: () => later(undefined),
        take: () => later(''),
      })
      const reading = metrics({ register: { contentType: 'text/plain', metrics: () => later('text') } })
      for (const [handler, method] of [
        [reading, 'get'],
        [tickets({ store: slow }), 'post'],
      ] as const) {
        const agent = await start(impatient, handler)
        expect((await agent[method]('/').send(method === 'post' ? { path: '/x' } : undefined)).status).to.equal(504)
        finish()
        await settled()
      }
      expect(errors).to.deep.equal([])
    })

    it('end in 503 when authorize never settles, and report it', async () => {
      const reported: unknown[] = []
      const note = (message: unknown): void => void reported.push((message as { operation: unknown }).operation)
      subscribe(diagnostics.callbackError, note)
      undo.push(() => unsubscribe(diagnostics.callbackError, note))
      const agent = await start(conversations(never(10_000)))
      for (const path of ['/messages/1', '/poll/messages/1']) {
        const { status, body } = await agent.get(path)
        expect([status, body.code]).to.deep.equal([503, 'ERR_SSE_CALLBACK_TIMEOUT'])
      }
      expect(reported).to.deep.equal(['authorize', 'authorize'])
    })

    it('end in 503 when a register never answers', async () => {
      const agent = await start(metrics({ register: { contentType: 'text/plain', metrics: never(10_000) }, clock }))
      const { status, body } = await agent.get('/')
      expect([status, body.code]).to.deep.equal([503, 'ERR_SSE_CALLBACK_TIMEOUT'])
    })

    it('wait a limited time for a store: the dashboard loads without it, a ticket is a 503', async () => {
      const memory = new MemoryStore()
      undo.push(() => memory.close())
      const store = Object.assign(Object.create(memory) as KeyValueStore, { get: never(10_000), set: never(10_000) })
      const data = { profile: 1, tenant: 2, features: 3, channels: 4 }
      const loading = await start(dashboard(() => data, { store }))
      expect((await loading.get('/init')).body).to.deep.equal(data)
      const { status, body } = await (await start(tickets({ store, clock }))).post('/').send({ path: '/x' })
      expect([status, body.code]).to.deep.equal([503, 'ERR_SSE_BROKER_TIMEOUT'])
    })

    it('grant access only when authorize returns true', async () => {
      for (const [answer, status] of [
        [undefined, 403],
        [null, 403],
        ['', 403],
        [0, 403],
        ['no', 500],
        [1, 500],
        [{}, 500],
      ] as const) {
        const agent = await start(conversations((async () => answer) as never))
        for (const path of ['/messages/1', '/poll/messages/1']) {
          expect((await agent.get(path)).status, String(answer)).to.equal(status)
        }
      }
    })

    it('end in 503 when failureLimit neither answers nor calls next', async () => {
      for (const limit of [never(10_000), () => setImmediate(() => clock.advance(10_000)) as never]) {
        const agent = await start(hooks(limit))
        const { status, body } = await agent.post('/whatsapp').send({})
        expect([status, body.code]).to.deep.equal([503, 'ERR_SSE_CALLBACK_TIMEOUT'])
      }
    })

    it('keep the answer of failureLimit, also when it fails afterwards', async () => {
      const agent = await start(
        hooks(async (_req, res) => {
          res.status(429).end()
          throw new Error('broken')
        }),
      )
      expect((await agent.post('/whatsapp').send({})).status).to.equal(429)
      expect(errors).to.have.length(1)
    })

    it('are refused at construction with an invalid time-out', () => {
      const multiplexer = createMultiplexer()
      undo.push(() => multiplexer.close())
      for (const ms of [-1, 1.5, Number.NaN, 600_001, '5' as unknown as number]) {
        for (const make of [
          () => dashboardInit({ load: () => ({}) as DashboardData, loadTimeoutMs: ms }),
          () => conversationStreams({ multiplexer, authorize: () => true, authorizeTimeoutMs: ms }),
        ]) {
          expect(make).to.throw().with.property('code', 'ERR_SSE_OPTION_INVALID')
        }
      }
    })
  })
}
