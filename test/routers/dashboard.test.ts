import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { connect } from 'node:net'
import { expect } from 'chai'
import express5, { type ErrorRequestHandler } from 'express'
import supertest from 'supertest'
import type { Auth } from '../../lib/core/auth.js'
import { type DashboardOptions, type DashboardRouter, dashboardInit } from '../../lib/routers/dashboard.js'
import { MemoryStore } from '../../lib/store/memory.js'
import { RedisStore } from '../../lib/store/redis.js'
import { eventually } from '../helpers/eventually.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve } from '../helpers/http-server.js'
import { RedisServer } from '../helpers/redis-server.js'

/** A load that the test settles. */
class HeldLoads {
  readonly begun: Auth[] = []
  readonly #ends: (() => void)[] = []
  #waiting: (() => void) | undefined

  readonly load = async (auth: Auth): Promise<{ profile: string; tenant: string; features: []; channels: [] }> => {
    const profile = `${auth.user} ${this.begun.push(auth)}`
    const ended = new Promise<void>((resolve) => this.#ends.push(resolve))
    this.#waiting?.()
    await ended
    return { profile, tenant: auth.tenant, features: [], channels: [] }
  }

  /** Resolves when `count` loads have begun in total. */
  async hasBegun(count: number): Promise<void> {
    while (this.begun.length < count) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve
      })
    }
  }

  end(load: number): void {
    this.#ends[load - 1]?.()
  }
}

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`dashboardInit on ${name}`, () => {
    const undo: (() => Promise<void>)[] = []

    afterEach(async () => {
      for (const step of undo.splice(0).reverse()) await step()
    })

    interface App {
      readonly router: DashboardRouter
      /** The number of calls of `load`. */
      loads(): number
      get(tenant: string, user: string): supertest.Test
    }

    async function start(options: Partial<DashboardOptions> = {}): Promise<App> {
      let loads = 0
      const load: DashboardOptions['load'] = ({ user, tenant }) => {
        loads++
        return { profile: { user, load: loads }, tenant, features: ['inbox'], channels: [] }
      }
      const router = dashboardInit({ load, ...options })
      const app = express()
      // Stands in for authenticate(), so that names can be anything.
      app.use((req, _res, next) => {
        const auth = req.headers['x-auth']
        if (typeof auth === 'string') {
          const [tenant, user] = JSON.parse(decodeURIComponent(auth)) as [string, string]
          req.auth = { user, tenant, expiresAt: 0, claims: {} }
        }
        next()
      })
      app.use('/dashboard', router)
      app.use(((error: Error, _req, res, _next) => {
        res.status(500).json({ handler: error.message })
      }) as ErrorRequestHandler)
      const server = await serve(app)
      undo.push(
        () => router.close(),
        () => server.stop(),
      )
      const agent = supertest(server.url)
      return {
        router,
        loads: () => loads,
        get: (tenant, user) =>
          agent.get('/dashboard/init').set('X-Auth', encodeURIComponent(JSON.stringify([tenant, user]))),
      }
    }

    async function expectCache(test: supertest.Test, cache: 'hit' | 'miss'): Promise<supertest.Response> {
      const answer = await test
      expect({ status: answer.status, cache: answer.headers['x-cache'] }).to.deep.equal({ status: 200, cache })
      return answer
    }

    it('loads once, and answers with the same bytes until ttlMs is over', async () => {
      const clock = new FakeClock()
      const app = await start({ clock, ttlMs: 1000 })
      const first = await expectCache(app.get('acme', 'ada'), 'miss')
      expect(first.body).to.deep.equal({
        profile: { user: 'ada', load: 1 },
        tenant: 'acme',
        features: ['inbox'],
        channels: [],
      })
      expect(first.headers).to.include({
        'content-type': 'application/json; charset=utf-8',
        'cache-control': 'private, no-cache',
      })
      clock.advance(999)
      expect((await expectCache(app.get('acme', 'ada'), 'hit')).text).to.equal(first.text)
      clock.advance(1)
      expect((await expectCache(app.get('acme', 'ada'), 'miss')).body.profile.load).to.equal(2)
    })

    it('answers 304 if nothing has changed', async () => {
      const app = await start()
      const { etag } = (await app.get('acme', 'ada')).headers
      expect((await app.get('acme', 'ada').set('If-None-Match', String(etag))).status).to.equal(304)
    })

    it('answers 401 to unauthenticated requests', async () => {
      const app = express().use('/dashboard', dashboardInit({ load: () => Promise.reject(new Error('loaded')) }))
      const server = await serve(app)
      undo.push(() => server.stop())
      const answer = await supertest(server.url).get('/dashboard/init')
      expect([answer.status, answer.body.code]).to.deep.equal([401, 'ERR_SSE_TOKEN_MISSING'])
      expect(answer.headers['www-authenticate']).to.equal('Bearer')
    })

    it('never serves the data of another user, also if the joined names are equal', async () => {
      const app = await start()
      const owners: [string, string][] = [
        ['acme', 'ada'],
        ['acme', 'bob'],
        ['apex', 'ada'],
        ['a:b', 'c'],
        ['a', 'b:c'],
        ['a%3Ab', 'c'],
        ['a:', 'b'],
        ['a', ':b'],
        ['ä', '*'],
      ]
      for (const [tenant, user] of owners) {
        const { body } = await expectCache(app.get(tenant, user), 'miss')
        expect([body.tenant, body.profile.user]).to.deep.equal([tenant, user])
      }
      for (const [tenant, user] of owners) {
        const { body } = await expectCache(app.get(tenant, user), 'hit')
        expect([body.tenant, body.profile.user]).to.deep.equal([tenant, user])
      }
    })

    it('caches nothing with ttlMs 0', async () => {
      const app = await start({ ttlMs: 0 })
      for (const load of [1, 2])
        expect((await expectCache(app.get('acme', 'ada'), 'miss')).body.profile.load).to.equal(load)
      await app.router.invalidate({ tenant: 'acme' })
    })

    it('loads once for all concurrent requests', async () => {
      const held = new HeldLoads()
      const store = new MemoryStore()
      let lookups = 0
      const get = store.get.bind(store)
      let allAsked = (): void => undefined
      const loading = new Promise<void>((resolve) => {
        allAsked = resolve
      })
      store.get = (keys) => {
        if (keys.length === 3 && ++lookups === 11) setImmediate(allAsked)
        return get(keys)
      }
      const app = await start({ load: held.load, store })
      const answers = Array.from({ length: 10 }, () => app.get('acme', 'ada').then((answer) => answer))
      const other = app.get('acme', 'bob').then((answer) => answer)
      await loading
      await held.hasBegun(2)
      held.end(1)
      held.end(2)
      const bodies = new Set((await Promise.all(answers)).map(({ text }) => text))
      expect(bodies.size).to.equal(1)
      expect((await other).body.profile).to.match(/^bob/)
      expect(held.begun).to.have.length(2)
      await store.close()
    })

    it('passes the error of a load to the error handler, for all waiting requests, and caches nothing', async () => {
      let failure: unknown = new Error('database is down')
      const app = await start({
        load: async () => {
          if (failure !== undefined) throw failure
          return { profile: 1, tenant: 2, features: 3, channels: 4 }
        },
      })
      const expectFailure = async (handler: string): Promise<void> => {
        const answer = await app.get('acme', 'ada')
        expect([answer.status, answer.body]).to.deep.equal([500, { handler }])
      }
      await expectFailure('database is down')
      failure = 'router'
      await expectFailure('load failed')
      failure = undefined
      await expectCache(app.get('acme', 'ada'), 'miss')
    })

    it('refuses a load that returns no object', async () => {
      const app = await start({ load: (() => undefined) as unknown as DashboardOptions['load'] })
      expect((await app.get('acme', 'ada')).body).to.deep.equal({
        handler: 'load must return an object that JSON can represent',
      })
    })

    describe('invalidate', () => {
      it('causes a new load for the user, or for all users of the tenant, and for no others', async () => {
        const app = await start()
        const ask = async (): Promise<unknown[]> => {
          const caches: unknown[] = []
          for (const [tenant, user] of [
            ['acme', 'ada'],
            ['acme', 'bob'],
            ['apex', 'ada'],
          ] as const) {
            caches.push((await app.get(tenant, user)).headers['x-cache'])
          }
          return caches
        }
        expect(await ask()).to.deep.equal(['miss', 'miss', 'miss'])
        await app.router.invalidate({ tenant: 'acme', user: 'ada' })
        expect(await ask()).to.deep.equal(['miss', 'hit', 'hit'])
        await app.router.invalidate({ tenant: 'acme' })
        expect(await ask()).to.deep.equal(['miss', 'miss', 'hit'])
        expect(await ask()).to.deep.equal(['hit', 'hit', 'hit'])
      })

      for (const owner of [{ tenant: 'acme' }, { tenant: 'acme', user: 'ada' }]) {
        it(`prevents a load in progress from being cached: ${Object.keys(owner).join(' and ')}`, async () => {
          const held = new HeldLoads()
          const app = await start({ load: held.load })
          const before = app.get('acme', 'ada').then((answer) => answer)
          await held.hasBegun(1)
          await app.router.invalidate(owner)
          // Does not join the earlier load.
          const after = app.get('acme', 'ada').then((answer) => answer)
          await held.hasBegun(2)
          // The newer result is stored first; the outdated one must not replace it.
          held.end(2)
          expect((await after).body.profile).to.equal('ada 2')
          held.end(1)
          expect((await before).body.profile).to.equal('ada 1')
          const later = app.get('acme', 'ada').then((answer) => answer)
          await held.hasBegun(3)
          held.end(3)
          expect((await later).body.profile).to.equal('ada 3')
        })
      }

      it('takes effect also after the stamps were lost', async () => {
        const clock = new FakeClock()
        const store = new MemoryStore({ clock })
        const app = await start({ store })
        await expectCache(app.get('acme', 'ada'), 'miss')
        for (const key of ['dashboard:dashboard:tenant:acme', 'dashboard:dashboard:user:acme:ada']) {
          expect((await store.get([key]))[0]).to.be.a('string')
          await store.delete(key)
          await expectCache(app.get('acme', 'ada'), 'miss')
          await expectCache(app.get('acme', 'ada'), 'hit')
        }
        await store.close()
      })
    })

    describe('over two processes on one Redis', () => {
      let redis: RedisServer

      before(async () => {
        redis = await RedisServer.start()
      })

      after(async () => {
        await redis.stop()
      })

      it('shares loaded data and invalidations', async () => {
        const [one, two] = [await start({ redis: redis.url }), await start({ redis: redis.url })]
        await expectCache(one.get('acme', 'ada'), 'miss')
        await expectCache(two.get('acme', 'ada'), 'hit')
        for (const owner of [{ tenant: 'acme', user: 'ada' }, { tenant: 'acme' }]) {
          await one.router.invalidate(owner)
          await expectCache(two.get('acme', 'ada'), 'miss')
          await expectCache(one.get('acme', 'ada'), 'hit')
        }
        expect([one.loads(), two.loads()]).to.deep.equal([1, 2])
      })

      it('does not cache a load during which another process invalidated the data', async () => {
        const held = new HeldLoads()
        const [one, two] = [await start({ redis: redis.url, load: held.load }), await start({ redis: redis.url })]
        const outdated = one.get('apex', 'ada').then((answer) => answer)
        await held.hasBegun(1)
        await two.router.invalidate({ tenant: 'apex', user: 'ada' })
        // Does not join that load either, although this process was not notified.
        const fresh = one.get('apex', 'ada').then((answer) => answer)
        await held.hasBegun(2)
        held.end(1)
        await outdated
        await expectCache(two.get('apex', 'ada'), 'miss')
        held.end(2)
        expect((await fresh).body.profile).to.equal('ada 2')
      })

      it('loads while Redis is unavailable, reports it, and rejects invalidations', async () => {
        const own = await RedisServer.start()
        const store = new RedisStore({ redis: own.url, commandTimeoutMs: 200 })
        await store.get(['key'])
        const app = await start({ store })
        await expectCache(app.get('acme', 'ada'), 'miss')
        await own.kill()
        const reports: unknown[] = []
        const listen = (message: unknown): void => void reports.push((message as { operation: unknown }).operation)
        subscribe('express-sse-kit:store:error', listen)
        for (const load of [2, 3]) {
          expect((await expectCache(app.get('acme', 'ada'), 'miss')).body.profile.load).to.equal(load)
        }
        unsubscribe('express-sse-kit:store:error', listen)
        expect(reports).to.deep.equal(['read the dashboard cache', 'read the dashboard cache'])
        const error = await app.router.invalidate({ tenant: 'acme' }).then(
          () => undefined,
          (reason: unknown) => reason,
        )
        expect(error).to.have.property('code', 'ERR_SSE_BROKER_UNAVAILABLE')
        await store.close()
        await own.stop()
      })
    })
  })
}

describe('dashboardInit behind an open stream on the same connection', () => {
  it('loads nothing for pipelined requests before it is their turn', async () => {
    let loads = 0
    let requests = 0
    const router = dashboardInit({
      ttlMs: 0,
      load: () => {
        loads++
        return { profile: 1, tenant: 2, features: 3, channels: 4 }
      },
    })
    let endStream: () => unknown = () => undefined
    const app = express5()
    app.get('/stream', (_, res) => {
      res.write('open')
      endStream = () => res.end()
    })
    app.use((req, _res, next) => {
      requests++
      req.auth = { user: 'ada', tenant: 'acme', expiresAt: 0, claims: {} }
      next()
    }, router)
    const server = await serve(app)
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
    socket.write(request('/stream') + request('/init').repeat(3))
    await eventually(() => requests === 3)
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
    expect(loads).to.equal(0)
    endStream()
    await eventually(() => text.split('"profile":1').length === 4)
    expect(loads).to.equal(3)
    socket.destroy()
    await server.stop()
    await router.close()
  })
})

describe('the options of dashboardInit', () => {
  const load = (): { profile: 1; tenant: 2; features: 3; channels: 4 } => ({
    profile: 1,
    tenant: 2,
    features: 3,
    channels: 4,
  })
  const refused: Record<string, object> = {
    'no load': { load: undefined },
    'a negative ttl': { ttlMs: -1 },
    'a ttl over a day': { ttlMs: 86_400_001 },
    'an empty prefix': { prefix: '' },
    'redis and a store': { redis: 'redis://127.0.0.1', store: new MemoryStore() },
    'a redis that is not a URL': { redis: 'localhost' },
  }
  for (const [what, options] of Object.entries(refused)) {
    it(`are refused at construction: ${what}`, () => {
      expect(() => dashboardInit({ load, ...options } as DashboardOptions))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    })
  }
})
