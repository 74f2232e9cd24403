import { once } from 'node:events'
import { createServer, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import type { ErrorRequestHandler, Express, RequestHandler } from 'express'
import jwt from 'jsonwebtoken'
import supertest from 'supertest'
import type { RequestLimit } from '../../../lib/limits/requests/options.js'
import { createStreamLimits } from '../../../lib/limits/streams/stream-limits.js'
import { authenticate } from '../../../lib/routers/authenticate.js'
import { limitStreams } from '../../../lib/routers/limit-streams.js'
import { type RateLimitHandler, rateLimit } from '../../../lib/routers/rate-limit.js'
import { EXPRESS_VERSIONS } from '../../helpers/express-versions.js'
import { serve } from '../../helpers/http-server.js'

const SECRET = 'a secret of thirty-two bytes or more'
const bearer = `Bearer ${jwt.sign({ tenant: 'acme' }, SECRET, { subject: 'ada', expiresIn: 600 })}`

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`limits by user and address on ${name}`, () => {
    const undo: (() => Promise<void>)[] = []

    afterEach(async () => {
      for (const step of undo.splice(0).reverse()) await step()
    })

    function limited(limit: Partial<RequestLimit>): RateLimitHandler {
      const handler = rateLimit({ by: 'user', points: 2, duration: 60, ...limit })
      undo.push(() => handler.close())
      return handler
    }

    function appOf(...handlers: RequestHandler[]): Express {
      const app = express()
      app.set('trust proxy', 'loopback')
      app.use(...handlers)
      app.get('/', (_, res) => void res.sendStatus(204))
      const failed: ErrorRequestHandler = (error, _req, res, _next) =>
        void res.status(500).json({ code: error.code, message: error.message })
      app.use(failed)
      return app
    }

    async function start(...handlers: RequestHandler[]): Promise<ReturnType<typeof supertest>> {
      const server = await serve(appOf(...handlers))
      undo.push(() => server.stop())
      return supertest(server.url)
    }

    for (const by of ['user', 'tenant'] as const) {
      it(`fail before authenticate has run: by ${by}, from the first request on`, async () => {
        const agent = await start(limited({ by }), authenticate({ secret: SECRET, optional: true }))
        for (let i = 0; i < 3; i++) {
          const { status, body } = await agent.get('/').set('Authorization', bearer)
          expect([status, body.code]).to.deep.equal([500, 'ERR_SSE_AUTH_ORDER'])
          expect(body.message).to.contain(`"${by}"`).and.contain('authenticate()')
        }
      })

      it(`do not apply to unauthenticated requests after authenticate: by ${by}`, async () => {
        const agent = await start(authenticate({ secret: SECRET, optional: true }), limited({ by }))
        const statuses = async (headers: Record<string, string>): Promise<number[]> => {
          const all: number[] = []
          for (let i = 0; i < 3; i++) all.push((await agent.get('/').set(headers)).status)
          return all
        }
        expect(await statuses({})).to.deep.equal([204, 204, 204])
        expect(await statuses({ Authorization: bearer })).to.deep.equal([204, 204, 429])
      })

      it(`count requests without a user by address with withoutUser ip: by ${by}`, async () => {
        const agent = await start(limited({ by, withoutUser: 'ip' }))
        const from = async (address: string): Promise<number> =>
          (await agent.get('/').set('X-Forwarded-For', address)).status
        expect([await from('192.0.2.1'), await from('192.0.2.1'), await from('192.0.2.1')]).to.deep.equal([
          204, 204, 429,
        ])
        expect(await from('192.0.2.2')).to.equal(204)
      })

      it(`skip requests without a user with withoutUser skip: by ${by}`, async () => {
        const agent = await start(limited({ by, withoutUser: 'skip' }))
        for (let i = 0; i < 4; i++) expect((await agent.get('/')).status).to.equal(204)
      })
    }

    it('ignore ports and brackets that a proxy adds to an address', async () => {
      const agent = await start(limited({ by: 'ip' }))
      const from = async (address: string): Promise<number> =>
        (await agent.get('/').set('X-Forwarded-For', address)).status
      expect(await Promise.all([1, 2, 3, 4].map((n) => from(`203.0.113.7:5000${n}`)))).to.include.members([429])
      expect(await from('203.0.113.7')).to.equal(429)
      expect(await from('203.0.113.8:50001')).to.equal(204)
      const v6 = [await from('[2001:db8::1]:443'), await from('2001:db8::2'), await from('[2001:db8::3]')]
      expect(v6).to.deep.equal([204, 204, 429])
    })

    it('share one count among requests and streams without an address, and warn once', async () => {
      const path = join(tmpdir(), `sse-${process.pid}-${Math.random().toString(36).slice(2)}.sock`)
      const limits = createStreamLimits({ perIp: 1 })
      const app = appOf(limited({ by: 'ip', points: 3 }))
      app.get('/stream', limitStreams(limits), (_, res) => void res.write('open'))
      const server = createServer(app).listen(path)
      await once(server, 'listening')
      undo.push(async () => {
        server.close()
        server.closeAllConnections()
        await limits.close()
      })
      const warnings: (Error & { code?: string })[] = []
      const note = (warning: Error): void => void warnings.push(warning)
      process.on('warning', note)
      undo.push(async () => void process.off('warning', note))
      const get = async (url: string, headers = {}): Promise<number | undefined> => {
        const [res] = await once(request({ socketPath: path, path: url, headers, agent: false }).end(), 'response')
        return res.statusCode
      }
      expect([await get('/stream'), await get('/stream'), await get('/'), await get('/')]).to.deep.equal([
        200, 429, 204, 429,
      ])
      expect(await get('/', { 'x-forwarded-for': '192.0.2.1' }), 'no proxy is trusted').to.equal(429)
      const noAddress = warnings.filter(({ code }) => code === 'SSE_NO_ADDRESS')
      // The kit warns once per process, so an earlier test may have received the warning.
      expect(noAddress.length).to.be.at.most(1)
      if (name === 'Express 5') expect(noAddress[0]?.message).to.contain("'trust proxy'")
    })

    for (const limit of [
      { withoutUser: 'ip', by: 'ip' },
      { withoutUser: 'other' },
      { withoutUser: 'ip', by: () => 'x', name: 'x' },
    ]) {
      it(`are refused at construction: ${JSON.stringify(limit)}`, () => {
        expect(() => limited(limit as object))
          .to.throw()
          .with.property('code', 'ERR_SSE_OPTION_INVALID')
      })
    }
  })
}
