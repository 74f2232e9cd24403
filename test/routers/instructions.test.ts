import { expect } from 'chai'
import type { ErrorRequestHandler, RequestHandler } from 'express'
import supertest from 'supertest'
import {
  authenticate,
  createMultiplexer,
  createStreamLimits,
  limitStreams,
  type RateLimitOptions,
  rateLimit,
} from '../../lib/index.js'
import { MemoryStore } from '../../lib/store/memory.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'
import { serve } from '../helpers/http-server.js'

/** Values that Express interprets as an instruction, not as an error. */
const INSTRUCTIONS = ['route', 'router', undefined]
const TICKET = 'x'.repeat(43)

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`a request whose check throws a value that Express interprets as an instruction, on ${name}`, () => {
    const undo: (() => unknown)[] = []

    afterEach(async () => {
      for (const step of undo.splice(0).reverse()) await step()
    })

    function limited(options: Partial<RateLimitOptions>): RequestHandler {
      const limit = rateLimit({ by: 'ip', points: 100, duration: 60, ...options } as RateLimitOptions)
      undo.push(() => limit.close())
      return limit
    }

    /** Checks that read `req.ip`, which Express finds by calling the application. */
    const byAddress: Record<string, () => RequestHandler> = {
      'rateLimit by address': () => limited({}),
      limitStreams: () => limitStreams(createStreamLimits({ perIp: 5 })),
      'a stream under limits': () => {
        const multiplexer = createMultiplexer({ streamLimits: createStreamLimits({ perIp: 5 }) })
        undo.push(() => multiplexer.close())
        return multiplexer.stream(() => 'log') as RequestHandler
      },
      'authenticate with a failure limit': () => {
        const failureLimit = limited({ points: 1 })
        return authenticate({ secret: 's'.repeat(32), tickets: new MemoryStore(), failureLimit })
      },
    }

    for (const thrown of INSTRUCTIONS) {
      const broken = (): never => {
        throw thrown
      }

      async function isStopped(check: RequestHandler, trust: unknown): Promise<void> {
        const app = express()
        app.set('env', 'test')
        app.set('trust proxy', trust)
        const errors: unknown[] = []
        let passed = 0
        app.use(check)
        app.use((_, res) => {
          passed++
          res.end()
        })
        app.use(((error, _req, res, _next) => {
          errors.push(error)
          res.status(500).end()
        }) as ErrorRequestHandler)
        const server = await serve(app)
        undo.push(() => server.stop())
        const answer = await supertest(server.url)
          .get('/')
          .query({ ticket: TICKET })
          .set('X-Forwarded-For', '192.0.2.1')
        expect(passed, 'requests that passed').to.equal(0)
        expect(answer.status).to.equal(500)
        expect(errors[0]).to.be.an.instanceOf(Error)
        expect((errors[0] as Error).cause).to.equal(thrown)
      }

      for (const [check, make] of Object.entries(byAddress)) {
        it(`is stopped with an Error: ${check}, ${thrown}`, () => isStopped(make(), broken))
      }

      for (const option of ['by', 'skip', 'cost', 'points'] as const) {
        it(`is stopped with an Error: ${option} of rateLimit, ${thrown}`, () =>
          isStopped(limited({ name: 'limit', [option]: broken }), false))
      }

      it(`is stopped with an Error: pollUrl, ${thrown}`, () => {
        const multiplexer = createMultiplexer()
        undo.push(() => multiplexer.close())
        return isStopped(multiplexer.stream(() => 'log', { pollUrl: broken }) as RequestHandler, false)
      })
    }
  })
}
