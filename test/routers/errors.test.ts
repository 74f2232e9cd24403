import { expect } from 'chai'
import type { ErrorRequestHandler } from 'express'
import supertest from 'supertest'
import { BrokerError, RequestError } from '../../lib/core/errors.js'
import { sseErrors } from '../../lib/routers/errors.js'
import { sseMiddleware } from '../../lib/stream/middleware.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`sseErrors on ${name}`, () => {
    let server: TestServer | undefined

    afterEach(async () => {
      await server?.stop()
      server = undefined
    })

    async function answerTo(error: unknown): Promise<supertest.Response> {
      const app = express()
      app.get('/', (_req, _res, next) => next(error))
      app.use(sseErrors())
      app.use(((passed: unknown, _req, res, _next) => {
        res.status(500).json({ passed: passed === error })
      }) as ErrorRequestHandler)
      server = await serve(app)
      return supertest(server.url).get('/')
    }

    it('answers the errors of the kit with a problem document and their headers', async () => {
      const headers = { 'WWW-Authenticate': 'Bearer' }
      const answer = await answerTo(new RequestError('ERR_SSE_TOKEN_MISSING', 'No token', { headers }))
      expect(answer.status).to.equal(401)
      expect(answer.headers).to.include({
        'content-type': 'application/problem+json; charset=utf-8',
        'www-authenticate': 'Bearer',
      })
      expect(answer.body).to.deep.equal({
        title: 'Authentication required',
        status: 401,
        code: 'ERR_SSE_TOKEN_MISSING',
        detail: 'No token',
      })
    })

    it('keeps the addresses of services inside', async () => {
      const answer = await answerTo(new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', 'connect ECONNREFUSED 10.0.0.7:6379'))
      expect([answer.status, answer.body.code, answer.headers['retry-after']]).to.deep.equal([
        503,
        'ERR_SSE_BROKER_UNAVAILABLE',
        '1',
      ])
      expect(answer.text).not.to.contain('10.0.0.7')
    })

    it('leaves other errors to the next handler', async () => {
      expect((await answerTo(new Error('other'))).body).to.deep.equal({ passed: true })
    })

    it('ends a stream whose route failed with a word to the client, and the process lives', async () => {
      const app = express()
      app.use(sseMiddleware())
      app.get('/', (_req, res, next) => {
        res.sse().send({ data: 'before' })
        setImmediate(() => next(new Error('the route failed')))
      })
      app.use(sseErrors())
      server = await serve(app)
      const client = await SseClient.open(server.url)
      await client.ended()
      expect(client.events.map(({ event, data }) => event ?? data)).to.deep.equal([
        'sse.open',
        'before',
        'sse.reconnect',
      ])
      expect(JSON.parse(client.events[2]?.data ?? '')).to.include({ reason: 'error' })
      expect(client.raw).not.to.contain('the route failed')
    })
  })
}
