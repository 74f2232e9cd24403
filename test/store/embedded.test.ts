import { expect } from 'chai'
import express from 'express'
import supertest from 'supertest'
import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { dashboardInit } from '../../lib/routers/dashboard.js'
import { rateLimit } from '../../lib/routers/rate-limit.js'
import { webhooks } from '../../lib/routers/webhooks/webhooks.js'
import { createStore } from '../../lib/store/create.js'
import { createStreamLimits } from '../helpers/internals.js'

/** The values of an environment variable that is not set, or is empty. */
const GIVEN = [undefined, ''] as const

/** Each part with a `redis` option. Uses the part, closes it and resolves. */
const PARTS: Readonly<Record<string, (redis: string | undefined) => Promise<unknown>>> = {
  createMultiplexer: async (redis) => {
    const multiplexer = createMultiplexer({ redis })
    expect(multiplexer.status().broker).to.equal('memory')
    await multiplexer.publish('news', { data: 1 })
    await multiplexer.close()
  },
  createStore: async (redis) => {
    const store = createStore({ redis })
    await store.set('key', 'value', 1000)
    expect(await store.get(['key'])).to.deep.equal(['value'])
    await store.close()
  },
  rateLimit: async (redis) => {
    const limiter = rateLimit({ by: 'ip', points: 1, duration: 60, redis })
    const app = express().use(limiter, (_req, res) => void res.json({}))
    const agent = supertest(app)
    expect([(await agent.get('/')).status, (await agent.get('/')).status]).to.deep.equal([200, 429])
    await limiter.close()
  },
  createStreamLimits: async (redis) => {
    const limits = createStreamLimits({ redis })
    ;(await limits.acquire({}, { id: 'one', close: () => undefined })).release()
    await limits.close()
  },
  dashboardInit: async (redis) => {
    const router = dashboardInit({
      load: () => ({ profile: 1, tenant: 1, features: 1, channels: 1 }),
      redis,
    })
    await router.invalidate({ tenant: 'acme' })
    await router.close()
  },
  webhooks: async (redis) => {
    await webhooks({ secrets: 'secret', verifyToken: 'token', onMessage: () => undefined, redis }).close()
  },
}

describe('every part with a redis option', () => {
  for (const [part, serve] of Object.entries(PARTS)) {
    it(`is embedded if redis is absent or empty: ${part}`, async () => {
      for (const redis of GIVEN) await serve(redis)
    })

    it(`rejects a redis that is not a URL at construction: ${part}`, async () => {
      for (const redis of [' ', 'localhost', 'http://localhost']) {
        const error = await serve(redis).then(
          () => undefined,
          (cause: unknown) => cause,
        )
        expect(error).to.have.property('code', 'ERR_SSE_OPTION_INVALID')
      }
    })
  }
})
