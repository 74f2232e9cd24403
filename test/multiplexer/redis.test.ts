import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { RedisServer } from '../helpers/redis-server.js'
import { ackSuite } from '../suites/acks.js'
import { admissionSuite } from '../suites/admission.js'
import { multiplexerSuite } from '../suites/multiplexer.js'
import { pollSuite } from '../suites/poll.js'

describe('over a real Redis', () => {
  let redis: RedisServer
  before(async () => {
    redis = await RedisServer.start()
  })
  after(() => redis.stop())

  multiplexerSuite('redis', (options) => createMultiplexer({ ...options, redis: redis.url }))
  ackSuite('redis', (options) => createMultiplexer({ ...options, redis: redis.url }), true)
  admissionSuite('redis', () => redis.url)
  pollSuite('redis', (options) => createMultiplexer({ ...options, redis: redis.url }))
})
