import { RedisBroker } from '../../lib/broker/redis/broker.js'
import { systemClock } from '../../lib/core/system-clock.js'
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
  }))
})
