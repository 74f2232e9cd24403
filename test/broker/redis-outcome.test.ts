import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer, type Server } from 'node:tls'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { RedisBroker, type RedisBrokerOptions } from '../../lib/broker/redis/broker.js'
import type { Clock } from '../../lib/core/clock.js'
import { diagnostics } from '../../lib/core/diagnostics.js'
import type { LogEntry } from '../../lib/core/message.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { RedisStore } from '../../lib/store/redis.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { eventually } from '../helpers/eventually.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { freePort } from '../helpers/free-port.js'
import { range } from '../helpers/range.js'
import { commandCalls, RedisServer } from '../helpers/redis-server.js'
import { TcpProxy } from '../helpers/tcp-proxy.js'
import { makeCertificate } from '../interop/certificate.js'
import { codeOf, Recorder } from '../suites/broker.js'

const event = (data: unknown, ephemeral = false) => encodePublished({ data, ephemeral })
const dataOf = ({ body }: Pick<LogEntry, 'body'>) => /data: (.*)/.exec(body.toString())?.[1]

/** The bytes of buffers and of the heap that are still referenced. */
function bytesHeld(): number {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return arrayBuffers + heapUsed
}

const codeFrom = (error: { code: string }) => error.code
const turn = () => new Promise(setImmediate)

describe('publishes on the redis broker', () => {
  let redis: RedisServer
  let admin: Redis
  let proxy: TcpProxy
  const brokers: RedisBroker[] = []
  const servers: Server[] = []
  let channelNumber = 0
  let channel: string

  before(async () => {
    redis = await RedisServer.start()
    admin = new Redis(redis.url)
    admin.on('error', () => undefined)
  })
  after(async () => {
    admin.disconnect()
    await redis.stop()
  })
  beforeEach(async () => {
    proxy = await TcpProxy.start(redis.port)
    channel = `outcome:${++channelNumber}`
  })
  afterEach(async () => {
    redis.resume()
    await admin.acl('SETUSER', 'default', 'allchannels', '+@all')
    for (const broker of brokers.splice(0)) await broker.close()
    await proxy.stop()
    for (const server of servers.splice(0)) server.close()
  })

  function start(options: Partial<RedisBrokerOptions> = {}, clock: Clock = systemClock): RedisBroker {
    const defaults = { redis: `redis://127.0.0.1:${proxy.port}`, commandTimeoutMs: 2000, probeMs: 60_000 }
    const broker = new RedisBroker({ ...defaults, ...options }, clock)
    brokers.push(broker)
    return broker
  }

  /** The port of a TLS server with a self-signed certificate. */
  async function tlsPort(): Promise<number> {
    const server = createServer(await makeCertificate()).listen(0, '127.0.0.1')
    servers.push(server)
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }

  async function logged(): Promise<(string | undefined)[]> {
    const reader = start({ redis: redis.url })
    return (await reader.read(channel, 0, 10_000)).entries.map(dataOf)
  }

  function calls(command: string): Promise<number> {
    return commandCalls(admin, command)
  }

  async function settle(publications: readonly Promise<unknown>[]): Promise<readonly (string | undefined)[]> {
    const settled = await Promise.allSettled(publications)
    return settled.map((it) => (it.status === 'fulfilled' ? undefined : (it.reason as { code: string }).code))
  }

  describe('keep the order', () => {
    it('of events published while the script is sent in full again, including ephemeral events', async () => {
      const broker = start()
      const listener = new Recorder()
      await broker.subscribe(channel, listener)
      await broker.publish(channel, event(0))
      const published: Promise<unknown>[] = []
      for (const round of range(1, 5)) {
        await admin.script('FLUSH')
        for (const n of range(1, 10)) {
          published.push(broker.publish(channel, event(`${round}.${n}`, n % 3 === 0)))
          await turn()
        }
        await Promise.all(published)
      }
      const expected = ['0', ...range(1, 5).flatMap((round) => range(1, 10).map((n) => `${round}.${n}`))]
      await listener.until(expected.length)
      expect(listener.entries.map(dataOf).map((data) => data?.replaceAll('"', ''))).to.deep.equal(expected)
    })

    it('of events published in many ticks while connections break, each once', async () => {
      const broker = start({ historySize: 10_000 })
      await broker.publish(channel, event(0))
      const published: Promise<unknown>[] = []
      for (const n of range(1, 400)) {
        published.push(broker.publish(channel, event(n)))
        if (n % 40 === 0) proxy.breakConnections()
        await turn()
      }
      expect(new Set(await settle(published))).to.deep.equal(new Set([undefined]))
      expect((await logged()).map(Number)).to.deep.equal(range(0, 400))
    })

    it('if the reply to the first call is lost and more events are published meanwhile', async () => {
      const broker = start()
      await broker.publish(channel, event(0))
      proxy.dropAnswers()
      const first = broker.publish(channel, event(1))
      await eventually(async () => (await admin.xlen(`sse:{${channel}}:s`)) === 2)
      const later = range(2, 20).map((n) => broker.publish(channel, event(n)))
      proxy.breakConnections()
      await Promise.all([first, ...later])
      expect((await logged()).map(Number)).to.deep.equal(range(0, 20))
    })
  })

  describe('take effect once', () => {
    for (const historySize of [0, 2000]) {
      it(`if they are retried after a lost reply, with a history of ${historySize}`, async () => {
        const broker = start({ historySize })
        const other = start({ redis: redis.url, historySize })
        const listener = new Recorder()
        await other.subscribe(channel, listener)
        await broker.publish(channel, event('first'))
        proxy.dropAnswers()
        const publishing = broker.publish(channel, event('second'))
        await listener.until(2)
        proxy.breakConnections()
        expect((await publishing).offset).to.equal(2)
        expect((await broker.publish(channel, event('third'))).offset).to.equal(3)
        await listener.until(3)
        expect(listener.entries.map(dataOf)).to.deep.equal(['first', 'second', 'third'])
      })

      it(`if the first attempt arrives after the second has succeeded, with history ${historySize}`, async () => {
        const broker = start({ historySize })
        const other = start({ redis: redis.url, historySize })
        const listener = new Recorder()
        await other.subscribe(channel, listener)
        await broker.publish(channel, event('first'))
        const held = proxy.holdRequests()
        const publishing = broker.publish(channel, event('second'))
        await eventually(() => held.bytes() > 0)
        proxy.breakConnections()
        expect((await publishing).offset).to.equal(2)
        const before = (await calls('evalsha')) + (await calls('eval'))
        held.release()
        await eventually(async () => (await calls('evalsha')) + (await calls('eval')) > before)
        await other.publish(channel, event('third'))
        await eventually(() => listener.entries.some((entry) => dataOf(entry) === 'third'))
        expect(listener.entries.map(dataOf)).to.deep.equal(['first', 'second', 'third'])
      })
    }

    it('if one arrives after its caller got an unknown outcome and published again', async () => {
      const broker = start({ commandTimeoutMs: 300 })
      await broker.publish(channel, event('first'))
      const held = proxy.holdRequests()
      expect(await codeOf(broker.publish(channel, event('second')))).to.equal('ERR_SSE_BROKER_TIMEOUT')
      proxy.breakConnections()
      await eventually(() => broker.state === 'ready')
      await broker.publish(channel, event('third'))
      const before = (await calls('evalsha')) + (await calls('eval'))
      held.release()
      // Redis runs the late attempt before the read below.
      await eventually(async () => (await calls('evalsha')) + (await calls('eval')) >= before + 1)
      expect(await logged()).to.deep.equal(['first', 'third'])
    })

    describe('with a local clock that differs from that of Redis,', () => {
      let lagMs: number
      const clock: Clock = {
        now: () => systemClock.now() - lagMs,
        wallTime: () => systemClock.wallTime(),
        after: (delayMs, callback) => systemClock.after(delayMs, callback),
      }

      beforeEach(() => {
        lagMs = 0
      })

      it('if an attempt arrives after Redis has forgotten the last publication of the process', async () => {
        const broker = start({}, clock)
        await broker.publish(channel, event('first'))
        const held = proxy.holdRequests()
        // Simulates that the held attempt arrives a minute later than it does.
        lagMs = 60_000
        const publishing = broker.publish(channel, event('second'))
        await eventually(() => held.bytes() > 0)
        lagMs = 0
        proxy.breakConnections()
        expect((await publishing).offset).to.equal(2)
        const meta = `sse:{${channel}}:m`
        await admin.hdel(meta, ...(await admin.hkeys(meta)).filter((field) => field.startsWith('a:')))
        const before = (await calls('evalsha')) + (await calls('eval'))
        held.release()
        await eventually(async () => (await calls('evalsha')) + (await calls('eval')) > before)
        await broker.publish(channel, event('third'))
        expect(await logged()).to.deep.equal(['first', 'second', 'third'])
      })

      it('if the machine was suspended before', async () => {
        const broker = start({}, clock)
        await broker.publish(channel, event('first'))
        lagMs = 3_600_000
        expect((await broker.publish(channel, event('second'))).offset).to.equal(2)
        lagMs = 0
        expect((await broker.publish(channel, event('third'))).offset).to.equal(3)
        expect(await logged()).to.deep.equal(['first', 'second', 'third'])
      })
    })

    it('at a cost that does not depend on the history', async () => {
      const broker = start()
      const padding = 'x'.repeat(2000)
      for (const n of range(1, 20)) {
        await Promise.all(
          range(1, 50).map((i) =>
            broker.publish(channel, event(`${n} ${i} ${padding}`), { idempotencyKey: `${n} ${i}` }),
          ),
        )
      }
      proxy.dropAnswers()
      const before = await admin.xlen(`sse:{${channel}}:s`)
      const publishing = broker.publish(channel, event('again'))
      await eventually(async () => (await admin.xlen(`sse:{${channel}}:s`)) > before)
      const scans = await calls('xrevrange')
      proxy.breakConnections()
      await publishing
      expect(await calls('xrevrange')).to.equal(scans)
    })
  })

  it('are not the only bounded commands: of the others, 10,000 may wait for Redis', async () => {
    const broker = start()
    await broker.publish(channel, event(0))
    redis.pause()
    const waiting = Promise.allSettled(range(1, 10_000).map(() => broker.read(channel, 0, 1)))
    expect(await codeOf(broker.read(channel, 0, 1))).to.equal('ERR_SSE_BROKER_UNAVAILABLE')
    redis.resume()
    await waiting
    await eventually(async () => (await broker.read(channel, 0, 1)).entries.length === 1)
  })

  it('of one tick share one call, unless they have idempotency keys', async () => {
    const broker = start()
    await broker.publish(channel, event(0))
    const before = (await calls('evalsha')) + (await calls('eval'))
    await Promise.all(range(1, 100).map((n) => broker.publish(channel, event(n))))
    expect((await calls('evalsha')) + (await calls('eval')) - before).to.equal(1)
    await Promise.all(['a', 'b'].map((key) => broker.publish(channel, event(key), { idempotencyKey: key })))
    expect((await calls('evalsha')) + (await calls('eval')) - before).to.equal(3)
  })

  describe('report their true outcome:', () => {
    it('unknown if Redis has run the call and the connection is not restored', async () => {
      const broker = start({ commandTimeoutMs: 500 })
      await broker.publish(channel, event(1))
      proxy.dropAnswers()
      const code = codeOf(broker.publish(channel, event(2)))
      await eventually(async () => (await admin.xlen(`sse:{${channel}}:s`)) === 2)
      await proxy.stop()
      expect(await code).to.equal('ERR_SSE_BROKER_TIMEOUT')
      proxy = await TcpProxy.start(redis.port)
    })

    it('not done if the call was never written, unknown if it was', async () => {
      const broker = start({ commandTimeoutMs: 300 })
      await broker.publish(channel, event(0))
      redis.pause()
      const first = codeOf(broker.publish(channel, event(1)))
      await turn()
      await turn()
      const later = range(2, 10).map((n) => codeOf(broker.publish(channel, event(n))))
      expect(await first).to.equal('ERR_SSE_BROKER_TIMEOUT')
      expect(new Set(await Promise.all(later))).to.deep.equal(new Set(['ERR_SSE_BROKER_UNAVAILABLE']))
      redis.resume()
      await broker.publish(channel, event(11))
      expect((await logged()).map(Number).filter((n) => n > 1)).to.deep.equal([11])
    })

    for (const historySize of [0, 2000]) {
      it(`refused, and then neither logged nor delivered, with a history of ${historySize}`, async () => {
        const broker = start({ historySize })
        const listener = new Recorder()
        await broker.subscribe(channel, listener)
        for (const n of [1, 2]) await broker.publish(channel, event(n))
        await admin.acl('SETUSER', 'default', 'resetchannels')
        expect(await codeOf(broker.publish(channel, event('refused')))).to.equal('ERR_SSE_BROKER_REFUSED')
        expect(await codeOf(broker.publish(channel, event('refused'), { idempotencyKey: 'key' }))).to.equal(
          'ERR_SSE_BROKER_REFUSED',
        )
        expect((await broker.heads([channel]))[0]?.offset).to.equal(2)
        await admin.acl('SETUSER', 'default', 'allchannels')
        // Redis closes a connection whose subscriptions are no longer permitted.
        await listener.when(() => listener.resubscribed.length > 0)
        expect((await broker.publish(channel, event(3), { idempotencyKey: 'key' })).offset).to.equal(3)
        await eventually(() => listener.entries.some((entry) => dataOf(entry) === '3'))
        expect(listener.entries.map(dataOf)).to.deep.equal(['1', '2', '3'])
        expect(await logged()).to.deep.equal(historySize === 0 ? [] : ['1', '2', '3'])
      })
    }

    it('unknown if a partial effect cannot be undone, and its offset is not used again', async () => {
      const broker = start()
      const first = await broker.publish(channel, event(1))
      await admin.acl('SETUSER', 'default', 'resetchannels', '-xdel')
      expect(await codeOf(broker.publish(channel, event(2)))).to.equal('ERR_SSE_BROKER_TIMEOUT')
      await admin.acl('SETUSER', 'default', 'allchannels', '+xdel')
      expect(await broker.publish(channel, event(3))).to.deep.equal({ ...first, offset: 3 })
    })

    it('refused for a ping if publishing is not permitted', async () => {
      const broker = start()
      await broker.ping()
      await admin.acl('SETUSER', 'default', 'resetchannels')
      expect(await codeOf(broker.ping())).to.equal('ERR_SSE_BROKER_REFUSED')
    })

    it('unknown for a write to a store if the connection breaks after it was written', async () => {
      const store = new RedisStore({
        redis: `redis://127.0.0.1:${proxy.port}`,
        prefix: `${channel}:`,
        commandTimeoutMs: 500,
      })
      await store.set('key', 'value', 60_000)
      proxy.dropAnswers()
      const claimed = codeOf(store.claim('claimed', 'value', 60_000))
      await eventually(async () => (await admin.exists(`${channel}:claimed`)) === 1)
      proxy.breakConnections()
      expect(await claimed).to.equal('ERR_SSE_BROKER_TIMEOUT')
      await store.close()
    })
  })

  it('hold a bounded number of bytes while Redis hangs and callers keep retrying', async () => {
    const broker = start({ commandTimeoutMs: 300 })
    await broker.publish(channel, event(0))
    redis.pause()
    const body = 'x'.repeat(1_000_000)
    let failed = 0
    const count = (message: unknown) => {
      failed += (message as { events: number }).events
    }
    diagnostics.publishError.subscribe(count)
    const before = bytesHeld()
    let taken = 0
    for (let round = 0; round < 8; round++) {
      // Each channel has its own call in flight.
      for (const n of range(1, 60)) if (broker.offer(`${channel}:${n}`, event(body))) taken++
      await eventually(() => failed === taken)
    }
    diagnostics.publishError.unsubscribe(count)
    // Of 480 MB offered, at most 67 MB wait, and the 16 MiB in flight exist in a few copies.
    expect(bytesHeld() - before).to.be.below(200_000_000)
    redis.resume()
  })

  it('and ends of logs are bounded in number, and ends of one log share a call', async () => {
    const broker = start({ redis: redis.url })
    await broker.publish(channel, event(1))
    redis.pause()
    const ends = range(1, 12_000).map((n) => broker.end(`${channel}:${n % 100}`).then(() => undefined, codeFrom))
    await turn()
    redis.resume()
    const codes = await Promise.all(ends)
    expect(codes.filter((code) => code === undefined)).to.have.length(10_000)
    expect(codes.filter((code) => code === 'ERR_SSE_BROKER_UNAVAILABLE')).to.have.length(2000)
    const before = await calls('evalsha')
    await Promise.all(range(1, 1000).map(() => broker.end(channel)))
    expect((await calls('evalsha')) - before).to.be.at.most(3)
  })

  describe('fail with the cause if there is no connection:', () => {
    const cases = [
      ['a wrong password', async () => `redis://:wrong@127.0.0.1:${redis.port}`, /WRONGPASS|AUTH|password/],
      ['a host that does not exist', async () => 'redis://no-such-host.invalid:6379', /ENOTFOUND|EAI_AGAIN/],
      ['a port without a server', async () => `redis://127.0.0.1:${await freePort()}`, /ECONNREFUSED/],
      ['a self-signed certificate', async () => `rediss://127.0.0.1:${await tlsPort()}`, /self-signed certificate/],
    ] as const
    for (const [title, url, expected] of cases) {
      it(title, async () => {
        const events: { operation: string; error: Error }[] = []
        const warnings: Error[] = []
        const onMessage = (message: unknown) => events.push(message as { operation: string; error: Error })
        const warn = (warning: Error) => warnings.push(warning)
        diagnostics.brokerError.subscribe(onMessage)
        process.on('warning', warn)
        if (title === 'a wrong password') await admin.config('SET', 'requirepass', 'right')
        try {
          const broker = start({ redis: await url(), commandTimeoutMs: 700 })
          const error = (await broker.publish(channel, event(1)).catch((error: unknown) => error)) as Error & {
            code: string
          }
          expect(error.code).to.equal('ERR_SSE_BROKER_UNAVAILABLE')
          expect(error.message)
            .to.match(/within \d+ ms: /)
            .and.match(expected)
          expect((error.cause as Error).message).to.match(expected)
          const connects = events.filter(({ operation }) => operation === 'connect')
          expect(connects[0]?.error.message).to.match(expected)
          await eventually(() => warnings.length > 0)
          expect(warnings).to.have.length(1)
          expect(warnings[0]).to.include({ code: 'SSE_REDIS_UNREACHABLE' })
          expect(warnings[0]?.message).to.match(expected)
        } finally {
          diagnostics.brokerError.unsubscribe(onMessage)
          process.off('warning', warn)
          await admin.config('SET', 'requirepass', '')
        }
      })
    }

    it('and a foreign message is reported with its own code', async () => {
      const broker = start()
      const codes: string[] = []
      const onMessage = (message: unknown) => codes.push((message as { error: { code: string } }).error.code)
      await broker.subscribe(channel, new Recorder())
      diagnostics.brokerError.subscribe(onMessage)
      await admin.publish(`sse:{${channel}}`, 'junk')
      await eventually(() => codes.length > 0)
      diagnostics.brokerError.unsubscribe(onMessage)
      expect(codes).to.deep.equal(['ERR_SSE_MESSAGE_FOREIGN'])
    })
  })

  describe('when the broker closes', () => {
    it('succeed if they were accepted in the same tick', async () => {
      const broker = start()
      await broker.ping()
      const publishing = broker.publish(channel, event(1))
      expect(broker.offer(channel, event(2))).to.equal(true)
      const closing = broker.close()
      expect(broker.offer(channel, event(3))).to.equal(false)
      expect((await publishing).offset).to.equal(1)
      await closing
      expect(await logged()).to.deep.equal(['1', '2'])
    })

    it('succeed if they were accepted before there was a connection', async () => {
      const broker = start()
      const publishing = settle([broker.publish(channel, event(1))])
      await broker.close()
      expect(await publishing).to.deep.equal([undefined])
    })

    it('leave no connection open, with and without subscriptions', async () => {
      const connections = async () => String(await admin.client('LIST')).split('express-sse-kit:').length - 1
      const [publisher, follower] = [start(), start()]
      await publisher.publish(channel, event(1))
      await follower.subscribe(channel, new Recorder())
      expect(await connections()).to.be.at.least(3)
      await Promise.all([publisher.close(), follower.close()])
      await eventually(async () => (await connections()) === 0)
    })

    it('leave no timer behind', async () => {
      const clock = new FakeClock()
      const broker = start({}, clock)
      await broker.subscribe(channel, new Recorder())
      await broker.publish(channel, event(1))
      expect(clock.pending).to.be.above(0)
      await broker.close()
      expect(clock.pending).to.equal(0)
    })

    it('are rejected as unknown if they were written, and as closed if not', async () => {
      const broker = start({ commandTimeoutMs: 1000 })
      await broker.publish(channel, event(0))
      const reports: { events: number; error: { code: string } }[] = []
      const onMessage = (message: unknown) => reports.push(message as (typeof reports)[number])
      diagnostics.publishError.subscribe(onMessage)
      redis.pause()
      const written = codeOf(broker.publish(channel, event(1)))
      await turn()
      await turn()
      const waiting = new Promise((resolve) => setTimeout(resolve, 500)).then(() => undefined)
      await waiting
      const late = codeOf(broker.publish(channel, event(2)))
      broker.offer(channel, event(3))
      await broker.close()
      expect([await written, await late]).to.deep.equal(['ERR_SSE_BROKER_TIMEOUT', 'ERR_SSE_CLOSED'])
      expect(reports.map(({ events, error }) => [events, error.code])).to.deep.equal([[1, 'ERR_SSE_CLOSED']])
      diagnostics.publishError.unsubscribe(onMessage)
    })
  })

  it('open no subscriber connection before the first subscription', async () => {
    const broker = start()
    await broker.publish(channel, event(1))
    const subscribers = async () => String(await admin.client('LIST')).split('express-sse-kit:subscriber').length - 1
    expect(await subscribers()).to.equal(0)
    expect(broker.state).to.equal('ready')
    await broker.subscribe(channel, new Recorder())
    expect(await subscribers()).to.equal(1)
  })
})
