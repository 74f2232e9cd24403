import { expect } from 'chai'
import type { RequestHandler } from 'express'
import supertest from 'supertest'
import {
  conversationStreams,
  createMultiplexer,
  dashboardInit,
  forbidden,
  type Multiplexer,
  notFound,
  RequestError,
  sseErrors,
  sseMiddleware,
  unauthorized,
} from '../../lib/index.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'
import { serve } from '../helpers/http-server.js'

const signedIn: RequestHandler = (req, _res, next) => {
  req.auth = { user: 'dana', tenant: 'acme', expiresAt: Date.now() + 60_000, claims: {} }
  next()
}

const REFUSALS = [
  { make: forbidden, status: 403, code: 'ERR_SSE_FORBIDDEN' },
  { make: unauthorized, status: 401, code: 'ERR_SSE_UNAUTHORIZED' },
  { make: notFound, status: 404, code: 'ERR_SSE_NOT_FOUND' },
] as const

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`refusals by the application on ${name}`, () => {
    const undo: (() => unknown)[] = []
    let multiplexer: Multiplexer

    beforeEach(() => {
      multiplexer = createMultiplexer()
      undo.push(() => multiplexer.close())
    })

    afterEach(async () => {
      for (const step of undo.splice(0).reverse()) await step()
    })

    async function start(...handlers: RequestHandler[]): Promise<ReturnType<typeof supertest>> {
      const app = express().use(signedIn, sseMiddleware())
      for (const handler of handlers) app.use(handler)
      app.use(sseErrors())
      const server = await serve(app)
      undo.push(() => server.stop())
      return supertest(server.url)
    }

    for (const { make, status, code } of REFUSALS) {
      it(`have the same answer wherever ${make.name}() is thrown`, async () => {
        const refuse = (): never => {
          throw make('Not yours')
        }
        const refuseLater = async (): Promise<never> => {
          throw make('Not yours')
        }
        const dashboard = dashboardInit({ load: refuseLater })
        undo.push(() => dashboard.close())
        const router = express.Router()
        router.get('/stream', multiplexer.stream(refuse) as unknown as RequestHandler)
        router.get('/stream-later', multiplexer.stream(refuseLater) as unknown as RequestHandler)
        router.get('/poll', multiplexer.poll(refuse) as unknown as RequestHandler)
        router.get('/poll-later', multiplexer.poll(refuseLater) as unknown as RequestHandler)
        router.get('/route', refuse)
        const agent = await start(router, conversationStreams({ multiplexer, authorize: refuseLater }), dashboard)
        const paths = ['/stream', '/stream-later', '/poll', '/poll-later', '/route']
        for (const path of [...paths, '/messages/1', '/poll/messages/1', '/init']) {
          const answer = await agent.get(path)
          expect([answer.status, answer.body.code, answer.body.detail], path).to.deep.equal([status, code, 'Not yours'])
          expect(answer.headers['content-type'], path).to.match(/^application\/problem\+json/)
          if (status === 401) expect(answer.headers['www-authenticate'], path).to.equal('Bearer')
        }
      })

      it(`may have another message: ${make.name}()`, () => {
        const error = make()
        expect(error).to.be.instanceOf(RequestError)
        expect([error.status, error.code]).to.deep.equal([status, code])
        expect(error.message).not.to.equal('')
      })
    }
  })
}
