import { expect } from 'chai'
import express from 'express'
import { Redis } from 'ioredis'
import type { SseEvent } from '../../lib/core/message.js'
import { createPacing } from '../../lib/limits/pacing/pacing.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { StreamOptions } from '../../lib/stream/options.js'
import { eventually } from '../helpers/eventually.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { RedisServer } from '../helpers/redis-server.js'
import { SseClient } from '../helpers/sse-client.js'

/** Streams that may send two events at once and then one a second, and hold three. */
describe('a stream on a channel with a queue policy', () => {
  let clock: FakeClock
  let server: TestServer
  let multiplexer: Multiplexer
  let clients: SseClient[]

  afterEach(async () => {
    for (const client of clients) client.close()
    await multiplexer.close()
    await server.stop()
  })

  async function start(options: StreamOptions, redis?: string): Promise<SseClient> {
    clock = new FakeClock()
    clients = []
    const pacing = createPacing({ stream: { capacity: 2, refillPerSecond: 1 } }, { clock })
    const stream = { heartbeatMs: 0, maxAgeMs: 0, retryMs: 10, queueEvents: 3, pacing, ...options }
    multiplexer = createMultiplexer({ redis, clock, stream })
    if (redis !== undefined) await eventually(() => multiplexer.status().state === 'ready')
    server = await serve(
      express()
        .get(
          '/',
          multiplexer.stream(() => 'log'),
        )
        .get(
          '/free',
          multiplexer.stream(() => 'log', { pacing: createPacing({}) }),
        ),
    )
    return connect('/')
  }

  async function connect(path: string, lastEventId?: string): Promise<SseClient> {
    const client = await SseClient.open(`${server.url}${path}`, lastEventId ? { 'last-event-id': lastEventId } : {})
    clients.push(client)
    await client.control('sse.open')
    return client
  }

  async function publish(...events: SseEvent[]): Promise<void> {
    await multiplexer.publishMany('log', events)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }

  /** The data of the events, and the names of announcements among them. */
  function namesOf({ events }: SseClient, announcement = 'sse.dropped'): string[] {
    return events
      .filter(({ event = '' }) => event === announcement || !event.startsWith('sse.'))
      .map(({ event, data }) => (event === announcement ? event : data))
  }

  /** Advances the clock so that pacing grants this number of events. */
  async function receive(client: SseClient, more: number): Promise<string[]> {
    for (let i = 0; i < more; i++) {
      const { length } = client.messages
      clock.advance(1000)
      await client.messagesUntil(length + 1)
    }
    return client.messages.map(({ data }) => data)
  }

  it('drops the oldest events and reports their number, and its ids are its position', async () => {
    const client = await start({ queuePolicy: 'drop-oldest' })
    await publish(...range(1, 10).map((data) => ({ data })))
    await client.messagesUntil(2)
    expect(await receive(client, 3)).to.deep.equal(['1', '2', '8', '9', '10'])
    expect(JSON.parse((await client.control('sse.dropped')).data)).to.include({ count: 5, reason: 'queue_full' })
    expect(namesOf(client)).to.deep.equal(['1', '2', 'sse.dropped', '8', '9', '10'])
    expect(client.lastEventId).to.match(/-10$/)
    // The stream has caught up and is live again.
    clock.advance(1000)
    await publish({ data: 11 })
    await client.messagesUntil(6)
  })

  it('reports dropped events where they are missing: a position before them does not include the report', async () => {
    const client = await start({ queuePolicy: 'drop-newest' })
    await publish(...range(1, 10).map((data) => ({ data })))
    await client.messagesUntil(2)
    expect(await receive(client, 3)).to.deep.equal(['1', '2', '3', '4', '5'])
    clock.advance(1000)
    await publish({ data: 11 })
    await client.messagesUntil(6)
    expect(namesOf(client)).to.deep.equal(['1', '2', '3', '4', '5', 'sse.dropped', '11'])
    expect(JSON.parse((await client.control('sse.dropped')).data)).to.include({ count: 5, reason: 'queue_full' })
  })

  it('sends the events that wait before the reset of their log, and newer events after it', async () => {
    const redis = await RedisServer.start()
    const admin = new Redis(redis.url)
    try {
      const client = await start({ queuePolicy: 'drop-newest' }, redis.url)
      await publish(...range(1, 5).map((data) => ({ data })))
      await client.messagesUntil(2)
      await admin.flushall()
      await publish({ data: 6 })
      await receive(client, 4)
      expect(namesOf(client, 'sse.reset')).to.deep.equal(['1', '2', '3', '4', '5', 'sse.reset', '6'])
    } finally {
      admin.disconnect()
      await redis.stop()
    }
  })

  it('keeps the latest of each key', async () => {
    const client = await start({ queuePolicy: 'coalesce' })
    await publish({ data: 'x1' }, { data: 'x2' })
    await publish(
      { data: 'a1', key: 'a' },
      { data: 'b1', key: 'b' },
      { data: 'a2', key: 'a' },
      { data: 'a3', key: 'a' },
    )
    expect(await receive(client, 2)).to.deep.equal(['x1', 'x2', 'b1', 'a3'])
    expect(JSON.parse((await client.control('sse.dropped')).data)).to.include({ count: 1, reason: 'coalesced' })
    // a1 was before b1, and a2 after it.
    expect(namesOf(client)).to.deep.equal(['x1', 'x2', 'sse.dropped', 'b1', 'sse.dropped', 'a3'])
  })

  it('sends events by priority, and no id that would include events not sent yet', async () => {
    const client = await start({ queuePolicy: 'drop-low-priority' })
    await publish({ data: 1 }, { data: 2 })
    await publish({ data: 3, priority: 'low' }, { data: 4 }, { data: 5, priority: 'high' })
    expect(await receive(client, 1)).to.deep.equal(['1', '2', '5'])
    expect(client.lastEventId).to.match(/-2$/)
    // A client that disconnects here resumes at its last id, and receives the missing events.
    const again = await connect('/free', client.lastEventId)
    await again.messagesUntil(3)
    expect(again.messages.map(({ data }) => data)).to.deep.equal(['3', '4', '5'])
    expect(await receive(client, 2)).to.deep.equal(['1', '2', '5', '4', '3'])
    expect(client.lastEventId).to.match(/-3$/)
  })

  it('is closed instead of dropping an event, and its client resumes at its position', async () => {
    const client = await start({ queuePolicy: 'disconnect' })
    await publish(...range(1, 10).map((data) => ({ data })))
    expect(JSON.parse((await client.control('sse.reconnect')).data)).to.include({ reason: 'backlog_full' })
    await client.ended()
    // Waiting events are sent before the end.
    expect(client.messages.map(({ data }) => data)).to.deep.equal(range(1, 5).map(String))
    const again = await connect('/free', client.lastEventId)
    await again.messagesUntil(5)
    expect(again.messages.map(({ data }) => data)).to.deep.equal(range(6, 10).map(String))
  })

  for (const [policy, kept] of [
    ['drop-oldest', [1, 2, 998, 999, 1000]],
    ['drop-newest', [1, 2, 3, 4, 5]],
  ] as const) {
    it(`keeps up if it opens far behind, and drops the events that ${policy} names`, async () => {
      const former = await start({ queuePolicy: policy })
      const { lastEventId } = former
      former.close()
      for (let published = 0; published < 1000; published += 100) {
        await publish(...range(published + 1, published + 100).map((data) => ({ data })))
      }
      const client = await connect('/', lastEventId)
      await client.messagesUntil(2)
      expect(await receive(client, 3)).to.deep.equal(kept.map(String))
      expect(JSON.parse((await client.control('sse.dropped')).data)).to.include({ count: 995, reason: 'queue_full' })
      expect(client.events.some(({ event }) => event === 'sse.gap')).to.equal(false)
      clock.advance(1000)
      await publish({ data: 1001 })
      await client.messagesUntil(6)
      expect(client.messages.at(-1)?.data).to.equal('1001')
    })
  }

  it('with disconnect has no queue while it catches up', async () => {
    const former = await start({ queuePolicy: 'disconnect' })
    const { lastEventId } = former
    former.close()
    await publish(...range(1, 100).map((data) => ({ data })))
    const client = await connect('/', lastEventId)
    await client.messagesUntil(2)
    expect(await receive(client, 8)).to.deep.equal(range(1, 10).map(String))
    expect(multiplexer.inspect().at(-1)).to.include({ queued: 0, lag: 90, dropped: 0 })
  })
})
