import { expect } from 'chai'
import { Redis } from 'ioredis'
import { RedisBroker } from '../../lib/broker/redis/broker.js'
import { diagnostics } from '../../lib/core/diagnostics.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { eventually } from '../helpers/eventually.js'
import { range } from '../helpers/range.js'
import { snapshot } from '../helpers/redis-log.js'
import { RedisServer } from '../helpers/redis-server.js'
import { TcpProxy } from '../helpers/tcp-proxy.js'
import { codeOf, publishNumbers, Recorder } from '../suites/broker.js'

const event = (data: unknown) => encodePublished({ data })

/** Messages that almost have the kit's format: without items, without numbers, with lengths that do not match. */
const JUNK = [
  '',
  'junk',
  '\n',
  'abcdef 1\n',
  ' 1\n9 n 0 \ndata: 1\n\n',
  'abcdef x\n9 n 0 \ndata: 1\n\n',
  'abcdef 0\n9 n 0 \ndata: 1\n\n',
  'abcdef 1 1\n9 n 0 \ndata: 1\n\n',
  'abcdef 1\nx n 0 \ndata: 1\n\n',
  'abcdef 1\n0 n 0 \n',
  'abcdef 1\n8 n 0 \ndata: 1\n\n',
  'abcdef 1\n10 n 0 \ndata: 1\n\n',
  'abcdef 1\n9 x 0 \ndata: 1\n\n',
  'abcdef 1\n5 n 0 ;5 n 0 \ndata: 1\n\n',
  'abcdef 1\n9\ndata: 1\n\n',
]

describe('the redis broker when Redis fails', () => {
  let redis: RedisServer
  let admin: Redis
  let broker: RedisBroker
  let channelNumber = 0
  let channel: string

  beforeEach(async () => {
    redis = await RedisServer.start()
    admin = new Redis(redis.url)
    // The test breaks this connection deliberately.
    admin.on('error', () => undefined)
    broker = start(500)
    channel = `faults:${++channelNumber}`
  })
  afterEach(async () => {
    await broker.close()
    admin.disconnect()
    await redis.stop()
  })

  function start(commandTimeoutMs: number): RedisBroker {
    return new RedisBroker({ redis: redis.url, commandTimeoutMs, probeMs: 200 }, systemClock)
  }

  async function stateIs(state: string): Promise<void> {
    await eventually(() => broker.state === state)
  }

  it('rejects commands with a code while Redis is down, reports the state, and recovers', async () => {
    await stateIs('ready')
    await redis.kill()
    expect(await codeOf(broker.publish(channel, event(1)))).to.equal('ERR_SSE_BROKER_UNAVAILABLE')
    expect(await codeOf(broker.ping())).to.equal('ERR_SSE_BROKER_UNAVAILABLE')
    expect(await codeOf(broker.subscribe(channel, new Recorder()))).to.equal('ERR_SSE_BROKER_UNAVAILABLE')
    expect(broker.state).to.equal('degraded')
    await redis.up()
    await stateIs('ready')
    expect((await broker.publish(channel, event(2))).offset).to.equal(1)
  })

  it('leaves no subscription of a channel that was unsubscribed while a new connection subscribed again', async () => {
    await broker.close()
    // So many commands at once take a busy machine longer than the others.
    broker = start(20_000)
    const listeners = new Map(range(1, 1100).map((i) => [`${channel}:${i}`, new Recorder()]))
    await Promise.all([...listeners].map(([name, listener]) => broker.subscribe(name, listener)))
    const [last] = [...listeners].at(-1) as [string, Recorder]
    const { subscribe } = Redis.prototype
    let unsubscribed: Promise<void> | undefined
    Redis.prototype.subscribe = function (this: Redis, ...args: Parameters<typeof subscribe>) {
      const acknowledged = subscribe.apply(this, args)
      // More than one SUBSCRIBE is needed; the last channel is not in the first one.
      if (args.length > 1) unsubscribed ??= broker.unsubscribe(last, listeners.get(last) as Recorder)
      return acknowledged
    } as typeof subscribe
    try {
      await admin.client('KILL', 'TYPE', 'pubsub')
      await eventually(() => unsubscribed !== undefined && broker.state === 'ready')
      await unsubscribed
    } finally {
      Redis.prototype.subscribe = subscribe
    }
    const names = (await admin.pubsub('CHANNELS')) as string[]
    expect(names.filter((name) => name.includes('{'))).to.have.lengthOf(listeners.size - 1)
    expect(names.some((name) => name.includes(`{${last}}`))).to.equal(false)
  })

  it('reports what a restored log has lost, also if another log was there meanwhile', async () => {
    await stateIs('ready')
    const { epoch } = await broker.publish(channel, event(1))
    const restore = await snapshot(admin, channel)
    await broker.publish(channel, event(2))
    await admin.flushall()
    const between = await broker.publish(channel, event(3))
    expect(between.epoch).to.not.equal(epoch)
    await restore()
    // As on a server that was started from the snapshot.
    await admin.hset(`sse:{${channel}}:m`, 'r', 'other')
    const [head] = await broker.heads([channel])
    expect(head).to.deep.include({ offset: 1, earlier: [{ epoch, offset: 1 }], lossy: [epoch] })
  })

  it('reports what a log has lost if it was restored to the position at which another life began', async () => {
    await stateIs('ready')
    const startAgain = () => admin.hset(`sse:{${channel}}:m`, 'r', 'other')
    const first = await broker.publish(channel, event(1))
    const restore = await snapshot(admin, channel)
    await startAgain()
    const second = await broker.publish(channel, event(2))
    expect(second).to.not.deep.include({ epoch: first.epoch })
    await restore()
    await startAgain()
    for (let i = 0; i < 2; i++) {
      const [head] = await broker.heads([channel])
      expect(head).to.deep.include({ offset: 1, earlier: [first], lossy: [second.epoch, first.epoch] })
    }
  })

  it('rejects a publish at its deadline, also if it waits behind a call that never gets a reply', async () => {
    // Nothing resets the connection.
    const patient = new RedisBroker({ redis: redis.url, commandTimeoutMs: 300, probeMs: 600_000 }, systemClock)
    try {
      await patient.publish(channel, event(1))
      redis.pause()
      expect(await codeOf(patient.publish(channel, event(2)))).to.equal('ERR_SSE_BROKER_TIMEOUT')
      expect(await codeOf(patient.publish(channel, event(3)))).to.equal('ERR_SSE_BROKER_UNAVAILABLE')
      const [four, five] = [patient.publish(channel, event(4)), patient.publish(channel, event(5))]
      expect(await Promise.all([codeOf(four), codeOf(five)])).to.deep.equal(Array(2).fill('ERR_SSE_BROKER_UNAVAILABLE'))
    } finally {
      redis.resume()
      await patient.close()
    }
  })

  it('rejects a command with a code while Redis hangs, and recovers when Redis continues', async () => {
    await stateIs('ready')
    redis.pause()
    expect(await codeOf(broker.publish(channel, event(1)))).to.equal('ERR_SSE_BROKER_TIMEOUT')
    redis.resume()
    await stateIs('ready')
    // The first publish may have run. In either case the offsets are dense.
    expect((await broker.publish(channel, event(2))).offset).to.be.within(1, 2)
  })

  it('bounds the number of pending commands', async () => {
    await stateIs('ready')
    await redis.kill()
    const codes = await Promise.all(Array.from({ length: 10_100 }, (_, i) => codeOf(broker.publish(channel, event(i)))))
    expect(new Set(codes)).to.deep.equal(new Set(['ERR_SSE_BROKER_UNAVAILABLE']))
  })

  it('rejects offers above its bounds in events and bytes, and reports accepted offers that fail', async () => {
    await stateIs('ready')
    await redis.kill()
    await stateIs('degraded')
    let lost = 0
    const count = (message: unknown) => {
      const { events, error } = message as { events: number; error: { code: string } }
      expect(error.code).to.equal('ERR_SSE_BROKER_UNAVAILABLE')
      lost += events
    }
    diagnostics.publishError.subscribe(count)
    const small = event('x'.repeat(100))
    const large = event('x'.repeat(1_000_000))
    expect(range(1, 70).filter(() => broker.offer(channel, large))).to.have.length(67)
    await eventually(() => lost >= 67)
    expect(range(1, 10_100).filter(() => broker.offer(channel, small))).to.have.length(10_000)
    await eventually(() => lost >= 10_067)
    diagnostics.publishError.unsubscribe(count)
    await redis.up()
    await stateIs('ready')
    await broker.publish(channel, small)
  })

  for (const batch of [['second'], ['second', 'third']]) {
    it(`publishes a call of ${batch.length} once if the connection breaks after Redis has run it`, async () => {
      const proxy = await TcpProxy.start(redis.port)
      const proxied = new RedisBroker(
        { redis: `redis://127.0.0.1:${proxy.port}`, commandTimeoutMs: 2000, probeMs: 60_000 },
        systemClock,
      )
      await proxied.publish(channel, event('first'))
      proxy.dropAnswers()
      const publishing = proxied.publishMany(channel, batch.map(event))
      await eventually(async () => (await admin.xlen(`sse:{${channel}}:s`)) === 2)
      proxy.breakConnections()
      expect((await publishing).map(({ offset }) => offset)).to.deep.equal(batch.map((_, i) => i + 2))
      expect((await proxied.publish(channel, event('last'))).offset).to.equal(batch.length + 2)
      const { entries } = await broker.read(channel, 0, 10)
      expect(entries.map(({ body }) => /data: (.*)/.exec(body.toString())?.[1])).to.deep.equal([
        'first',
        ...batch,
        'last',
      ])
      await proxied.close()
      await proxy.stop()
    })
  }

  it('restores all subscriptions after each of several broken connections, and notifies their listeners', async () => {
    await broker.close()
    // A busy machine needs some time for this many subscriptions.
    broker = start(10_000)
    const listeners = Array.from({ length: 1200 }, () => new Recorder())
    await Promise.all(listeners.map((listener, i) => broker.subscribe(`${channel}:${i}`, listener)))
    for (let kill = 1; kill <= 5; kill++) {
      await admin.client('KILL', 'TYPE', 'pubsub')
      await Promise.all(listeners.map((listener) => listener.when(() => listener.resubscribed.length >= kill)))
    }
    await stateIs('ready')
    await Promise.all(listeners.map((_, i) => broker.publish(`${channel}:${i}`, event(i))))
    await Promise.all(listeners.map((listener) => listener.until(1)))
    const [, count] = (await admin.pubsub('NUMSUB', `sse:{${channel}:7}`)) as [string, number]
    expect(count).to.equal(1)
  })

  it('detects a subscriber connection that is open but dead, and replaces it', async () => {
    const proxy = await TcpProxy.start(redis.port)
    const proxied = new RedisBroker(
      { redis: `redis://127.0.0.1:${proxy.port}`, commandTimeoutMs: 300, probeMs: 200 },
      systemClock,
    )
    const listener = new Recorder()
    await proxied.subscribe(channel, listener)
    proxy.freeze()
    await broker.publish(channel, event('missed'))
    await listener.when(() => listener.resubscribed.length > 0)
    expect(listener.resubscribed[0]?.offset).to.equal(1)
    expect(listener.entries).to.have.length(0)
    await broker.publish(channel, event('received'))
    await listener.until(1)
    expect(listener.entries[0]?.offset).to.equal(2)
    await proxied.close()
    await proxy.stop()
  })

  it('continues after SCRIPT FLUSH', async () => {
    await publishNumbers(broker, channel, 2)
    await admin.script('FLUSH')
    const [three] = await publishNumbers(broker, channel, 1)
    expect(three?.offset).to.equal(3)
  })

  it('starts a new epoch after FLUSHALL, and after Redis evicted only the meta hash', async () => {
    const [before] = await publishNumbers(broker, channel, 3)
    await admin.flushall()
    const [after] = await publishNumbers(broker, channel, 1)
    expect(after?.offset).to.equal(1)
    expect(after?.epoch).to.not.equal(before?.epoch)
    await admin.del(`sse:{${channel}}:m`)
    const [again] = await publishNumbers(broker, channel, 1)
    expect(again?.offset).to.equal(1)
    expect(again?.epoch).to.not.equal(after?.epoch)
    expect((await broker.read(channel, 0, 10)).entries).to.have.length(1)
  })

  it('continues under a new epoch if the log has lost entries that this process received', async () => {
    const [first] = await publishNumbers(broker, channel, 3)
    const rewind = await snapshot(admin, channel)
    await publishNumbers(broker, channel, 2)
    await rewind()
    const next = await broker.publish(channel, event('after the rewind'))
    expect(next.epoch).to.not.equal(first?.epoch)
    expect(next.offset).to.equal(4)
    const [head] = await broker.heads([channel])
    expect(head).to.deep.equal({
      ...next,
      earlier: [{ epoch: first?.epoch, offset: 3 }],
      lossy: [first?.epoch],
    })
    expect((await broker.read(channel, 0, 10)).entries.map(({ offset }) => offset)).to.deep.equal([1, 2, 3, 4])
  })

  it('keeps the last eight lives of a log', async () => {
    const epochs: string[] = []
    for (let life = 1; life <= 10; life++) {
      const position = await broker.publish(channel, event(life))
      expect(position.offset).to.equal(life)
      epochs.unshift(position.epoch)
      await admin.hset(`sse:{${channel}}:m`, 'r', 'of another server')
    }
    const [head] = await broker.heads([channel])
    const lives = epochs.slice(0, 8).map((epoch, i) => ({ epoch, offset: 10 - i }))
    expect(head?.earlier).to.deep.equal(lives)
  })

  it('publishes once per idempotency key across epochs, and again if the event was lost', async () => {
    const first = await broker.publish(channel, event(1), { idempotencyKey: 'first' })
    const rewind = await snapshot(admin, channel)
    await broker.publish(channel, event(2), { idempotencyKey: 'second' })
    await rewind()
    const again = await broker.publish(channel, event(1), { idempotencyKey: 'first' })
    expect(again.offset).to.equal(1)
    expect(again.epoch).to.not.equal(first.epoch)
    expect((await broker.publish(channel, event(2), { idempotencyKey: 'second' })).offset).to.equal(2)
    expect((await broker.read(channel, 0, 10)).entries).to.have.length(2)
  })

  it('starts a new log if head and entries do not match', async () => {
    const [first] = await publishNumbers(broker, channel, 5)
    await admin.hset(`sse:{${channel}}:m`, 'o', 3)
    const next = await broker.publish(channel, event('after'))
    expect(next.epoch).to.not.equal(first?.epoch)
    expect(next.offset).to.equal(1)
    expect(await broker.heads([channel])).to.deep.equal([next])
  })

  it('detects lost entries even without permission to read the replication id', async () => {
    await admin.acl('SETUSER', 'default', '-info')
    const [first] = await publishNumbers(broker, channel, 3)
    const rewind = await snapshot(admin, channel)
    await publishNumbers(broker, channel, 1)
    await rewind()
    const [next] = await publishNumbers(broker, channel, 1)
    expect(next?.epoch).to.not.equal(first?.epoch)
    expect(next?.offset).to.equal(4)
  })

  it('rejects every kind of call if the server is not the master any more', async () => {
    await publishNumbers(broker, channel, 1)
    const other = await RedisServer.start()
    await admin.replicaof('127.0.0.1', other.port)
    const code = await codeOf(broker.publish(channel, event(2)))
    // The command is retried until the deadline. If an attempt is in flight then, the outcome is unknown.
    expect(code).to.be.oneOf(['ERR_SSE_BROKER_REFUSED', 'ERR_SSE_BROKER_UNAVAILABLE', 'ERR_SSE_BROKER_TIMEOUT'])
    await other.stop()
  })

  it('resets a connection once if a demoted master refuses many commands', async () => {
    const channels = range(1, 40).map((n) => `${channel}:${n}`)
    const publishOnAll = () => Promise.all(channels.map((each) => broker.publish(each, event(1))))
    await publishOnAll()
    const warnings: string[] = []
    const onWarning = ({ name }: Error) => void warnings.push(name)
    process.on('warning', onWarning)
    try {
      await admin.call('REPLICAOF', '127.0.0.1', '1')
      const publishing = publishOnAll()
      await stateIs('degraded')
      await admin.replicaof('NO', 'ONE')
      const positions = await publishing
      expect(positions.map(({ offset }) => offset)).to.deep.equal(channels.map(() => 2))
      // Warnings are emitted on the next tick.
      await new Promise(setImmediate)
      expect(warnings).to.not.include('MaxListenersExceededWarning')
    } finally {
      process.off('warning', onWarning)
    }
  })

  it('recovers when permissions are removed and granted again', async () => {
    await publishNumbers(broker, channel, 1)
    const listener = new Recorder()
    await broker.subscribe(channel, listener)
    await admin.acl('SETUSER', 'default', '-evalsha', '-eval')
    expect(await codeOf(broker.publish(channel, event(2)))).to.equal('ERR_SSE_BROKER_REFUSED')
    await admin.acl('SETUSER', 'default', '+evalsha', '+eval')
    await broker.publish(channel, event(2))
    await listener.until(1)
  })

  it('ignores foreign messages on its pub/sub channels', async () => {
    const listener = new Recorder()
    await broker.subscribe(channel, listener)
    for (const junk of JUNK) {
      await admin.publish(`sse:{${channel}}`, junk)
    }
    await broker.publish(channel, event(1))
    await listener.until(1)
    expect(listener.entries.map(({ body }) => body.toString())).to.deep.equal(['data: 1\n\n'])
  })
})

describe('the redis broker when Redis restarts with other data', () => {
  it('continues under a new epoch after a restart that lost the last writes, and after a failover', async () => {
    // The last second is not on disk, so SIGKILL loses the end of the log.
    const redis = await RedisServer.start(['--appendonly', 'yes', '--appendfsync', 'no'])
    const broker = new RedisBroker({ redis: redis.url, commandTimeoutMs: 1000 }, systemClock)
    const listener = new Recorder()
    const { epoch } = await broker.subscribe('log', listener)
    await publishNumbers(broker, 'log', 10)
    await redis.kill()
    await redis.up()
    await listener.when(() => listener.resubscribed.length > 0)
    const head = listener.resubscribed.at(-1)
    expect(head?.epoch, 'a restart may have lost entries that no process received').to.not.equal(epoch)
    const position = await broker.publish('log', event('new'))
    expect(head?.earlier).to.deep.equal([{ epoch, offset: 10 }])
    expect(position).to.deep.equal({ epoch: head?.epoch, offset: 11 })
    await broker.close()
    await redis.stop()
  })

  it('assigns no position twice after the promotion of a replica that lagged', async () => {
    const master = await RedisServer.start(['--repl-diskless-sync-delay', '0'])
    const replica = await RedisServer.start()
    const admin = new Redis(replica.url)
    const first = new RedisBroker({ redis: master.url }, systemClock)
    const before = await publishNumbers(first, 'log', 5)
    await admin.replicaof('127.0.0.1', master.port)
    await eventually(async () => /master_link_status:up/.test(await admin.info('replication')))
    // The last writes do not reach the replica, so it is promoted with 5 of 8 events.
    await admin.replicaof('NO', 'ONE')
    before.push(...(await publishNumbers(first, 'log', 3)))
    const second = new RedisBroker({ redis: replica.url }, systemClock)
    const after = await publishNumbers(second, 'log', 5)
    const ids = [...before, ...after].map(({ epoch, offset }) => `${epoch}-${offset}`)
    expect(new Set(ids).size).to.equal(13)
    await Promise.all([first.close(), second.close()])
    admin.disconnect()
    await Promise.all([master.stop(), replica.stop()])
  })
})
