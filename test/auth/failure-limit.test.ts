import { generateKeyPairSync } from 'node:crypto'
import { expect } from 'chai'
import type { ErrorRequestHandler, RequestHandler } from 'express'
import jwt from 'jsonwebtoken'
import supertest from 'supertest'
import type { AuthenticateOptions } from '../../lib/auth/options.js'
import { authenticate } from '../../lib/routers/authenticate.js'
import { type RateLimitHandler, rateLimit } from '../../lib/routers/rate-limit.js'
import { tickets } from '../../lib/routers/tickets.js'
import { createStore } from '../../lib/store/create.js'
import type { KeyValueStore } from '../../lib/store/store.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'

const SECRET = 'a secret of thirty-two bytes or more'

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`the failure limit of authenticate on ${name}`, () => {
    let clock: FakeClock
    let store: KeyValueStore
    let limit: RateLimitHandler
    let server: TestServer
    /** The number of tickets that were looked up. */
    let taken: number

    beforeEach(() => {
      clock = new FakeClock()
      clock.advance(60_000 - (clock.wallTime() % 60_000))
      store = createStore({ clock })
      const { take } = store
      taken = 0
      store.take = (key) => {
        taken++
        return take.call(store, key)
      }
      limit = rateLimit({ by: 'ip', points: 3, duration: 60, clock })
    })

    afterEach(async () => {
      await server.stop()
      await limit.close()
      await store.close()
    })

    async function start(options: Partial<AuthenticateOptions> = {}): Promise<ReturnType<typeof supertest>> {
      const app = express()
      app.set('trust proxy', 1)
      app.use(authenticate({ secret: SECRET, clock, tickets: store, failureLimit: limit, ...options }))
      app.use('/tickets', tickets({ store, clock }))
      app.get('/', (_, res) => void res.sendStatus(204))
      app.use(((error: Error, _req, res, _next) => {
        res.status(500).json({ handler: error.message })
      }) as ErrorRequestHandler)
      server = await serve(app)
      return supertest(server.url)
    }

    const token = (exp = 600): string =>
      jwt.sign({ sub: 'ada', tenant: 'acme', exp: Math.floor(clock.wallTime() / 1000) + exp }, SECRET)

    it('answers invalid tokens above the limit with 429 per address and window, and accepts valid ones', async () => {
      const agent = await start()
      const tryToken = async (text: string, from = '192.0.2.1'): Promise<number> =>
        (await agent.get('/').auth(text, { type: 'bearer' }).set('X-Forwarded-For', from)).status
      const statuses: number[] = []
      for (let i = 0; i < 5; i++) statuses.push(await tryToken(`bad${i}`))
      expect(statuses).to.deep.equal([401, 401, 401, 429, 429])
      for (let i = 0; i < 10; i++) expect(await tryToken(token())).to.equal(204)
      expect(await tryToken('bad', '192.0.2.2')).to.equal(401)
      clock.advance(60_000)
      expect(await tryToken('bad')).to.equal(401)
    })

    it('stops looking up tickets of an address above the limit, valid ones included', async () => {
      const agent = await start()
      const good = async (): Promise<string> =>
        (await agent.post('/tickets').auth(token(), { type: 'bearer' }).send({ path: '/' })).body.ticket
      const tryTicket = async (ticket: string, from = '192.0.2.1'): Promise<number> =>
        (await agent.get('/').query({ ticket }).set('X-Forwarded-For', from)).status
      const statuses: number[] = []
      for (let i = 0; i < 40; i++) statuses.push(await tryTicket(String(i).padStart(43, 'x')))
      expect(statuses).to.deep.equal([401, 401, 401, ...Array(37).fill(429)])
      // The first refused ticket was looked up too.
      expect(taken).to.equal(4)
      const ticket = await good()
      expect(await tryTicket(ticket)).to.equal(429)
      expect(await tryTicket(ticket, '192.0.2.2'), 'not consumed').to.equal(204)
      clock.advance(60_000)
      expect(await tryTicket(await good())).to.equal(204)
    })

    it('does not count requests without a token, with an expired token, or from another site', async () => {
      const agent = await start({ cookie: 'session' })
      for (let i = 0; i < 5; i++) {
        expect((await agent.get('/')).status).to.equal(401)
        expect((await agent.get('/').auth(token(-10), { type: 'bearer' })).body.code).to.equal('ERR_SSE_TOKEN_EXPIRED')
        const crossSite = agent.get('/').set({ Cookie: 'session=bad', 'Sec-Fetch-Site': 'cross-site' })
        expect((await crossSite).status).to.equal(403)
      }
    })

    it('counts tokens for which getKey returns no key', async () => {
      const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
      const agent = await start({ secret: undefined, getKey: () => undefined, algorithms: ['RS256'] } as object)
      const forged = jwt.sign({ sub: 'ada' }, privateKey, { algorithm: 'RS256' })
      const statuses: number[] = []
      for (let i = 0; i < 4; i++) statuses.push((await agent.get('/').auth(forged, { type: 'bearer' })).status)
      expect(statuses).to.deep.equal([401, 401, 401, 429])
    })

    const failing: Record<string, RequestHandler> = {
      throws: () => {
        throw new Error('no limit')
      },
      rejects: (async () => {
        throw new Error('no limit')
      }) as RequestHandler,
      'calls next with an error': (_req, _res, next) => next(new Error('no limit')),
    }
    for (const [what, failureLimit] of Object.entries(failing)) {
      it(`passes its error to the error handler if it ${what}`, async () => {
        const agent = await start({ failureLimit })
        const { status, body } = await agent.get('/').auth('bad', { type: 'bearer' })
        expect([status, body.handler]).to.deep.equal([500, 'no limit'])
        expect((await agent.get('/').auth(token(), { type: 'bearer' })).status).to.equal(204)
      })
    }
  })
}
