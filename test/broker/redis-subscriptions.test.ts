import { expect } from 'chai'
import type { Redis } from 'ioredis'
import { RedisBroker } from '../../lib/broker/redis/broker.js'
import { RedisSubscriber } from '../../lib/broker/redis/subscriber.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { eventually } from '../helpers/eventually.js'
import { snapshot } from '../helpers/redis-log.js'
import type { RedisServer } from '../helpers/redis-server.js'
import { startSuiteRedis } from '../helpers/suite-redis.js'
import { codeOf, Recorder } from '../suites/broker.js'

const event = (data: unknown) => encodePublished({ data })

describe('the subscriptions of the redis broker', () => {
  let server: RedisServer
  let admin: Redis
  let broker: RedisBroker
  let publisher: RedisBroker

  startSuiteRedis((started) => {
    ;({ server, admin } = started)
  })

  beforeEach(() => {
    broker = new RedisBroker({ redis: server.url }, systemClock)
    publisher = new RedisBroker({ redis: server.url }, systemClock)
  })

  afterEach(async () => {
    await admin.acl('SETUSER', 'default', '+subscribe')
    await Promise.all([broker.close(), publisher.close()])
    await admin.flushall()
  })

  for (const prefix of ['é:', '😀:', '\ud800:', '']) {
    it(`receive what is published with the prefix ${JSON.stringify(prefix)}`, async () => {
      const options = { redis: server.url, prefix }
      const own = new RedisBroker(options, systemClock)
      const other = new RedisBroker(options, systemClock)
      const listener = new Recorder()
      await own.subscribe('log', listener)
      await own.publish('log', event(1))
      await other.publish('log', encodePublished({ data: 2, ephemeral: true }))
      await listener.until(2)
      await Promise.all([own.close(), other.close()])
    })
  }

  it('fail with a code if Redis refuses only them, and work once it permits them', async () => {
    await admin.acl('SETUSER', 'default', '-subscribe')
    const listener = new Recorder()
    expect(await codeOf(broker.subscribe('log', listener))).to.equal('ERR_SSE_BROKER_REFUSED')
    await admin.acl('SETUSER', 'default', '+subscribe')
    await broker.subscribe('log', listener)
    await publisher.publish('log', event(1))
    await eventually(() => listener.entries.length === 1)
  })

  it('note their first entry as received: if it is lost, the log has lost entries', async () => {
    const listener = new Recorder()
    const { epoch } = await broker.subscribe('log', listener)
    const rewind = await snapshot(admin, 'log')
    await publisher.publish('log', event(1))
    await eventually(() => listener.entries.length === 1)
    await rewind()
    const [head] = await broker.heads(['log'])
    expect(head).to.deep.include({ offset: 0, earlier: [{ epoch, offset: 0 }], lossy: [epoch] })
  })

  it('deliver nothing once they are closed', async () => {
    const client = admin.duplicate()
    const head = { epoch: 'abc123', offset: 0 }
    const subscriber = new RedisSubscriber(
      {
        client,
        commandTimeoutMs: 10_000,
        whenReady: async () => undefined,
        headOf: async () => head,
        onEntry: () => undefined,
        onStateChange: () => undefined,
      },
      systemClock,
    )
    const listener = new Recorder()
    await subscriber.subscribe('name', 'log', listener)
    const [connection] = subscriber.connections
    const deliver = () =>
      connection?.client.emit('messageBuffer', Buffer.from('name'), Buffer.from('abc123 1\n9 n 0 \ndata: 1\n\n'))
    deliver()
    expect(listener.entries).to.have.length(1)
    subscriber.close()
    // A socket that is being closed still receives what was on its way.
    deliver()
    expect(listener.entries).to.have.length(1)
    client.disconnect()
  })
})
