import { expect } from 'chai'
import express from 'express'
import { Redis } from 'ioredis'
import { diagnostics } from '../../lib/core/diagnostics.js'
import { InvalidOptionError } from '../../lib/core/errors.js'
import {
  createMultiplexer,
  createRedis,
  createStore,
  createStreamLimits,
  dashboardInit,
  rateLimit,
  type SharedRedis,
  shutdown,
} from '../../lib/index.js'
import { eventually } from '../helpers/eventually.js'
import { serve } from '../helpers/http-server.js'
import { RedisServer } from '../helpers/redis-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe('one Redis for all parts', () => {
  let server: RedisServer
  let admin: Redis

  beforeEach(async () => {
    server = await RedisServer.start()
    admin = new Redis(server.url)
  })
  afterEach(async () => {
    admin.disconnect()
    await server.stop()
  })

  async function connections(): Promise<string[]> {
    const list = (await admin.client('LIST')) as string
    return [...list.matchAll(/ name=(\S*)/g)].map(([, name = '']) => name).filter((name) => name !== '')
  }

  /** Starts and uses every part that has a connection. */
  async function runKit(redis: SharedRedis) {
    const streamLimits = createStreamLimits({ redis, perIp: 5 })
    const multiplexer = createMultiplexer({ redis, streamLimits, lingerMs: 0 })
    const store = createStore({ redis })
    const limit = rateLimit({ redis, by: 'ip', points: 100, duration: 60 })
    const app = express()
      .use(limit)
      .get(
        '/',
        multiplexer.stream(() => 'log'),
      )
    const { url, server: http } = await serve(app)
    const client = await SseClient.open(url)
    await client.control('sse.open')
    await store.set('key', 'value', 60_000)
    await multiplexer.publish('log', { data: 'hello' })
    await client.messagesUntil(1)
    return { http, client, multiplexer, parts: [limit, streamLimits, store, redis], store }
  }

  it('opens one connection for commands and one for subscriptions, and closes both at shutdown', async () => {
    const redis = createRedis(server.url)
    expect(redis.embedded).to.equal(false)
    const { http, client, multiplexer, parts, store } = await runKit(redis)
    expect((await connections()).sort()).to.deep.equal(['express-sse-kit', 'express-sse-kit:subscriber'])
    expect(await store.get(['key'])).to.deep.equal(['value'])
    await shutdown({ server: http, streams: [multiplexer], parts })
    await client.ended()
    await eventually(async () => (await connections()).length === 0)
    expect(client.messages.map(({ data }) => data)).to.deep.equal(['hello'])
  })

  it('stays open for the other parts when one part closes', async () => {
    const redis = createRedis(server.url)
    const { http, client, multiplexer, store } = await runKit(redis)
    client.close()
    await multiplexer.close()
    http.closeAllConnections()
    http.close()
    await store.set('other', 'value', 60_000)
    expect(await store.get(['other'])).to.deep.equal(['value'])
    redis.close()
    redis.close()
    expect(await store.get(['other']).catch((error: unknown) => error)).to.include({ code: 'ERR_SSE_CLOSED' })
  })

  it('detects a subscriber connection that is open but dead', async () => {
    const redis = createRedis(server.url)
    const multiplexer = createMultiplexer({ redis, probeMs: 100, commandTimeoutMs: 300 })
    await multiplexer.ping()
    multiplexer.stream(() => 'log')
    await eventually(async () => (await connections()).length === 2)
    const subscriber = /id=(\d+) [^\n]*name=express-sse-kit:subscriber/
    const before = subscriber.exec((await admin.client('LIST')) as string)?.[1]
    // Redis does not reply until the probe has reset the connection.
    const states: unknown[] = []
    const onState = (message: unknown) => states.push(message)
    diagnostics.brokerState.subscribe(onState)
    server.pause()
    await eventually(() => states.length > 0)
    diagnostics.brokerState.unsubscribe(onState)
    server.resume()
    await eventually(async () => {
      const now = subscriber.exec((await admin.client('LIST')) as string)?.[1]
      return now !== undefined && now !== before
    }, 15_000)
    await multiplexer.close()
    redis.close()
  })

  it('opens no connection without a source: every part is embedded in this process', async () => {
    for (const nothing of [undefined, '', null]) {
      const redis = createRedis(nothing)
      expect(redis.embedded).to.equal(true)
      const { http, client, multiplexer, parts } = await runKit(redis)
      expect(multiplexer.status().broker).to.equal('memory')
      dashboardInit({ redis, load: () => ({}) as never })
      await shutdown({ server: http, streams: [multiplexer], parts })
      await client.ended()
    }
    expect(await connections()).to.deep.equal([])
  })

  it('rejects a keyPrefix, because pub/sub ignores it', async () => {
    const { port } = new URL(server.url)
    expect(() => createRedis({ port: Number(port), keyPrefix: 'staging:' })).to.throw(InvalidOptionError, 'prefix')
    expect(() => createRedis('localhost')).to.throw(InvalidOptionError)
    await eventually(async () => (await connections()).length === 0)
  })
})
