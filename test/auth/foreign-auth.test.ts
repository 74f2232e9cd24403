import { expect } from 'chai'
import express, { type Express, type RequestHandler } from 'express'
import supertest from 'supertest'
import { createStreamLimits, type StreamLimits } from '../../lib/limits/streams/stream-limits.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { authenticate, requireAuth } from '../../lib/routers/authenticate.js'
import { conversationStreams } from '../../lib/routers/conversations.js'
import { dashboardInit } from '../../lib/routers/dashboard.js'
import { sseErrors } from '../../lib/routers/errors.js'
import { limitStreams } from '../../lib/routers/limit-streams.js'
import { rateLimit } from '../../lib/routers/rate-limit.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'
import { tickets } from '../../lib/routers/tickets.js'
import { createStore } from '../../lib/store/create.js'
import type { KeyValueStore } from '../../lib/store/store.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

/** The values that other libraries assign to `req.auth`, for the user in `X-User`. */
const FOREIGN: Record<string, (user: string) => unknown> = {
  'the payload of a token (express-jwt)': (sub) => ({ sub, tenant: 'acme', exp: Math.floor(Date.now() / 1000) + 2 }),
  'a token with its payload (Auth0)': (sub) => ({ header: {}, payload: { sub }, token: 'abc' }),
  'a function (Clerk)': (userId) => () => ({ userId }),
  text: (user) => user,
  'a user that is an object': (id) => ({ user: { id }, tenant: 'acme', expiresAt: Date.now() + 9e6, claims: {} }),
  'an expiry that is text': (user) => ({ user, tenant: 'acme', expiresAt: '2099-01-01', claims: {} }),
  'no expiry': (user) => ({ user, tenant: 'acme', claims: {} }),
  'no tenant': (user) => ({ user, expiresAt: Date.now() + 9e6, claims: {} }),
}

describe("another library's req.auth", () => {
  let server: TestServer | undefined
  let multiplexer: Multiplexer
  let limits: StreamLimits
  let store: KeyValueStore

  beforeEach(() => {
    store = createStore()
    limits = createStreamLimits({ perUser: 1 })
    multiplexer = createMultiplexer({ lingerMs: 0, streamLimits: limits })
  })

  afterEach(async () => {
    await multiplexer.close()
    await server?.stop()
    server = undefined
    await limits.close()
    await store.close()
  })

  function foreign(make: (user: string) => unknown): RequestHandler {
    return (req, _res, next) => {
      Object.assign(req, { auth: make(req.get('X-User') ?? 'ada') })
      next()
    }
  }

  async function start(...before: RequestHandler[]): Promise<string> {
    const app: Express = express()
    const limit = rateLimit({ by: 'user', points: 1, duration: 60 })
    app.use(...before, sseMiddleware())
    app.get(
      '/stream',
      multiplexer.stream(() => 'log'),
    )
    app.get(
      '/poll',
      multiplexer.poll(() => 'log'),
    )
    app.post('/ack', multiplexer.ack())
    app.get('/own', (_, res) => void res.sse())
    app.get('/limited', limitStreams(limits), (_, res) => void res.sse())
    app.get('/by-user', limit, (_, res) => void res.sendStatus(204))
    app.get('/required', requireAuth(), (_, res) => void res.sendStatus(204))
    app.use('/dashboard', dashboardInit({ load: () => ({ profile: 1, tenant: 1, features: 1, channels: 1 }), store }))
    app.use('/tickets', tickets({ store }))
    app.use('/inbox', conversationStreams({ multiplexer, authorize: () => true }))
    app.use(sseErrors({ onError: null }))
    server = await serve(app)
    return server.url
  }

  for (const [what, make] of Object.entries(FOREIGN)) {
    it(`is never trusted: ${what}`, async () => {
      const url = await start(foreign(make))
      const agent = supertest(url)
      const paths = ['/stream', '/poll?wait=60000', '/own', '/limited', '/by-user', '/required', '/dashboard/init']
      const requests = [
        ...[...paths, '/inbox/conversations', '/inbox/messages/1', '/inbox/poll/conversations'].map((path) =>
          agent.get(path),
        ),
        agent.post('/ack').send({ stream: 'a.b.-', cursor: '' }),
        agent.post('/inbox/ack').send({ stream: 'a.b.-', cursor: '' }),
        agent.post('/tickets').send({ path: '/stream' }),
      ]
      for (const request of requests) {
        const { status, body } = await request
        expect({ url: request.url, status, code: body.code }).to.deep.equal({
          url: request.url,
          status: 500,
          code: 'ERR_SSE_AUTH_FOREIGN',
        })
        expect(body.detail).to.contain('authenticate({ resolve')
      }
      expect([multiplexer.status().streams, limits.size]).to.deep.equal([0, 0])
    })
  }

  it('counts as expired if it has the right form and an expiry in seconds', async () => {
    const inAnHour = Math.floor(Date.now() / 1000) + 3600
    const url = await start(foreign((user) => ({ user, tenant: 'acme', expiresAt: inAnHour, claims: {} })))
    const { status, body } = await supertest(url).get('/poll?wait=60000')
    expect([status, body.code]).to.deep.equal([401, 'ERR_SSE_TOKEN_EXPIRED'])
    for (const path of ['/stream', '/own']) {
      const stream = await SseClient.open(url + path)
      await stream.control('sse.expired')
      await stream.ended()
    }
  })

  it('is accepted through resolve: each user has separate limits, streams and acknowledgements', async () => {
    const payload = FOREIGN['the payload of a token (express-jwt)'] as (user: string) => unknown
    const resolve = (req: object) => {
      const { auth } = req as { auth?: { sub: string; tenant: string; exp: number } }
      return auth && { user: auth.sub, tenant: auth.tenant, expiresAt: auth.exp * 1000 }
    }
    const url = await start(foreign(payload), authenticate({ resolve }))
    const open = (user: string): Promise<SseClient> => SseClient.open(`${url}/stream?window=5`, { 'x-user': user })
    const ada = await open('ada')
    const bob = await open('bob')
    expect([ada.status, bob.status, (await open('ada')).status]).to.deep.equal([200, 200, 429])
    const { stream } = JSON.parse((await ada.control('sse.open')).data)
    const ackAs = async (user: string): Promise<number> =>
      (await supertest(url).post('/ack').set('X-User', user).send({ stream, cursor: ada.lastEventId })).status
    expect([await ackAs('bob'), await ackAs('ada')]).to.deep.equal([403, 204])
    expect((await supertest(url).get('/poll?wait=1').set('X-User', 'ada')).status).to.equal(200)
    // Both streams end when their tokens expire.
    await Promise.all([ada.control('sse.expired'), bob.control('sse.expired')])
    await eventually(() => limits.size === 0)
  })
})
