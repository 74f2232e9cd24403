import { expect } from 'chai'
import { Cluster } from 'ioredis'
import { type RateLimitHandler, rateLimit } from '../../lib/routers/rate-limit.js'
import { range } from '../helpers/range.js'
import { RedisCluster } from '../helpers/redis-cluster.js'
import { ask, request } from '../limits/requests/support.js'
import { admissionSuite } from '../suites/admission.js'
import { streamLimitsSuite } from '../suites/stream-limits.js'

describe('limits over a real Redis Cluster', function () {
  this.timeout(60_000)

  let cluster: RedisCluster
  let client: Cluster
  let number = 0

  before(async () => {
    cluster = await RedisCluster.start()
    client = new Cluster(cluster.urls)
  })
  after(async () => {
    client.disconnect()
    await cluster.stop()
  })

  describe('of streams', () => {
    streamLimitsSuite(() => ({ redis: cluster.urls, prefix: `streams:${++number}:` }))
  })
  admissionSuite('cluster', () => cluster.urls)

  const kinds = [
    ['windows in leases', {}],
    ['token buckets in leases', { algorithm: 'token-bucket' }],
    ['windows checked at each request', { mode: 'exact' }],
  ] as const
  for (const [kind, options] of kinds) {
    it(`admit exactly as many requests as there are points, over all processes: ${kind}`, async () => {
      const limits = { by: 'user', points: 50, duration: 600, timeoutMs: 10_000, ...options } as const
      // The first limiter opens its own connections, the others share a client of the application.
      const limiters = [cluster.urls, client, client].map((redis) => rateLimit({ redis, ...limits }))
      const users = range(1, 6).map((n) => request({ user: `user-${n}` }))
      for (const user of users) {
        const answers = await Promise.all(range(0, 149).map((i) => ask(limiters[i % 3] as RateLimitHandler, user)))
        // A bucket gets a point every 12 s.
        expect(answers.filter(({ admitted }) => admitted)).to.have.length.within(49, 50)
      }
      for (const limiter of limiters) await limiter.close()
    })
  }
})
