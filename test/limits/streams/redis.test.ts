import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { systemClock } from '../../../lib/core/system-clock.js'
import type { StreamLimitsOptions } from '../../../lib/limits/streams/options.js'
import { eventually } from '../../helpers/eventually.js'
import { FakeClock } from '../../helpers/fake-clock.js'
import { createStreamLimits, type StreamLimits } from '../../helpers/internals.js'
import { RedisServer } from '../../helpers/redis-server.js'
import { script } from '../../helpers/script.js'
import { TcpProxy } from '../../helpers/tcp-proxy.js'
import { owner, refusalOf, streamLimitsSuite, TestStream } from '../../suites/stream-limits.js'

const TENANT_KEY = 'sse:{streams}:tenant:acme'
const HOLDER = new URL('holder.ts', import.meta.url)

describe('stream limits over all processes on one Redis', () => {
  let server: RedisServer
  let redis: Redis
  const started: StreamLimits[] = []

  before(async () => {
    server = await RedisServer.start()
    redis = new Redis(server.url)
  })

  after(async () => {
    redis.disconnect()
    await server.stop()
  })

  afterEach(async () => {
    await Promise.all(started.splice(0).map((limits) => limits.close()))
    const left = await redis.keys('sse:{streams}:[^o]*')
    await redis.flushall()
    expect(left, 'leases left').to.deep.equal([])
  })

  /** The limits of one process. */
  function start(options: StreamLimitsOptions): StreamLimits {
    // On a busy machine Redis may take longer than the default time-out of 500 ms.
    const limits = createStreamLimits({ redis: server.url, timeoutMs: 10_000, ...options })
    started.push(limits)
    return limits
  }

  async function redisNow(): Promise<number> {
    const [seconds, microseconds] = await redis.time()
    return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000)
  }

  async function passOfRedisTime(ms: number): Promise<void> {
    const until = (await redisNow()) + ms
    await eventually(async () => (await redisNow()) >= until)
  }

  describe('in any one process', () => {
    streamLimitsSuite(() => ({ redis: server.url }))
  })

  it('admit exactly as many streams as the limit from any number of concurrent processes', async () => {
    const processes = [start({ perUser: 7 }), start({ perUser: 7 }), start({ perUser: 7 })]
    const outcomes = await Promise.all(
      processes.flatMap((limits) => Array.from({ length: 20 }, () => refusalOf(TestStream.open(limits, owner('ada'))))),
    )
    expect(outcomes.filter(({ code }) => code === 'none')).to.have.length(7)
    expect(processes.reduce((sum, { size }) => sum + size, 0)).to.equal(7)
  })

  it('refuse a stream that Redis admits after close, and release its lease', async () => {
    const limits = start({ perUser: 1 })
    await TestStream.open(limits, owner('ada'))
    const underWay = refusalOf(TestStream.open(limits, owner('bob')))
    await limits.close()
    expect(await underWay).to.include({ code: 'ERR_SSE_CLOSED', status: 503 })
    expect(await redis.keys('sse:{streams}:user:*')).to.deep.equal([])
  })

  it('count openings over all processes', async () => {
    const [one, two] = [start({ opensPerMinute: 4 }), start({ opensPerMinute: 4 })]
    for (const limits of [one, two, one, two]) await TestStream.open(limits, owner('ada'))
    for (const limits of [one, two]) {
      expect(await refusalOf(TestStream.open(limits, owner('ada')))).to.include({ scope: 'opens', retryAfter: '15' })
    }
  })

  it('renew a lease that is acquired after all earlier ones were released', async () => {
    const clock = new FakeClock()
    const limits = start({ clock })
    const first = await TestStream.open(limits, owner('ada'))
    first.lease?.release()
    await eventually(async () => (await redis.zcard(TENANT_KEY)) === 0)
    clock.advance(25_000)
    await new Promise(setImmediate)
    await TestStream.open(limits, owner('ada'))
    await redis.config('RESETSTAT')
    clock.advance(25_000)
    await eventually(async () => (await scriptCalls()) === 1)
  })

  it('need one call for an opening, one for many releases, and one for up to 500 renewals', async () => {
    const clock = new FakeClock()
    const limits = start({ perUser: 0, perIp: 5000, perTenant: 5000, opensPerMinute: 5000, clock })
    const streams = await Promise.all(
      Array.from({ length: 1001 }, () => TestStream.open(limits, owner('ada', 'acme', '192.0.2.1'))),
    )
    await redis.config('RESETSTAT')
    await TestStream.open(limits, owner('ada', 'acme', '192.0.2.1'))
    expect(await scriptCalls()).to.equal(1)
    clock.advance(25_000)
    await eventually(async () => (await scriptCalls()) === 4)
    for (const { lease } of streams.slice(0, 400)) lease?.release()
    await eventually(async () => (await redis.zcard(TENANT_KEY)) === 602)
    expect(await scriptCalls()).to.equal(5)
  })

  it('admit a stream in the place of one that is released before the attempt is sent', async () => {
    const limits = start({ perUser: 1 })
    const first = await TestStream.open(limits, owner('ada'))
    const second = refusalOf(TestStream.open(limits, owner('ada')))
    // Attempts are gathered for two turns of the event loop.
    await new Promise(setImmediate)
    first.lease?.release()
    expect(await second).to.include({ code: 'none' })
  })

  it('admit a stream in the place of one that was released while an earlier release is in flight', async () => {
    const limits = start({ perUser: 1 })
    const [ada, bob] = [await TestStream.open(limits, owner('ada')), await TestStream.open(limits, owner('bob'))]
    server.pause()
    bob.lease?.release()
    await new Promise(setImmediate)
    ada.lease?.release()
    const next = refusalOf(TestStream.open(limits, owner('ada')))
    for (let turns = 0; turns < 5; turns++) await new Promise(setImmediate)
    server.resume()
    expect(await next).to.include({ code: 'none' })
  })

  describe('with concurrent attempts', () => {
    it('acquire up to 50 leases in one call', async () => {
      const limits = start({ perUser: 0, perTenant: 1000, opensPerMinute: 1000 })
      await TestStream.open(limits, owner('ada'))
      await redis.config('RESETSTAT')
      await Promise.all(Array.from({ length: 120 }, () => TestStream.open(limits, owner('ada'))))
      expect(await scriptCalls()).to.equal(3)
      expect(await redis.zcard(TENANT_KEY)).to.equal(121)
    })

    it('acquire several leases in one call if each turn of the event loop adds an attempt', async () => {
      const limits = start({ perTenant: 1000, opensPerMinute: 1000 })
      await TestStream.open(limits, owner('ada'))
      await redis.config('RESETSTAT')
      const opened: Promise<TestStream>[] = []
      for (let index = 0; index < 40; index++) {
        opened.push(TestStream.open(limits, owner(`user${index}`)))
        await new Promise(setImmediate)
      }
      await Promise.all(opened)
      expect(await scriptCalls()).to.be.at.most(3)
    })

    it('return a separate result for each attempt, and count earlier attempts of the call', async () => {
      const limits = start({ perUser: 2, perTenant: 4, perIp: 3, opensPerMinute: 3 })
      await redis.set('sse:{streams}:opens:user:acme:late', String((await redisNow()) + 90_000))
      await TestStream.open(limits, owner('ada'))
      await redis.config('RESETSTAT')
      const outcomes = await Promise.all(
        [
          owner('ada', 'acme', '192.0.2.1'),
          owner('ada', 'acme', '192.0.2.1'),
          owner('late'),
          owner('bob', 'acme', '192.0.2.1'),
          owner('cyd', 'globex', '192.0.2.1'),
          owner('dan', 'globex', '192.0.2.1'),
          owner('bob', 'acme', '192.0.2.2'),
          owner('eve'),
          { ip: '192.0.2.2' },
        ].map((client) => refusalOf(TestStream.open(limits, client))),
      )
      expect(outcomes.map(({ scope, retryAfter }) => scope && `${scope} ${retryAfter}`)).to.deep.equal([
        ...[undefined, 'user 10', 'opens 50', undefined],
        ...[undefined, 'ip 10', undefined, 'tenant 10', undefined],
      ])
      expect(await scriptCalls()).to.equal(1)
      expect([limits.size, await redis.zcard(TENANT_KEY)]).to.deep.equal([6, 4])
    })

    it('limit the openings within one call', async () => {
      const limits = start({ opensPerMinute: 4 })
      const outcomes = await Promise.all(
        Array.from({ length: 6 }, () => refusalOf(TestStream.open(limits, owner('ada')))),
      )
      expect(outcomes.map(({ scope }) => scope)).to.deep.equal([...Array(4).fill(undefined), 'opens', 'opens'])
    })

    it('evict streams of the call that exceed the limit, and notify no other process', async () => {
      const limits = start({ perUser: 1, perTenant: 2, evictOldest: true })
      const elsewhere: string[] = []
      limits.onEvictRemote((id) => void elsewhere.push(id))
      const [first, second, bob, third] = await Promise.all(
        ['ada', 'ada', 'bob', 'ada'].map((user) => TestStream.open(limits, owner(user))),
      )
      expect([first, second, bob, third].map((stream) => stream?.closed)).to.deep.equal([
        ...['evicted', 'evicted'],
        ...[undefined, undefined],
      ])
      expect([limits.size, await redis.zcard(TENANT_KEY), elsewhere]).to.deep.equal([2, 2, []])
    })

    it('fail together, and release leases that Redis may have granted', async () => {
      const limits = start({ onError: 'closed', timeoutMs: 100 })
      await TestStream.open(limits, owner('ada'))
      server.pause()
      const outcomes = await Promise.all(
        Array.from({ length: 3 }, () => refusalOf(TestStream.open(limits, owner('ada')))),
      )
      server.resume()
      expect(outcomes.map(({ code }) => code)).to.deep.equal(Array(3).fill('ERR_SSE_LIMITER_UNAVAILABLE'))
      await eventually(async () => (await refusalOf(TestStream.open(limits, owner('bob')))).code === 'none')
      await eventually(async () => (await redis.zcard(TENANT_KEY)) === 2)
    })
  })

  async function scriptCalls(): Promise<number> {
    const stats = await redis.info('commandstats')
    return [...stats.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+)/gm)].reduce((sum, [, calls]) => sum + Number(calls), 0)
  }

  it('renew leases for as long as their streams are open', async () => {
    const [one, two] = [start({ perUser: 1, leaseMs: 1000 }), start({ perUser: 1, leaseMs: 1000 })]
    const ada = await TestStream.open(one, owner('ada'))
    const from = await redisNow()
    while ((await redisNow()) < from + 2500) {
      expect(await refusalOf(TestStream.open(two, owner('ada')))).to.include({ scope: 'user' })
    }
    ada.lease?.release()
    await eventually(async () => (await refusalOf(TestStream.open(two, owner('ada')))).code === 'none')
  })

  it('release all places of a killed process when its leases expire, and none before', async () => {
    const child = spawn(process.execPath, [await script(HOLDER), server.url, '1000', '2000'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const limits = start({ perTenant: 1000, leaseMs: 2000, opensPerMinute: 0 })
    try {
      await once(child.stdout, 'data')
      // Longer than a lease: without renewals there would be places now.
      await passOfRedisTime(2500)
      expect(await redis.zcard(TENANT_KEY)).to.equal(1000)
      expect(await refusalOf(TestStream.open(limits, owner('ada')))).to.include({ scope: 'tenant', cap: 1000 })
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    const scores = (await redis.zrange(TENANT_KEY, 0, -1, 'WITHSCORES'))
      .filter((_, index) => index % 2 === 1)
      .map(Number)
    expect(scores).to.have.length(1000)
    let outcome = { code: 'ERR_SSE_STREAM_LIMIT' } as Record<string, unknown>
    while (outcome.code === 'ERR_SSE_STREAM_LIMIT') {
      const attemptedAt = await redisNow()
      outcome = await refusalOf(TestStream.open(limits, owner('ada')))
      if (outcome.code !== 'none')
        expect(attemptedAt, 'refused although a place was free').to.be.at.most(Math.min(...scores))
    }
    expect(await redisNow()).to.be.at.least(Math.min(...scores))
    await eventually(async () => (await redisNow()) > Math.max(...scores))
    const opened = await Promise.all(
      Array.from({ length: 999 }, (_, index) => TestStream.open(limits, owner(`user${index % 100}`))),
    )
    expect(opened).to.have.length(999)
    expect(await refusalOf(TestStream.open(limits, owner('ada')))).to.include({ scope: 'tenant' })
  })

  it('have all their keys in one slot of a Redis Cluster', async () => {
    const limits = start({ perIp: 10 })
    await TestStream.open(limits, owner('ada', 'acme', '192.0.2.1'))
    await TestStream.open(limits, owner('bob', 'globex', '192.0.2.2'))
    const keys = await redis.keys('*')
    expect(keys).to.have.length(8)
    expect(new Set(keys.map((key) => /\{(.+?)\}/.exec(key)?.[1]))).to.deep.equal(new Set(['streams']))
  })

  it('release all leases on close', async () => {
    const limits = start({ perTenant: 5000, opensPerMinute: 0 })
    await Promise.all(Array.from({ length: 1300 }, (_, index) => TestStream.open(limits, owner(`user${index}`))))
    await limits.close()
    expect(await redis.dbsize()).to.equal(0)
  })

  it('release all leases on close, also if the replies to some commands precede others', async () => {
    const proxy = await TcpProxy.start(server.port)
    proxy.splitNewConnections(
      () => 10_000,
      () => 20,
    )
    const limits = start({ redis: `redis://127.0.0.1:${proxy.port}`, perTenant: 5000, opensPerMinute: 0 })
    // Two commands.
    await Promise.all(Array.from({ length: 900 }, (_, index) => TestStream.open(limits, owner(`user${index}`))))
    await limits.close()
    expect(await redis.dbsize()).to.equal(0)
    await proxy.stop()
  })

  it('leave no timer behind', async () => {
    const clock = new FakeClock()
    const limits = start({ clock })
    const ada = await TestStream.open(limits, owner('ada'))
    expect(clock.pending).to.equal(1)
    ada.lease?.release()
    clock.advance(25_000)
    await new Promise(setImmediate)
    expect(clock.pending).to.equal(0)
    await TestStream.open(limits, owner('ada'))
    await limits.close()
    expect(clock.pending).to.equal(0)
  })

  describe('evicting the oldest', () => {
    const options = { perUser: 2, evictOldest: true, leaseMs: 1000 }

    it('report which stream of another process was evicted, so that it can be ended immediately', async () => {
      const [one, two] = [start({ ...options, leaseMs: 60_000 }), start(options)]
      const evicted: string[] = []
      two.onEvictRemote((id) => void evicted.push(id))
      const first = await TestStream.open(one, owner('ada', 'acme', '192.0.2.1'))
      await passOfRedisTime(5)
      const second = await TestStream.open(one, owner('ada'))
      const third = await TestStream.open(two, owner('ada'))
      expect(evicted).to.deep.equal([first.id])
      expect(first.closed).to.equal(undefined)
      expect([two.evict(first.id), one.evict(first.id)]).to.deep.equal([false, true])
      expect([first.closed, second.closed, third.closed]).to.deep.equal(['evicted', undefined, undefined])
    })

    it('evict the oldest stream even if the wall clock was set meanwhile', async () => {
      let offset = 0
      const clock = {
        now: () => systemClock.now(),
        wallTime: () => systemClock.wallTime() + offset,
        after: (ms: number, callback: () => void) => systemClock.after(ms, callback),
      }
      const limits = start({ ...options, leaseMs: 60_000, clock })
      const streams: TestStream[] = []
      for (const jump of [0, -3_600_000, 7_200_000]) {
        offset += jump
        streams.push(await TestStream.open(limits, owner('ada')))
        await passOfRedisTime(5)
      }
      expect(streams.map(({ closed }) => closed)).to.deep.equal(['evicted', undefined, undefined])
    })

    it('end an evicted stream at its next renewal if its process was not notified, and keep no lease', async () => {
      const [one, two] = [start(options), start(options)]
      const first = await TestStream.open(one, owner('ada'))
      await passOfRedisTime(5)
      const second = await TestStream.open(one, owner('ada'))
      const third = await TestStream.open(two, owner('ada'))
      await eventually(() => first.closed !== undefined)
      await passOfRedisTime(1000)
      expect([first.closed, second.closed, third.closed]).to.deep.equal(['evicted', undefined, undefined])
      expect([one.size, two.size]).to.deep.equal([1, 1])
      const members = await redis.zrange('sse:{streams}:user:acme:ada', 0, -1)
      expect(members.map((member) => member.split(':')[1]).sort()).to.deep.equal([second.id, third.id].sort())
    })

    it('keep an eviction for a process that cannot reach Redis for longer than a lease', async () => {
      const clock = new FakeClock()
      const [one, two] = [start({ ...options, clock }), start(options)]
      const first = await TestStream.open(one, owner('ada'))
      const others: TestStream[] = []
      for (let opened = 0; opened < 3; opened++) {
        // The oldest stream is the one with the earliest time, in ms.
        await passOfRedisTime(5)
        others.push(await TestStream.open(two, owner('ada')))
      }
      for (const { lease } of others) lease?.release()
      await passOfRedisTime(1500)
      clock.advance(1000)
      await eventually(() => first.closed === 'evicted')
      expect(others.map(({ closed }) => closed)).to.deep.equal(['evicted', undefined, undefined])
      expect([one.size, two.size]).to.deep.equal([0, 0])
    })
  })
})
