import { Cluster } from 'ioredis'
import { RedisBroker } from '../../lib/broker/redis/broker.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { createStore } from '../../lib/store/create.js'
import { RedisCluster } from '../helpers/redis-cluster.js'
import { expireLog } from '../helpers/redis-log.js'
import { ackSuite } from '../suites/acks.js'
import { brokerSuite } from '../suites/broker.js'
import { multiplexerSuite } from '../suites/multiplexer.js'
import { pollSuite } from '../suites/poll.js'
import { storeSuite } from '../suites/store.js'

describe('over a real Redis Cluster', function () {
  this.timeout(60_000)

  let cluster: RedisCluster
  before(async () => {
    cluster = await RedisCluster.start()
  })
  after(() => cluster.stop())

  const pass = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

  brokerSuite('cluster', async () => ({
    create: (options) => new RedisBroker({ ...options, redis: cluster.urls }, systemClock),
    pass,
    expire: (channel) => expireLog(new Cluster([...cluster.urls]), channel),
  }))
  multiplexerSuite('cluster', (options) => createMultiplexer({ ...options, redis: cluster.urls }))
  ackSuite('cluster', (options) => createMultiplexer({ ...options, redis: cluster.urls }), true)
  pollSuite('cluster', (options) => createMultiplexer({ ...options, redis: cluster.urls }))
  storeSuite(async () => ({
    store: createStore({ redis: cluster.urls }),
    other: createStore({ redis: cluster.urls }),
    pass,
  }))
})
