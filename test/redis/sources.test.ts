import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { expect } from 'chai'
import { Redis as Own, type Redis } from 'ioredis'
import { RedisBroker } from '../../lib/broker/redis/broker.js'
import { systemClock } from '../../lib/core/system-clock.js'
import type { RedisSource } from '../../lib/redis/source.js'
import { rateLimit } from '../../lib/routers/rate-limit.js'
import { createStore } from '../../lib/store/create.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { createStreamLimits } from '../helpers/internals.js'
import { RedisServer } from '../helpers/redis-server.js'
import { ask, request } from '../limits/requests/support.js'

describe('the redis option', () => {
  let redis: RedisServer
  let foreign: Redis

  before(async () => {
    redis = await RedisServer.start()
    const admin = new Own(redis.url)
    await admin.config('SET', 'requirepass', 'secret')
    admin.disconnect()
    foreign = new (anotherCopy().Redis)(redis.port, '127.0.0.1', { password: 'secret' })
  })
  after(async () => {
    foreign.disconnect()
    await redis.stop()
  })

  /** Loads ioredis a second time, with its own classes, as if two versions were installed. */
  function anotherCopy(): { Redis: typeof Redis } {
    const require = createRequire(import.meta.url)
    const folder = dirname(require.resolve('ioredis/package.json'))
    const cached = Object.keys(require.cache).filter((file) => file.startsWith(join(folder, 'built')))
    const saved = cached.map((file) => [file, require.cache[file]] as const)
    for (const file of cached) delete require.cache[file]
    try {
      return require('ioredis') as { Redis: typeof Redis }
    } finally {
      for (const file of Object.keys(require.cache))
        if (file.startsWith(join(folder, 'built'))) delete require.cache[file]
      for (const [file, module] of saved) require.cache[file] = module
    }
  }

  it('accepts a client of another copy of ioredis, in every part', async () => {
    expect(foreign).to.not.be.instanceOf(Own)
    const broker = new RedisBroker({ redis: foreign }, systemClock)
    const store = createStore({ redis: foreign })
    const limits = createStreamLimits({ redis: foreign, perUser: 1, onError: 'closed' })
    const limiter = rateLimit({ redis: foreign, by: 'user', points: 5, duration: 60, onError: 'closed' })
    try {
      await broker.publish('log', encodePublished({ data: 1 }))
      await store.set('key', 'value', 60_000)
      const lease = await limits.acquire(
        { auth: { user: 'ada', tenant: 'acme', expiresAt: 0, claims: {} } },
        { id: 'one', close: () => undefined },
      )
      expect((await ask(limiter, request({ user: 'ada' }))).admitted).to.equal(true)
      const keys = await foreign.keys('*')
      for (const part of ['sse:{log}:s', 'sse:key', 'streams']) expect(keys.join(' ')).to.include(part)
      lease.release()
    } finally {
      await Promise.all([broker.close(), store.close(), limits.close(), limiter.close()])
    }
    expect(foreign.status).to.equal('ready')
    expect(foreign.listenerCount('error') + foreign.listenerCount('node error')).to.equal(0)
  })

  it('may be a URL with options, of which those that the kit needs have no effect', async () => {
    for (const query of ['lazyConnect=true', 'lazyConnect=1&enableOfflineQueue=true', 'maxRetriesPerRequest=3']) {
      const url = `redis://:secret@127.0.0.1:${redis.port}?${query}`
      const broker = new RedisBroker({ redis: url, commandTimeoutMs: 5000 }, systemClock)
      expect(await broker.publish('url', encodePublished({ data: 1 }))).to.have.property('epoch')
      await broker.close()
    }
  })

  const unknown: readonly [string, unknown][] = [
    ['options that name no server', {}],
    ['options with a password alone', { password: 'secret' }],
    ["another library's options", { url: 'redis://127.0.0.1:6379' }],
    ["another library's client", new (class Commander {})()],
    ['an object that only resembles a client', { status: 'ready', options: {}, duplicate: () => undefined }],
    ['a function', () => 'redis://127.0.0.1:6379'],
    ['a Map', new Map([['host', '127.0.0.1']])],
    ['a promise', Promise.resolve('redis://127.0.0.1:6379')],
    ['a number', 6379],
    ['a URL without a host', 'redis://'],
    ['a URL whose path is not a database number', 'redis://127.0.0.1:6379/main'],
    ['a host without a scheme', '127.0.0.1:6379'],
    ['an http URL', 'http://127.0.0.1:6379'],
    ['no URLs', []],
    ['an object among URLs', [{ host: '127.0.0.1' }]],
  ]
  for (const [title, source] of unknown) {
    it(`rejects ${title}`, () => {
      const redis = source as RedisSource
      const parts = [
        () => new RedisBroker({ redis }, systemClock),
        () => createStore({ redis }),
        () => createStreamLimits({ redis, perUser: 1 }),
        () => rateLimit({ redis, by: 'user', points: 5, duration: 60 }),
      ]
      for (const part of parts) expect(part).to.throw().with.property('code', 'ERR_SSE_OPTION_INVALID')
    })
  }
})
