import { expect } from 'chai'
import type { ErrorRequestHandler, RequestHandler } from 'express'
import supertest from 'supertest'
import type { AuthenticateOptions } from '../../lib/auth/options.js'
import { createRevocations, type Revocations } from '../../lib/auth/revocations.js'
import type { Resolve, Session } from '../../lib/auth/sessions.js'
import { RequestError } from '../../lib/core/errors.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { authenticate, requireAuth } from '../../lib/routers/authenticate.js'
import { tickets } from '../../lib/routers/tickets.js'
import { createStore } from '../../lib/store/create.js'
import type { KeyValueStore } from '../../lib/store/store.js'
import { eventually } from '../helpers/eventually.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

const HOUR_MS = 3_600_000

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`sessions in authenticate on ${name}`, () => {
    const servers: TestServer[] = []
    let store: KeyValueStore
    let revocations: Revocations
    let multiplexer: Multiplexer
    /** The sessions by the cookie of a request. */
    let sessions: Map<string, unknown>

    beforeEach(() => {
      store = createStore()
      revocations = createRevocations({ store, cacheMs: 0 })
      multiplexer = createMultiplexer({ lingerMs: 0, stream: { revocations } })
      sessions = new Map<string, unknown>([
        ['one', { user: 'ada', tenant: 'acme', id: 'one' }],
        ['two', { user: 'ada', tenant: 'acme', id: 'two', expiresAt: Date.now() + HOUR_MS, claims: { role: 'agent' } }],
        ['numbers', { user: 7, tenant: 42, id: 1, issuedAt: 5 }],
      ])
    })

    afterEach(async () => {
      await multiplexer.close()
      await Promise.all(servers.splice(0).map((server) => server.stop()))
      await store.close()
    })

    const resolve: Resolve = (req) => sessions.get(req.get('Cookie') ?? '') as Session

    async function start(options: Partial<AuthenticateOptions> = {}, before: RequestHandler[] = []): Promise<string> {
      const app = express()
      app.use(...before, (_req, _res, next) => next())
      app.use(authenticate({ resolve, revocations, tickets: store, ...options }))
      app.get(
        '/stream',
        multiplexer.stream((req) => `log:${req.auth.tenant}`),
      )
      app.use('/tickets', tickets({ store }))
      app.get('/required', requireAuth(), (_, res) => void res.sendStatus(204))
      app.use((req, res) => void res.json({ auth: req.auth ?? null, ran: 'auth' in req }))
      app.use(((error: Error & { code?: string }, _req, res, _next) => {
        res.status(500).json({ handler: error.message, code: error.code })
      }) as ErrorRequestHandler)
      const server = await serve(app)
      servers.push(server)
      return server.url
    }

    function as(url: string, cookie: string, path = '/'): supertest.Test {
      return supertest(url).get(path).set('Cookie', cookie)
    }

    it('become req.auth, whether resolve returns or resolves them', async () => {
      const later: Resolve = async (req) => resolve(req)
      for (const option of [resolve, later]) {
        const url = await start({ resolve: option })
        // JSON has no Infinity.
        expect((await as(url, 'one')).body.auth).to.deep.equal({
          user: 'ada',
          tenant: 'acme',
          expiresAt: null,
          claims: {},
          id: 'one',
        })
        const { expiresAt } = sessions.get('two') as Session
        expect((await as(url, 'two')).body.auth).to.deep.include({ expiresAt, claims: { role: 'agent' } })
        expect((await as(url, 'numbers')).body.auth).to.include({ user: '7', tenant: '42', id: '1', issuedAt: 5 })
      }
    })

    it('may be absent: 401, or an unauthenticated request if optional', async () => {
      for (const none of [undefined, null]) {
        sessions.set('none', none)
        const answer = await as(await start(), 'none')
        expect([answer.status, answer.body.code]).to.deep.equal([401, 'ERR_SSE_TOKEN_MISSING'])
        const url = await start({ optional: true })
        expect((await as(url, 'none')).body).to.deep.equal({ auth: null, ran: true })
        expect((await as(url, 'none', '/required')).status).to.equal(401)
      }
    })

    it("replace another library's req.auth, also if no user is signed in", async () => {
      const foreign: RequestHandler = (req, _res, next) => {
        Object.assign(req, { auth: { sub: 'eve' } })
        next()
      }
      const url = await start({ optional: true }, [foreign])
      expect((await as(url, 'one')).body.auth).to.include({ user: 'ada' })
      expect((await as(url, 'none')).body).to.deep.equal({ auth: null, ran: true })
    })

    it('keep the result of an earlier authenticate', async () => {
      const url = await start({ optional: true, resolve: () => undefined }, [authenticate({ resolve })])
      expect((await as(url, 'one')).body.auth).to.include({ user: 'ada' })
    })

    it('are refused once they have expired', async () => {
      sessions.set('old', { user: 'ada', tenant: 'acme', expiresAt: Date.now() - 1 })
      const answer = await as(await start(), 'old')
      expect([answer.status, answer.body.code]).to.deep.equal([401, 'ERR_SSE_TOKEN_EXPIRED'])
    })

    const base = { user: 'ada', tenant: 'acme' }
    const invalid: Record<string, unknown> = {
      'no object': 'ada',
      'a list': [base],
      false: false,
      'no user': { tenant: 'acme' },
      'an empty user': { ...base, user: '' },
      'a user that is an object': { ...base, user: { id: 'ada' } },
      'no tenant': { user: 'ada' },
      'a tenant that is NaN': { ...base, tenant: Number.NaN },
      'an expiry as text': { ...base, expiresAt: '2099-01-01T00:00:00Z' },
      'an expiry as a Date': { ...base, expiresAt: new Date(Date.now() + HOUR_MS) },
      'an expiry that is NaN': { ...base, expiresAt: Number.NaN },
      'an expiry of null': { ...base, expiresAt: null },
      'an id that is an object': { ...base, id: {} },
      'an empty id': { ...base, id: '' },
      'an issue time as text': { ...base, issuedAt: 'now' },
      'claims that are text': { ...base, claims: 'admin' },
    }
    for (const [what, session] of Object.entries(invalid)) {
      it(`are an error of the application with ${what}, even if they are optional`, async () => {
        sessions.set('bad', session)
        const { status, body } = await as(await start({ optional: true }), 'bad')
        expect([status, body.code]).to.deep.equal([500, 'ERR_SSE_OPTION_INVALID'])
        expect(body.handler).to.contain('resolve must return')
      })
    }

    it('that cannot be resolved cause an error for the error handler, for any thrown value', async () => {
      for (const [failure, message] of [
        [new Error('no session store'), 'no session store'],
        [new RequestError('ERR_SSE_TOKEN_INVALID', 'not the caller of the API'), 'resolve failed'],
        ['text', 'resolve failed'],
      ] as const) {
        for (const failing of [
          () => {
            throw failure
          },
          async () => {
            throw failure
          },
        ]) {
          const { status, body } = await as(await start({ resolve: failing, optional: true }), 'one')
          expect([status, body.handler]).to.deep.equal([500, message])
        }
      }
    })

    it('that never resolve time out after 10 s', async () => {
      const clock = new FakeClock()
      const url = await start({ resolve: () => new Promise(() => undefined), clock, revocations: undefined } as object)
      const answer = as(url, 'one').then(({ body }) => body.code)
      await eventually(() => clock.pending > 0)
      clock.advance(10_000)
      expect(await answer).to.equal('ERR_SSE_CALLBACK_TIMEOUT')
    })

    it('end their streams when they are revoked by id, and no others', async () => {
      const url = await start()
      const open = async (cookie: string): Promise<SseClient> => {
        const client = await SseClient.open(`${url}/stream`, { cookie })
        await client.until(({ raw }) => raw !== '')
        return client
      }
      const [one, two] = [await open('one'), await open('two')]
      await revocations.revoke({ tokenId: 'one' })
      expect(JSON.parse((await one.control('sse.expired')).data)).to.deep.equal({ reason: 'revoked' })
      await one.ended()
      expect((await as(url, 'one')).body.code).to.equal('ERR_SSE_TOKEN_REVOKED')
      expect((await as(url, 'two')).status).to.equal(200)
      expect(two.closed).to.equal(false)
      two.close()
      await eventually(() => multiplexer.status().streams === 0)
    })

    it('end their streams when they expire, and never if they do not expire', async () => {
      const url = await start()
      sessions.set('short', { user: 'bob', tenant: 'acme', expiresAt: Date.now() + 1000 })
      const [short, endless] = [
        await SseClient.open(`${url}/stream`, { cookie: 'short' }),
        await SseClient.open(`${url}/stream`, { cookie: 'one' }),
      ]
      expect(JSON.parse((await short.control('sse.expired')).data)).to.have.property('reason')
      expect(endless.closed).to.equal(false)
      endless.close()
    })

    it('that began after their user was revoked are valid, if they have issuedAt', async () => {
      const url = await start()
      revocations = createRevocations({ store, clockToleranceMs: 0 })
      await revocations.revoke({ user: 'ada', tenant: 'acme' })
      sessions.set('later', { user: 'ada', tenant: 'acme', issuedAt: Date.now() + 1 })
      sessions.set('before', { user: 'ada', tenant: 'acme', issuedAt: Date.now() - HOUR_MS })
      await eventually(async () => (await as(url, 'later')).status === 200)
      for (const cookie of ['before', 'one']) {
        expect((await as(url, cookie)).body.code, cookie).to.equal('ERR_SSE_TOKEN_REVOKED')
      }
    })

    it('can get tickets, which are revoked with them', async () => {
      const url = await start()
      const ticketFor = async (cookie: string): Promise<string> => {
        const answer = await supertest(url).post('/tickets').set('Cookie', cookie).send({ path: '/me' })
        expect(answer.body.expiresInMs).to.equal(30_000)
        return answer.body.ticket
      }
      const redeem = async (ticket: string): Promise<supertest.Response> => supertest(url).get('/me').query({ ticket })
      expect((await redeem(await ticketFor('one'))).body.auth).to.include({ user: 'ada', id: 'one', expiresAt: null })
      const ticket = await ticketFor('one')
      await revocations.revoke({ tokenId: 'one' })
      expect((await redeem(ticket)).body.code).to.equal('ERR_SSE_TICKET_INVALID')
      expect((await redeem(await ticketFor('two'))).status).to.equal(200)
    })
  })
}
