import { expect } from 'chai'
import { Redis } from 'ioredis'
import { MemoryInboxStore } from '../../example/server/store/memory.js'
import { RedisInboxStore } from '../../example/server/store/redis.js'
import { connect, StoreUnavailableError } from '../../example/server/store/redis-client.js'
import { freePort } from '../helpers/free-port.js'
import { RedisServer } from '../helpers/redis-server.js'
import { inboxStoreSuite } from './inbox-store.suite.js'

describe("the example's store in memory", () => {
  inboxStoreSuite(async () => {
    const store = new MemoryInboxStore()
    return { store, other: store, stop: () => store.close() }
  })
})

describe("the example's store on a real Redis", () => {
  let server: RedisServer
  before(async () => {
    server = await RedisServer.start()
  })
  after(() => server.stop())

  inboxStoreSuite(async () => {
    const client = new Redis(server.url)
    await client.flushall()
    client.disconnect()
    const store = new RedisInboxStore(connect(server.url))
    const other = new RedisInboxStore(connect(server.url))
    return { store, other, stop: async () => void (await Promise.all([store.close(), other.close()])) }
  })

  it('fails within a bounded time while Redis is unavailable, and recovers', async () => {
    const own = await RedisServer.start()
    const store = new RedisInboxStore(connect(own.url))
    await store.ping()
    await own.down()
    const before = performance.now()
    expect(await failure(store.listConversations('acme'))).to.be.instanceOf(StoreUnavailableError)
    expect(performance.now() - before).to.be.lessThan(5000)
    await own.up()
    await store.ping()
    await store.close()
    expect(await failure(store.ping())).to.be.instanceOf(StoreUnavailableError)
    await own.stop()
  })

  it('fails within a bounded time if there never was a Redis', async () => {
    const store = new RedisInboxStore(connect(`redis://127.0.0.1:${await freePort()}`))
    expect(await failure(store.ping())).to.be.instanceOf(StoreUnavailableError)
    await store.close()
  })
})

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  )
}
