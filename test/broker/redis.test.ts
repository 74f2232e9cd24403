import { expect } from 'chai'
import { Redis } from 'ioredis'
import { RedisBroker } from '../../lib/broker/redis/broker.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { eventually } from '../helpers/eventually.js'
import { expireLog } from '../helpers/redis-log.js'
import { RedisServer } from '../helpers/redis-server.js'
import { brokerSuite } from '../suites/broker.js'

describe('over a real Redis', () => {
  let redis: RedisServer
  before(async () => {
    redis = await RedisServer.start()
  })
  after(() => redis.stop())

  brokerSuite('redis', async () => ({
    create: (options) => new RedisBroker({ ...options, redis: redis.url }, systemClock),
    pass: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    expire: (channel) => expireLog(new Redis(redis.url), channel),
  }))

  it('sends a ping after the events that were published in its tick', async () => {
    const broker = new RedisBroker({ redis: redis.url, probeMs: 600_000 }, systemClock)
    const admin = new Redis(redis.url)
    const monitor = await admin.monitor()
    try {
      await broker.ping()
      const commands: string[] = []
      monitor.on('monitor', (_time: string, [command = '', name = '']: string[]) => {
        if (/^eval/i.test(command)) commands.push('publish')
        if (name.includes('signal:ping')) commands.push('ping')
      })
      broker.offer('log', encodePublished({ data: 1 }))
      await broker.ping()
      await eventually(() => commands.includes('ping'))
      expect(commands[0]).to.equal('publish')
    } finally {
      monitor.disconnect()
      admin.disconnect()
      await broker.close()
    }
  })
})
