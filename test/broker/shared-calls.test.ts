import { expect } from 'chai'
import { Redis } from 'ioredis'
import { RedisBroker, type RedisBrokerOptions } from '../../lib/broker/redis/broker.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { eventually } from '../helpers/eventually.js'
import { range } from '../helpers/range.js'
import { commandCalls, RedisServer } from '../helpers/redis-server.js'
import { TcpProxy } from '../helpers/tcp-proxy.js'

const event = (data: unknown) => encodePublished({ data })
const CHANNELS = range(1, 100).map((n) => `shared:${n}`)

describe('publications on several channels in one tick', () => {
  let redis: RedisServer
  let admin: Redis
  let proxy: TcpProxy
  let broker: RedisBroker

  beforeEach(async () => {
    redis = await RedisServer.start()
    admin = new Redis(redis.url)
    proxy = await TcpProxy.start(redis.port)
  })
  afterEach(async () => {
    await broker.close()
    await proxy.stop()
    admin.disconnect()
    await redis.stop()
  })

  function start(options: Partial<RedisBrokerOptions> = {}): void {
    const url = `redis://127.0.0.1:${proxy.port}`
    broker = new RedisBroker({ redis: url, commandTimeoutMs: 2000, probeMs: 60_000, ...options }, systemClock)
  }

  function calls(): Promise<number> {
    return commandCalls(admin, 'evalsha')
  }

  /** The offset, or the code of the error, of each publication. */
  function publishOnAll(data: unknown): Promise<readonly (number | string | undefined)[]> {
    const outcomes = CHANNELS.map((channel) =>
      broker.publish(channel, event(data)).then(
        ({ offset }) => offset,
        (error: { code?: string }) => error.code,
      ),
    )
    return Promise.all(outcomes)
  }

  function offsetsInAllLogs(): Promise<readonly number[]> {
    return Promise.all(CHANNELS.map(async (channel) => (await broker.read(channel, 0, 100)).entries.length))
  }

  it('share calls, and each gets its own position', async () => {
    start()
    await broker.publish('shared:7', event('earlier'))
    const before = await calls()
    const offsets = await publishOnAll('event')
    expect(await calls()).to.equal(before + 2)
    expect(offsets).to.deep.equal(CHANNELS.map((channel) => (channel === 'shared:7' ? 2 : 1)))
  })

  it('fail alone if Redis refuses only one of them', async () => {
    start()
    await admin.set('sse:{shared:7}:m', 'not a hash')
    const offsets = await publishOnAll('event')
    expect(offsets).to.deep.equal(CHANNELS.map((channel) => (channel === 'shared:7' ? 'ERR_SSE_BROKER_REFUSED' : 1)))
  })

  it('are logged once if the connection breaks before the reply', async () => {
    start()
    await broker.publish('shared:7', event('earlier'))
    proxy.dropAnswers()
    const publishing = publishOnAll('event')
    await eventually(async () => (await admin.exists('sse:{shared:100}:s')) === 1)
    proxy.breakConnections()
    expect(await publishing).to.deep.equal(CHANNELS.map((channel) => (channel === 'shared:7' ? 2 : 1)))
    expect(await offsetsInAllLogs()).to.deep.equal(CHANNELS.map((channel) => (channel === 'shared:7' ? 2 : 1)))
  })

  it('have an unknown outcome if no reply arrives in time, and a known one if nothing was sent', async () => {
    start({ commandTimeoutMs: 500 })
    await broker.publish('shared:7', event('earlier'))
    redis.pause()
    expect(await publishOnAll('event')).to.deep.equal(CHANNELS.map(() => 'ERR_SSE_BROKER_TIMEOUT'))
    expect(await publishOnAll('event')).to.deep.equal(CHANNELS.map(() => 'ERR_SSE_BROKER_UNAVAILABLE'))
    redis.resume()
  })
})
