import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { expect } from 'chai'
import jwt from 'jsonwebtoken'
import supertest from 'supertest'
import { createRevocations, type Revocations } from '../../lib/auth/revocations.js'
import { authenticate } from '../../lib/routers/authenticate.js'
import { type TicketsOptions, tickets } from '../../lib/routers/tickets.js'
import { createStore } from '../../lib/store/create.js'
import type { KeyValueStore } from '../../lib/store/store.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { RedisServer } from '../helpers/redis-server.js'

const SECRET = 'a secret of thirty-two bytes or more'
const PATH = '/api/sse/conversations'

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`tickets on ${name}`, () => {
    let clock: FakeClock
    let store: KeyValueStore
    let revocations: Revocations
    const stops: (() => Promise<void>)[] = []

    beforeEach(() => {
      clock = new FakeClock()
      store = createStore({ clock })
      revocations = createRevocations({ store, clock, cacheMs: 0 })
    })

    afterEach(async () => {
      for (const stop of stops.splice(0)) await stop()
      await store.close()
      expect(clock.pending).to.equal(0)
    })

    function token(lifeS = 60): string {
      const now = Math.floor(clock.wallTime() / 1000)
      return jwt.sign({ sub: 'ada', tenant: 'acme', role: 'agent', iat: now - 1, exp: now + lifeS }, SECRET)
    }

    interface AppOptions {
      readonly parsers?: readonly ReturnType<typeof express.json>[]
      readonly auth?: object
      readonly tickets?: Partial<TicketsOptions>
    }

    /** An app whose routes answer with the user and the URL. */
    async function start({
      parsers = [],
      auth = {},
      tickets: own = {},
    }: AppOptions = {}): Promise<ReturnType<typeof supertest>> {
      const app = express()
      for (const parser of parsers) app.use(parser)
      const api = express.Router()
      api.use(authenticate({ secret: SECRET, clock, tickets: store, revocations, ...auth }))
      api.use('/tickets', tickets({ store, clock, ...own }))
      api.use((req, res) => {
        res.json({ auth: req.auth, url: req.url, originalUrl: req.originalUrl, query: req.query })
      })
      app.use('/api/sse', api)
      app.use((req, res) => void res.json({ outside: [req.url, req.originalUrl] }))
      const server: TestServer = await serve(app)
      stops.push(() => server.stop())
      return supertest(server.url)
    }

    type Agent = Awaited<ReturnType<typeof start>>

    function ask(agent: Agent, body: string | object = { path: PATH }, bearer = token()): supertest.Test {
      return agent.post('/api/sse/tickets').auth(bearer, { type: 'bearer' }).send(body)
    }

    async function ticketFor(agent: Agent, path = PATH, bearer = token()): Promise<string> {
      return (await ask(agent, { path }, bearer)).body.ticket
    }

    async function expectRefused(test: supertest.Test, status = 401, code = 'ERR_SSE_TICKET_INVALID'): Promise<void> {
      const answer = await test
      expect([answer.status, answer.body.code]).to.deep.equal([status, code])
      expect(answer.headers['content-type']).to.contain('application/problem+json')
    }

    for (const entry of ['', 'x', 'null', '[]', '"x"', '1', '{}', '{"user":1}']) {
      it(`are refused, and not taken for a fault of the store, if their entry is ${entry}`, async () => {
        const agent = await start()
        const ticket = await ticketFor(agent)
        const key = `ticket:${createHash('sha256').update(ticket).digest('base64url')}`
        await store.set(key, entry, 30_000)
        await expectRefused(agent.get(PATH).query({ ticket }))
      })
    }

    it('authenticate one request as the user that requested them', async () => {
      const agent = await start()
      const answer = await ask(agent)
      expect(answer.status).to.equal(200)
      expect(answer.headers['cache-control']).to.equal('no-store')
      expect(answer.body).to.have.keys('ticket', 'expiresInMs')
      expect(answer.body.expiresInMs).to.equal(30_000)
      expect(answer.body.ticket).to.match(/^[\w-]{43}$/)
      const redeemed = await agent.get(PATH).query({ ticket: answer.body.ticket })
      expect(redeemed.body.auth).to.deep.include({ user: 'ada', tenant: 'acme' })
      expect(redeemed.body.auth.claims).to.include({ role: 'agent' })
      expect(redeemed.body.auth.expiresAt).to.equal(redeemed.body.auth.claims.exp * 1000)
      expect(redeemed.headers['referrer-policy']).to.equal('no-referrer')
      await expectRefused(agent.get(PATH).query({ ticket: answer.body.ticket }))
    })

    it('can be used once by ten concurrent requests', async () => {
      const agent = await start()
      const ticket = await ticketFor(agent)
      const answers = await Promise.all(Array.from({ length: 10 }, () => agent.get(PATH).query({ ticket })))
      expect(answers.map(({ status }) => status).sort()).to.deep.equal([200, ...Array<number>(9).fill(401)])
    })

    it('can be used once by ten concurrent requests, in two processes on one Redis', async () => {
      const server = await RedisServer.start()
      stops.push(() => server.stop())
      const stores = [createStore({ redis: server.url }), createStore({ redis: server.url })] as const
      stops.unshift(...stores.map((each) => () => each.close()))
      const [one, two] = [
        await start({ auth: { tickets: stores[0] }, tickets: { store: stores[0] } }),
        await start({ auth: { tickets: stores[1] } }),
      ]
      const ticket = await ticketFor(one)
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, index) => (index % 2 ? one : two).get(PATH).query({ ticket })),
      )
      expect(answers.filter(({ status }) => status === 200)).to.have.length(1)
    })

    it('are valid for their path only, with any query, and consumed by a request for another path', async () => {
      const agent = await start()
      for (const path of [`${PATH}/`, '/api/sse/messages', '/conversations', '/API/sse/conversations']) {
        const ticket = await ticketFor(agent, path)
        await expectRefused(agent.get(PATH).query({ ticket }))
        const again = agent.get(path).query({ ticket })
        if (path.startsWith('/api')) await expectRefused(again)
        else await again
      }
      const ticket = await ticketFor(agent, `${PATH}?from=earliest#top`)
      expect((await agent.get(`${PATH}?last_event_id=1-2`).query({ ticket })).status).to.equal(200)
    })

    it('expire', async () => {
      const agent = await start({ tickets: { ttlMs: 5000 } })
      const ticket = await ticketFor(agent)
      clock.advance(5000)
      await expectRefused(agent.get(PATH).query({ ticket }))
    })

    it('live no longer than the token that they were issued for', async () => {
      const agent = await start()
      const bearer = token(10)
      clock.advance(5000)
      const { ticket, expiresInMs } = (await ask(agent, { path: PATH }, bearer)).body
      expect(expiresInMs).to.equal(5000)
      // Simulates a store that keeps the ticket longer.
      const key = `ticket:${createHash('sha256').update(ticket).digest('base64url')}`
      const [entry] = await store.get([key])
      await store.set(key, entry as string, 60_000)
      clock.advance(5000)
      await expectRefused(agent.get(PATH).query({ ticket }))
    })

    it('are refused once their user is revoked', async () => {
      const agent = await start()
      const ticket = await ticketFor(agent)
      await revocations.revoke({ user: 'ada', tenant: 'acme' })
      await expectRefused(agent.get(PATH).query({ ticket }))
    })

    it('cannot be guessed, nor read from the store', async () => {
      const agent = await start()
      const seen: string[] = []
      const { set } = store
      store.set = (key, value, ttlMs) => {
        seen.push(key, value)
        return set.call(store, key, value, ttlMs)
      }
      const ticket = await ticketFor(agent)
      expect(seen.join()).to.contain('ada').and.not.contain(ticket)
      const stored = String(seen[0]).slice('ticket:'.length)
      for (const guess of [stored, ticket.slice(1), `${ticket}=`, ` ${ticket}`, 'x'.repeat(5000), '%00', '*']) {
        await expectRefused(agent.get(`${PATH}?ticket=${encodeURIComponent(guess)}`))
      }
      expect((await agent.get(PATH).query({ ticket })).status).to.equal(200)
    })

    it('are ignored, and not consumed, on other methods than GET', async () => {
      const agent = await start()
      const ticket = await ticketFor(agent)
      expect((await agent.head(PATH).query({ ticket })).status).to.equal(401)
      await expectRefused(agent.post(PATH).query({ ticket }), 401, 'ERR_SSE_TOKEN_MISSING')
      expect((await agent.get(PATH).query({ ticket })).status).to.equal(200)
    })

    it('are read after the header, before a token in the query, and only with the option', async () => {
      const agent = await start()
      const ticket = await ticketFor(agent)
      const withHeader = await agent.get(PATH).query({ ticket }).auth(token(), { type: 'bearer' })
      expect(withHeader.body.url).not.to.contain('ticket=')
      expect((await agent.get(PATH).query({ token: 'bad', ticket })).status).to.equal(200)
      await expectRefused(agent.get(PATH).query({ ticket: 'bad', token: token() }))
      const without = await start({ auth: { tickets: undefined } })
      await expectRefused(without.get(PATH).query({ ticket }), 401, 'ERR_SSE_TOKEN_MISSING')
    })

    it('and tokens are removed from the URL for later middleware', async () => {
      const agent = await start()
      const ticket = await ticketFor(agent)
      for (const query of [`ticket=${ticket}`, `%74icket=${ticket}&ticket=x`, `token=${token()}`]) {
        const { body } = await agent.get(`${PATH}?a=1&${query.replace(ticket, await ticketFor(agent))}&b=%2F`)
        expect(body).to.deep.include({ url: '/conversations?a=1&b=%2F', originalUrl: `${PATH}?a=1&b=%2F` })
        expect(body.query).to.deep.equal({ a: '1', b: '/' })
      }
      // Also after the router, and if the URL was only the path of its mount.
      const app = express()
      app.use('/api', authenticate({ secret: SECRET, clock }))
      app.use((req, res) => void res.json([req.url, req.originalUrl]))
      const server = await serve(app)
      stops.push(() => server.stop())
      for (const path of ['/api', '/api/', '/api/x']) {
        const answer = await supertest(server.url).get(path).query({ token: token() })
        expect(answer.body).to.deep.equal([path, path])
      }
      // Also a token that was not read, because it may still be a secret.
      const answer = await supertest(server.url).get('/api?token=unused').auth(token(), { type: 'bearer' })
      expect(answer.body).to.deep.equal(['/api', '/api'])
      expect(answer.headers['referrer-policy']).to.equal('no-referrer')
      const posted = await supertest(server.url).post('/api?token=invite').auth(token(), { type: 'bearer' })
      expect(posted.body, 'where none is read').to.deep.equal(['/api?token=invite', '/api?token=invite'])
    })

    it('accept a body that a parser has read, or read it', async () => {
      const variants = [
        [],
        [express.json()],
        [express.json(), express.urlencoded({ extended: true })],
        [express.text({ type: 'text/plain' }), express.json()],
      ]
      for (const parsers of variants) {
        const agent = await start({ parsers })
        expect(await ticketFor(agent)).to.match(/^[\w-]{43}$/)
      }
      const agent = await start()
      const plain = await agent
        .post('/api/sse/tickets')
        .auth(token(), { type: 'bearer' })
        .type('text/plain')
        .send(JSON.stringify({ path: PATH }))
      expect(plain.status).to.equal(200)
    })

    const bodies: Record<string, readonly [string | object, number, string]> = {
      nothing: ['', 400, 'ERR_SSE_PAYLOAD_INVALID'],
      'a body that is not JSON': ['path', 400, 'ERR_SSE_PAYLOAD_INVALID'],
      'a list': ['["/"]', 400, 'ERR_SSE_PAYLOAD_INVALID'],
      null: ['null', 400, 'ERR_SSE_PAYLOAD_INVALID'],
      'no path': [{}, 400, 'ERR_SSE_PAYLOAD_INVALID'],
      'a path that is not a string': [{ path: ['/a'] }, 400, 'ERR_SSE_PAYLOAD_INVALID'],
      'a URL': [{ path: 'https://app.example/sse' }, 400, 'ERR_SSE_PAYLOAD_INVALID'],
      'too much': [{ path: `/${'x'.repeat(1024)}` }, 413, 'ERR_SSE_PAYLOAD_TOO_LARGE'],
    }
    for (const [what, [body, status, code]] of Object.entries(bodies)) {
      it(`are not issued for ${what}`, async () => {
        const test = ask(await start(), '')
        test.type('json')
        await expectRefused(test.send(body), status, code)
      })
    }

    it('are not issued for a compressed body', async () => {
      const test = ask(await start(), '')
        .type('json')
        .set('Content-Encoding', 'gzip')
      test.write(gzipSync(JSON.stringify({ path: PATH })))
      await expectRefused(test, 415, 'ERR_SSE_PAYLOAD_UNREADABLE')
    })

    it('are not issued without a token', async () => {
      const agent = await start({ auth: { optional: true } })
      await expectRefused(agent.post('/api/sse/tickets').send({ path: PATH }), 401, 'ERR_SSE_TOKEN_MISSING')
    })

    it('answer 503 while the store is unavailable', async () => {
      const agent = await start()
      const ticket = await ticketFor(agent)
      const { take, set } = store
      const fail = async (): Promise<never> => {
        throw new Error('connect ECONNREFUSED 10.0.0.7:6379')
      }
      store.take = fail
      await expectRefused(agent.get(PATH).query({ ticket }), 503, 'ERR_SSE_BROKER_UNAVAILABLE')
      Object.assign(store, { take, set })
      expect((await agent.get(PATH).query({ ticket })).status).to.equal(200)
      await store.close()
      await expectRefused(ask(agent), 503, 'ERR_SSE_BROKER_UNAVAILABLE')
    })
  })
}

describe('the options of tickets', () => {
  for (const [what, options] of Object.entries({
    'no store': {},
    'a store that cannot take': { store: { get: () => [] } },
    'a life under a second': { store: createStore(), ttlMs: 999 },
    'a life over ten minutes': { store: createStore(), ttlMs: 600_001 },
  })) {
    it(`are refused at construction: ${what}`, () => {
      expect(() => tickets(options as TicketsOptions))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    })
  }
})
