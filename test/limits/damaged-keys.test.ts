import { expect } from 'chai'
import express, { type RequestHandler } from 'express'
import supertest from 'supertest'
import { diagnostics } from '../../lib/core/diagnostics.js'
import { rateLimit } from '../../lib/routers/rate-limit.js'
import { createStreamLimits } from '../helpers/internals.js'
import { type SuiteRedis, startSuiteRedis } from '../helpers/suite-redis.js'
import { owner, TestStream } from '../suites/stream-limits.js'

describe('limits of which one key in Redis is damaged', () => {
  let redis: SuiteRedis
  const closing: { close(): unknown }[] = []

  startSuiteRedis((started) => {
    redis = started
  })

  afterEach(async () => {
    for (const each of closing.splice(0)) await each.close()
    await redis.admin.flushall()
  })

  /** Overwrites what the limits know of ada. */
  async function damage(value: string): Promise<void> {
    const keys = await redis.admin.keys('*ada*')
    expect(keys).to.not.deep.equal([])
    for (const key of keys) {
      const type = await redis.admin.type(key)
      if (type === 'hash' && value !== 'type')
        for (const field of await redis.admin.hkeys(key)) await redis.admin.hset(key, field, value)
      else if (type === 'string' && value === 'type') await redis.admin.multi().del(key).lpush(key, 'x').exec()
      else await redis.admin.set(key, value)
    }
  }

  for (const [name, options] of [
    ['a fixed window', {}],
    ['a token bucket', { algorithm: 'token-bucket' }],
    ['an exact limit', { mode: 'exact' }],
  ] as const) {
    for (const value of ['type', 'x', '', '9'.repeat(40), '1 2 3 x']) {
      it(`count the others in Redis: ${name} with ${JSON.stringify(value)}`, async () => {
        const sources: string[] = []
        const onDecision = (message: unknown): void => void sources.push((message as { source: string }).source)
        // Points that are leased are granted without Redis, so each process here leases for itself.
        const start = (): ReturnType<typeof supertest> => {
          const by = (req: { url: string }): string => req.url
          const limit = rateLimit({
            by,
            name: 'n',
            points: 10,
            duration: 3600,
            timeoutMs: 20_000,
            redis: redis.server.url,
            ...options,
          })
          closing.push(limit)
          return supertest(express().use(limit as RequestHandler, (_, res) => void res.end()))
        }
        const [first, second] = [start(), start()]
        await first.get('/ada').expect(200)
        await damage(value)
        diagnostics.limiterDecision.subscribe(onDecision)
        try {
          await second.get('/ada').expect(200)
          await second.get('/bob').expect(200)
        } finally {
          diagnostics.limiterDecision.unsubscribe(onDecision)
        }
        expect(sources.at(-1)).to.equal('redis')
      })
    }
  }

  it('lease the streams of the others in Redis, and those of its user again', async () => {
    const errors: unknown[] = []
    const onError = (message: unknown): void => void errors.push(message)
    diagnostics.storeError.subscribe(onError)
    const limits = createStreamLimits({ redis: redis.server.url, perUser: 2, timeoutMs: 20_000 })
    closing.push(limits)
    try {
      await limits.acquire(owner('ada'), new TestStream())
      await damage('type')
      await limits.acquire(owner('ada'), new TestStream())
      await limits.acquire(owner('bob'), new TestStream())
    } finally {
      diagnostics.storeError.unsubscribe(onError)
    }
    expect(errors).to.deep.equal([])
    expect(await redis.admin.zcard('sse:{streams}:user:acme:bob')).to.equal(1)
  })
})
