import { expect } from 'chai'
import { Redis } from 'ioredis'
import { createStore } from '../../lib/store/create.js'
import { RedisStore } from '../../lib/store/redis.js'
import { freePort } from '../helpers/free-port.js'
import { RedisServer } from '../helpers/redis-server.js'
import { storeSuite } from '../suites/store.js'

const TIMEOUT_MS = 300

describe('RedisStore', () => {
  let server: RedisServer

  before(async () => {
    server = await RedisServer.start()
  })

  after(async () => {
    await server.stop()
  })

  afterEach(async () => {
    await flush(server)
  })

  storeSuite(async () => ({
    store: createStore({ redis: server.url }),
    other: createStore({ redis: { host: '127.0.0.1', port: server.port } }),
    // Redis uses its own clock, which a test cannot control.
    pass: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  }))

  it('adds its prefix to every key, and sets an expiry on every entry', async () => {
    const [plain, own] = [createStore({ redis: server.url }), createStore({ redis: server.url, prefix: 'mine/' })]
    await Promise.all([plain.set('key', 'plain', 60_000), own.claim('key', 'own', 60_000)])
    await withClient(server, async (client) => {
      expect((await client.keys('*')).sort()).to.deep.equal(['mine/key', 'sse:key'])
      for (const key of ['mine/key', 'sse:key']) expect(await client.pttl(key)).to.be.within(50_000, 60_000)
    })
    await Promise.all([plain.close(), own.close()])
  })

  it('uses a given client directly, and does not close it', async () => {
    const own = await RedisServer.start()
    await withClient(own, async (client) => {
      const store = createStore({ redis: client })
      await store.set('key', 'value', 60_000)
      expect(await client.info('clients')).to.contain('connected_clients:1\r\n')
      await store.close()
      expect(await client.get('sse:key')).to.equal('value')
    })
    await own.stop()
  })

  it('connects a given client with lazyConnect', async () => {
    const client = new Redis(server.url, { lazyConnect: true })
    const store = createStore({ redis: client })
    expect(await Promise.all([store.claim('key', 'value', 1000), store.claim('other', 'value', 1000)])).to.deep.equal([
      true,
      true,
    ])
    await store.close()
    client.disconnect()
  })

  it('rejects with a code, within the time-out, if Redis is unreachable', async () => {
    const store = new RedisStore({ redis: `redis://127.0.0.1:${await freePort()}`, commandTimeoutMs: TIMEOUT_MS })
    expect(await failure(() => store.get(['key']))).to.deep.include({
      code: 'ERR_SSE_BROKER_UNAVAILABLE',
      inTime: true,
    })
    await store.close()
  })

  it('rejects immediately after one command has timed out, and recovers when Redis is back', async () => {
    const own = await RedisServer.start()
    const store = new RedisStore({ redis: own.url, commandTimeoutMs: TIMEOUT_MS })
    await store.set('key', 'value', 60_000)
    await own.kill()
    expect(await failure(() => store.get(['key']))).to.deep.include({ inTime: true })
    await failure(() => store.get(['key']))
    const again = await failure(() => store.claim('key', 'value', 1000))
    expect(again.code).to.equal('ERR_SSE_BROKER_UNAVAILABLE')
    expect(again.tookMs).to.be.below(TIMEOUT_MS / 2)
    await own.up()
    await eventually(() => store.set('key', 'value', 1000))
    await store.close()
    await own.stop()
  })

  for (const given of ['its own connection', 'a given client without a command time-out'] as const) {
    it(`rejects with a code, within the time-out, if Redis hangs: ${given}`, async () => {
      const own = await RedisServer.start()
      const client = new Redis(own.url)
      const redis = given === 'its own connection' ? own.url : client
      const store = new RedisStore({ redis, commandTimeoutMs: TIMEOUT_MS })
      await store.set('key', 'value', 60_000)
      own.pause()
      for (const command of [() => store.get(['key']), () => store.claim('new', 'value', 1000)]) {
        expect(await failure(command)).to.deep.include({ code: 'ERR_SSE_BROKER_TIMEOUT', inTime: true })
      }
      own.resume()
      expect(await store.get(['key'])).to.deep.equal(['value'])
      await store.close()
      client.disconnect()
      await own.stop()
    })
  }

  it('rejects a command that Redis refuses', async () => {
    const own = await RedisServer.start(['--maxmemory', '1', '--maxmemory-policy', 'noeviction'])
    const store = createStore({ redis: own.url })
    expect(await failure(() => store.set('key', 'value', 1000))).to.include({ code: 'ERR_SSE_BROKER_REFUSED' })
    await store.close()
    await own.stop()
  })

  it('rejects commands in flight when it closes', async () => {
    const own = await RedisServer.start()
    const store = createStore({ redis: own.url })
    await store.set('key', 'value', 1000)
    own.pause()
    const pending = failure(() => store.get(['key']))
    // The command is written in a microtask.
    await new Promise(setImmediate)
    await store.close()
    expect(await pending).to.include({ code: 'ERR_SSE_CLOSED' })
    await own.stop()
  })

  it('rejects invalid options', () => {
    for (const options of [
      { redis: 'localhost:6379' },
      { redis: server.url, commandTimeoutMs: 0 },
      { redis: server.url, prefix: 7 as unknown as string },
    ]) {
      expect(() => new RedisStore(options))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    }
  })
})

async function failure(command: () => Promise<unknown>): Promise<{ code: unknown; tookMs: number; inTime: boolean }> {
  const startedAt = performance.now()
  const error = await command().then(
    () => undefined,
    (reason: unknown) => reason,
  )
  const tookMs = performance.now() - startedAt
  return { code: (error as { code?: unknown } | undefined)?.code, tookMs, inTime: tookMs < TIMEOUT_MS + 200 }
}

async function eventually(attempt: () => Promise<unknown>): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    try {
      await attempt()
      return
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  await attempt()
}

async function withClient(server: RedisServer, use: (client: Redis) => Promise<void>): Promise<void> {
  const client = new Redis(server.url)
  try {
    await use(client)
  } finally {
    client.disconnect()
  }
}

async function flush(server: RedisServer): Promise<void> {
  await withClient(server, async (client) => {
    await client.flushall()
  })
}
