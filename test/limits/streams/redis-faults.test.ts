import diagnosticsChannel from 'node:diagnostics_channel'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import type { StreamLimitsOptions } from '../../../lib/limits/streams/options.js'
import { eventually } from '../../helpers/eventually.js'
import { FakeClock } from '../../helpers/fake-clock.js'
import { freePort } from '../../helpers/free-port.js'
import { createStreamLimits, type StreamLimits } from '../../helpers/internals.js'
import { RedisServer } from '../../helpers/redis-server.js'
import { owner, refusalOf, TestStream } from '../../suites/stream-limits.js'

const TENANT_KEY = 'sse:{streams}:tenant:acme'

describe('stream limits while Redis fails', () => {
  let server: RedisServer
  const stops: (() => Promise<unknown> | unknown)[] = []

  beforeEach(async () => {
    server = await RedisServer.start()
    stops.push(() => server.stop())
  })

  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop()
  })

  function start(options: StreamLimitsOptions = {}): StreamLimits {
    const limits = createStreamLimits({ redis: server.url, timeoutMs: 200, ...options })
    stops.push(() => limits.close())
    return limits
  }

  /** The number of leases in Redis. */
  async function counted(): Promise<number> {
    const redis = new Redis(server.url)
    try {
      return await redis.zcard(TENANT_KEY)
    } finally {
      redis.disconnect()
    }
  }

  /** The result of an attempt that must not wait for anything outside the process. */
  function atOnce<T>(attempt: Promise<T>): Promise<T | 'waits'> {
    return Promise.race([attempt, new Promise<'waits'>((resolve) => setImmediate(resolve, 'waits'))])
  }

  const faults = {
    'hangs (SIGSTOP)': { fail: () => server.pause(), recover: () => server.resume() },
    'is killed and restarts empty': { fail: () => server.kill(), recover: () => server.up() },
  }
  for (const [fault, { fail, recover }] of Object.entries(faults)) {
    it(`limit each process separately without a wait, and together again after recovery: Redis ${fault}`, async () => {
      const [limits, other] = [start({ perTenant: 6, perUser: 3 }), start({ perTenant: 6 })]
      const [before] = [await TestStream.open(limits, owner('ada')), await TestStream.open(other, owner('bob'))]
      await fail()
      // The first attempt may detect the fault; later ones know it.
      await TestStream.open(limits, owner('ada'))
      expect(await atOnce(TestStream.open(limits, owner('ada')))).not.to.equal('waits')
      expect(await atOnce(refusalOf(TestStream.open(limits, owner('ada'))))).to.include({ scope: 'user', cap: 3 })
      before.lease?.release()
      expect(await atOnce(TestStream.open(limits, owner('cyd')))).not.to.equal('waits')
      await recover()
      await eventually(async () => (await counted()) === 4)
      await TestStream.open(limits, owner('dan'))
      await TestStream.open(limits, owner('dan'))
      await eventually(async () => (await refusalOf(TestStream.open(other, owner('eve')))).scope === 'tenant')
      expect(await counted()).to.equal(6)
    })

    it(`refuse with 503 immediately with onError closed, and admit again after recovery: Redis ${fault}`, async () => {
      const limits = start({ onError: 'closed' })
      const ada = await TestStream.open(limits, owner('ada'))
      await fail()
      const unavailable = { code: 'ERR_SSE_LIMITER_UNAVAILABLE', status: 503, retryAfter: '1' }
      expect(await refusalOf(TestStream.open(limits, owner('ada')))).to.deep.equal(unavailable)
      expect(await atOnce(refusalOf(TestStream.open(limits, owner('ada'))))).to.deep.equal(unavailable)
      expect([limits.size, ada.closed]).to.deep.equal([1, undefined])
      await recover()
      await eventually(async () => (await refusalOf(TestStream.open(limits, owner('bob')))).code === 'none')
      // Redis may have run the unanswered command of a refused attempt: its lease is released.
      await eventually(async () => (await counted()) === 2)
    })
  }

  it('limit the process alone if Redis was never reachable, and leave no timer after close', async () => {
    const clock = new FakeClock()
    const limits = start({ redis: `redis://127.0.0.1:${await freePort()}`, perUser: 1, clock })
    await TestStream.open(limits, owner('ada'))
    expect(await atOnce(refusalOf(TestStream.open(limits, owner('ada'))))).to.include({ scope: 'user' })
    expect(clock.pending).to.equal(1)
    await limits.close()
    expect(clock.pending).to.equal(0)
  })

  it('evict streams of the process while Redis is unavailable', async () => {
    const limits = start({ perUser: 1, evictOldest: true })
    const first = await TestStream.open(limits, owner('ada'))
    await server.kill()
    const second = await TestStream.open(limits, owner('ada'))
    expect([first.closed, second.closed]).to.deep.equal(['evicted', undefined])
    await server.up()
    await eventually(async () => (await counted()) === 1)
    expect(second.closed).to.equal(undefined)
  })

  it('close without Redis', async () => {
    const limits = start()
    await TestStream.open(limits, owner('ada'))
    server.pause()
    await limits.close()
    expect(limits.size).to.equal(0)
  })

  it('continue after Redis lost the scripts', async () => {
    const limits = start({ perUser: 2 })
    await TestStream.open(limits, owner('ada'))
    const redis = new Redis(server.url)
    await redis.script('FLUSH')
    await TestStream.open(limits, owner('ada'))
    expect(await refusalOf(TestStream.open(limits, owner('ada')))).to.include({ scope: 'user' })
    redis.disconnect()
  })

  it('treat a refusal by Redis as an outage, and report its message to diagnostics, not to the client', async () => {
    const reports: { operation: string; error: Error }[] = []
    const listener = (message: unknown): void => void reports.push(message as (typeof reports)[number])
    diagnosticsChannel.subscribe('express-sse-kit:store:error', listener)
    stops.push(() => diagnosticsChannel.unsubscribe('express-sse-kit:store:error', listener))
    const limits = start({ onError: 'closed' })
    await TestStream.open(limits, owner('ada'))
    const redis = new Redis(server.url)
    await redis.call('ACL', 'SETUSER', 'default', '-eval', '-evalsha')
    for (let attempt = 0; attempt < 3; attempt++) {
      expect(await refusalOf(TestStream.open(limits, owner('ada')))).to.include({ code: 'ERR_SSE_LIMITER_UNAVAILABLE' })
    }
    // The command was retried, but not reported again.
    await eventually(async () => {
      const denied = (await redis.call('ACL', 'LOG')) as unknown[][]
      return denied.reduce((sum, [, count]) => sum + Number(count), 0) >= 2
    })
    await redis.call('ACL', 'SETUSER', 'default', '+eval', '+evalsha')
    redis.disconnect()
    expect(reports).to.have.length(1)
    expect(reports[0]?.operation).to.equal('lease streams')
    expect(reports[0]?.error).to.have.property('code', 'ERR_SSE_BROKER_REFUSED')
    await eventually(async () => (await refusalOf(TestStream.open(limits, owner('ada')))).code === 'none')
  })
})
