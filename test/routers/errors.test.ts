import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import type { ErrorRequestHandler, Request, Response } from 'express'
import supertest from 'supertest'
import { BrokerError, type ErrorCode, RequestError, SseError } from '../../lib/core/errors.js'
import { type SseErrorsOptions, sseErrors } from '../../lib/routers/errors.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'
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
      app.use(sseErrors({ onError: null }))
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

    it('does not reveal addresses of services', async () => {
      const answer = await answerTo(new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', 'connect ECONNREFUSED 10.0.0.7:6379'))
      expect([answer.status, answer.body.code, answer.headers['retry-after']]).to.deep.equal([
        503,
        'ERR_SSE_BROKER_UNAVAILABLE',
        '1',
      ])
      expect(answer.text).not.to.contain('10.0.0.7')
    })

    it('passes other errors to the next handler', async () => {
      expect((await answerTo(new Error('other'))).body).to.deep.equal({ passed: true })
    })

    it('ends a stream whose route failed, notifies the client, and keeps the process running', async () => {
      const app = express()
      app.use(sseMiddleware())
      app.get('/', (_req, res, next) => {
        res.sse().send({ data: 'before' })
        setImmediate(() => next(new Error('the route failed')))
      })
      app.use(sseErrors({ onError: null }))
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

    describe('reports errors', () => {
      let printed: unknown[][]
      const print = console.error

      beforeEach(() => {
        printed = []
        console.error = (...values) => void printed.push(values)
      })

      afterEach(() => {
        console.error = print
      })

      type Route = (req: Request, res: Response, next: (error: unknown) => void) => void

      /** Opens the route this many times, and waits for the end of the streams. */
      async function open(route: Route, options?: SseErrorsOptions, times = 1): Promise<void> {
        const app = express()
        app.use(sseMiddleware())
        app.get('/', route)
        app.use(sseErrors(options))
        server = await serve(app)
        for (let i = 0; i < times; i++) {
          const client = await SseClient.open(server.url)
          await client.ended()
          expect(client.raw).not.to.contain('broken')
        }
      }

      const circular: Record<string, unknown> = {}
      circular.self = circular
      const routes: Record<string, Route> = {
        'a throw': (_req, res) => {
          res.sse()
          throw new Error('broken')
        },
        'a circular object': (_req, res) => {
          res.sse().send({ data: circular })
        },
        'an error passed on later': (_req, res, next) => {
          res.sse()
          setImmediate(() => next(new Error('broken')))
        },
        'an error of the kit that elsewhere is an answer': (_req, res) => {
          res.sse()
          throw new RequestError('ERR_SSE_FORBIDDEN', 'broken')
        },
        'a value that is not an Error': (_req, res, next) => {
          res.sse()
          next('broken')
        },
      }
      for (const [what, route] of Object.entries(routes)) {
        it(`after res.sse(): ${what} is printed, once for all clients that reconnect`, async () => {
          await open(route, undefined, 3)
          expect(printed).to.have.length(1)
        })

        it(`after res.sse(): ${what} is reported to onError instead, each time`, async () => {
          const errors: unknown[] = []
          await open(route, { onError: (error, req) => errors.push([error, req.path]) }, 2)
          expect(errors).to.have.length(2)
          expect(errors[0]).to.have.property('1', '/')
          expect(printed).to.deep.equal([])
        })
      }

      for (const rejected of ['an AbortError', 'the reason'] as const) {
        it(`prints nothing if the signal of a stream interrupts its route: ${rejected}`, async () => {
          let passOn = (_error: unknown): void => undefined
          const passed = new Promise<unknown>((resolve) => {
            passOn = resolve
          })
          const route: Route = (_req, res, next) => {
            const stream = res.sse()
            const { signal } = stream
            sleep(60_000, undefined, { signal }).catch((error: unknown) => {
              next(rejected === 'the reason' ? signal.reason : error)
              passOn(error)
            })
            setImmediate(() => void stream.close())
          }
          await open(route, { onError: (error) => printed.push([error]) })
          expect(await passed).to.have.property('name', 'AbortError')
          expect(printed).to.deep.equal([])
        })
      }

      it('reports server errors, but not refusals', async () => {
        const errors: unknown[] = []
        for (const [code, reported] of [
          ['ERR_SSE_OPTION_INVALID', true],
          ['ERR_SSE_HEADERS_SENT', true],
          ['ERR_SSE_BROKER_UNAVAILABLE', true],
          ['ERR_SSE_CALLBACK_TIMEOUT', true],
          ['ERR_SSE_LIMITER_UNAVAILABLE', true],
          ['ERR_SSE_OVERLOADED', false],
          ['ERR_SSE_CLOSED', false],
          ['ERR_SSE_DELIVERY_IN_PROGRESS', false],
          ['ERR_SSE_FORBIDDEN', false],
          ['ERR_SSE_RATE_LIMITED', false],
        ] as const satisfies readonly (readonly [ErrorCode, boolean])[]) {
          errors.length = 0
          const error = new SseError(code, 'text')
          const app = express()
          app.get('/', (_req, _res, next) => next(error))
          app.use(sseErrors({ onError: (each) => errors.push(each) }))
          expect((await supertest(app).get('/')).body.code).to.equal(code)
          expect(errors, code).to.deep.equal(reported ? [error] : [])
        }
      })

      for (const [how, onError] of Object.entries({
        throws: () => {
          throw new Error('onError is broken')
        },
        rejects: () => Promise.reject(new Error('onError is broken')),
      })) {
        it(`prints the error that onError ${how}, and the stream ends with its reason`, async () => {
          await open(routes['a throw'] as Route, { onError })
          await new Promise((resolve) => setImmediate(resolve))
          expect(printed.map(([error]) => String(error))).to.deep.equal(['Error: onError is broken'])
        })
      }

      it('refuses an onError that is not a function', () => {
        expect(() => sseErrors({ onError: 'log' as never }))
          .to.throw()
          .with.property('code', 'ERR_SSE_OPTION_INVALID')
      })
    })
  })
}
