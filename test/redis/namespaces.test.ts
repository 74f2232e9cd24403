import { expect } from 'chai'
import { type Cluster, Redis, type RedisOptions } from 'ioredis'
import { RedisBroker } from '../../lib/broker/redis/broker.js'
import { systemClock } from '../../lib/core/system-clock.js'
import type { RedisSource } from '../../lib/redis/source.js'
import { rateLimit } from '../../lib/routers/rate-limit.js'
import { createStore } from '../../lib/store/create.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { eventually } from '../helpers/eventually.js'
import { createStreamLimits } from '../helpers/internals.js'
import { RedisCluster } from '../helpers/redis-cluster.js'
import { RedisServer } from '../helpers/redis-server.js'
import { ask, request } from '../limits/requests/support.js'
import { Recorder } from '../suites/broker.js'

describe('two environments on one Redis', () => {
  let redis: RedisServer
  const stops: (() => unknown)[] = []

  before(async () => {
    redis = await RedisServer.start()
  })
  after(() => redis.stop())
  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop()
  })

  function clientOf(options: RedisOptions): Redis {
    const client = new Redis(redis.url, options)
    stops.push(() => client.disconnect())
    return client
  }

  const local = () => ({ host: '127.0.0.1', port: redis.port })
  const pairs: Readonly<Record<string, () => readonly [RedisSource, RedisSource]>> = {
    'databases, by URL': () => [redis.url, `${redis.url}/2`],
    'databases, by options': () => [
      { ...local(), db: 6 },
      { ...local(), db: 7 },
    ],
    'databases, by client': () => [clientOf({ db: 3 }), clientOf({ db: 4 })],
    'key prefixes, by options': () => [
      { ...local(), keyPrefix: 'a:' },
      { ...local(), keyPrefix: 'b:' },
    ],
    'key prefixes, by client': () => [clientOf({ keyPrefix: 'c:' }), clientOf({ keyPrefix: 'd:' })],
  }

  for (const [title, pair] of Object.entries(pairs)) {
    describe(`separated by ${title}`, () => {
      it('share no events, logged or ephemeral, and no signals', async () => {
        const [ours, theirs] = await brokersOf(pair())
        const [mine, other] = [new Recorder(), new Recorder()]
        const signals: string[] = []
        ours.onSignal((text) => signals.push(`ours ${text}`))
        theirs.onSignal((text) => signals.push(`theirs ${text}`))
        await Promise.all([ours.subscribe('log', mine), theirs.subscribe('log', other)])
        await theirs.publish('log', encodePublished({ data: 'typing', ephemeral: true }))
        await theirs.publish('log', encodePublished({ data: 'theirs' }))
        expect(await theirs.signal(undefined, 'revoked')).to.equal(1)
        // The last event and the last signal of the other environment arrive after all others.
        await ours.publish('log', encodePublished({ data: 'ours' }))
        await ours.signal(undefined, 'last')
        await Promise.all([mine.until(1), other.until(2)])
        await eventually(() => signals.includes('ours last') && signals.includes('theirs revoked'))
        expect(mine.entries.map(({ offset, body }) => `${offset} ${body}`)).to.deep.equal(['1 data: ours\n\n'])
        expect(other.entries.map(({ offset, body }) => `${offset} ${body}`)).to.deep.equal([
          '0 data: typing\n\n',
          '1 data: theirs\n\n',
        ])
        expect(signals).to.have.members(['ours last', 'theirs revoked'])
      })

      it('share no values of a store', async () => {
        const [ours, theirs] = pair().map((source) => createStore({ redis: source }))
        stops.push(
          () => ours?.close(),
          () => theirs?.close(),
        )
        await ours?.set('key', 'ours', 60_000)
        expect(await theirs?.get(['key'])).to.deep.equal([undefined])
        expect(await theirs?.claim('key', 'theirs', 60_000)).to.equal(true)
        expect(await ours?.get(['key'])).to.deep.equal(['ours'])
      })

      it('share no stream limits and no request limits', async () => {
        const sources = pair()
        const owner = { auth: { user: title, tenant: 'acme', expiresAt: 0, claims: {} } }
        for (const [i, source] of sources.entries()) {
          const limits = createStreamLimits({ redis: source, perUser: 1 })
          stops.push(() => limits.close())
          await limits.acquire(owner, { id: `stream-${i}`, close: () => undefined })
          const limiter = rateLimit({ redis: source, by: 'user', points: 1, duration: 600, mode: 'exact' })
          stops.push(() => limiter.close())
          expect((await ask(limiter, request({ user: title }))).admitted).to.equal(true)
        }
      })
    })
  }

  it('are one environment if the source is the same, given as options or as a client', async () => {
    const [ours, theirs] = await brokersOf([
      { ...local(), keyPrefix: 'same:', db: 5 },
      clientOf({ keyPrefix: 'same:', db: 5 }),
    ])
    const listener = new Recorder()
    await ours.subscribe('log', listener)
    await theirs.publish('log', encodePublished({ data: 1, ephemeral: true }))
    await theirs.publish('log', encodePublished({ data: 2 }))
    await listener.until(2)
    expect(listener.entries.map(({ offset }) => offset)).to.deep.equal([0, 1])
    const admin = clientOf({ db: 5 })
    expect((await admin.keys('*')).every((key) => key.startsWith('same:sse:'))).to.equal(true)
  })

  async function brokersOf(sources: readonly [RedisSource, RedisSource]): Promise<readonly [RedisBroker, RedisBroker]> {
    const brokers = sources.map((source) => new RedisBroker({ redis: source }, systemClock)) as [
      RedisBroker,
      RedisBroker,
    ]
    for (const broker of brokers) stops.push(() => broker.close())
    return brokers
  }
})

describe('environments on one Redis Cluster', function () {
  this.timeout(60_000)

  it('are separated by key prefixes, including prefixes with a hash tag', async () => {
    const { Cluster } = await import('ioredis')
    const cluster = await RedisCluster.start()
    const clients: Cluster[] = []
    const brokers: RedisBroker[] = []
    try {
      for (const keyPrefix of ['a:', '{b}:']) {
        const client = new Cluster(cluster.urls, { keyPrefix })
        clients.push(client)
        brokers.push(new RedisBroker({ redis: client, commandTimeoutMs: 10_000 }, systemClock))
      }
      const listeners = brokers.map(() => new Recorder())
      for (const [i, broker] of brokers.entries()) await broker.subscribe('log', listeners[i] as Recorder)
      for (const [i, broker] of brokers.entries()) {
        await broker.publish('log', encodePublished({ data: i, ephemeral: true }))
        await broker.publish('log', encodePublished({ data: i }))
        await listeners[i]?.until(2)
      }
      for (const [i, { entries }] of listeners.entries()) {
        expect(entries.map(({ body }) => body.toString())).to.deep.equal([`data: ${i}\n\n`, `data: ${i}\n\n`])
      }
    } finally {
      for (const broker of brokers) await broker.close()
      for (const client of clients) client.disconnect()
      await cluster.stop()
    }
  })
})
