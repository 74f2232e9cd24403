import { expect } from 'chai'
import express from 'express'
import { createPacing } from '../../lib/limits/pacing/pacing.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import { eventually } from '../helpers/eventually.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { SseClient } from '../helpers/sse-client.js'
import { numbersOf } from '../suites/multiplexer.js'

describe('a paced stream', () => {
  let clock: FakeClock
  let server: TestServer
  let multiplexer: Multiplexer | undefined
  let clients: SseClient[]

  beforeEach(() => {
    clock = new FakeClock()
    clients = []
    multiplexer = undefined
  })
  afterEach(async () => {
    for (const client of clients) client.close()
    await multiplexer?.close()
    await server.stop()
  })

  async function connect(path = '/', lastEventId?: string): Promise<SseClient> {
    const client = await SseClient.open(`${server.url}${path}`, lastEventId ? { 'last-event-id': lastEventId } : {})
    clients.push(client)
    return client
  }

  /** Waits until everything under way on real sockets has arrived. */
  async function settle(): Promise<void> {
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setTimeout(resolve, 2))
  }

  it('sends a log completely, in order and at its pace, however fast the events were published', async () => {
    const pacing = createPacing({ stream: { capacity: 5, refillPerSecond: 5 } }, { clock })
    const mux = createMultiplexer({ clock, stream: { heartbeatMs: 0, maxAgeMs: 0, pacing } })
    multiplexer = mux
    server = await serve(
      express().get(
        '/',
        mux.stream((req) => req.query.channel as string),
      ),
    )
    const client = await connect('/?channel=a')
    const free = await connect('/?channel=b')
    let published = 0
    const startedAt = clock.now()
    for (let second = 0; second < 10; second++) {
      for (let i = 0; i < 50; i++) {
        await mux.publish('a', { data: ++published })
        // Published events are written at the end of the tick.
        await new Promise((resolve) => setImmediate(resolve))
        clock.advance(20)
      }
      await settle()
      const allowed = 5 + (5 * (clock.now() - startedAt)) / 1000
      expect(client.messages.length).to.be.within(allowed - 1, allowed)
    }
    await mux.publish('b', { data: 1 })
    await free.messagesUntil(1)
    while (client.messages.length < published) {
      clock.advance(1000)
      await settle()
      expect(client.messages.length).to.be.at.most(5 + (5 * (clock.now() - startedAt)) / 1000)
    }
    expect(numbersOf(client)).to.deep.equal(range(1, 500))
    // The stream has caught up and is live again immediately.
    clock.advance(1000)
    await mux.publish('a', { data: 501 })
    await client.messagesUntil(501)
    expect(client.closed, 'closed for its pace').to.equal(false)
  })

  it('replays on several channels at its pace, one position after the other', async () => {
    const pacing = createPacing({ stream: { capacity: 2, refillPerSecond: 10 } }, { clock })
    const mux = createMultiplexer({ clock, stream: { heartbeatMs: 0, maxAgeMs: 0, pacing } })
    multiplexer = mux
    server = await serve(
      express().get(
        '/',
        mux.stream(() => ['a', 'b']),
      ),
    )
    const cursor = await mux.cursor(['a', 'b'])
    for (let i = 1; i <= 10; i++) for (const name of ['a', 'b']) await mux.publish(name, { data: `${name}${i}` })
    const client = await connect('/', cursor)
    await client.messagesUntil(2)
    const cut = client.lastEventId
    while (client.messages.length < 20) {
      clock.advance(100)
      await settle()
    }
    const data = client.messages.map((message) => message.data)
    for (const name of ['a', 'b']) {
      expect(data.filter((each) => each.startsWith(name))).to.deep.equal(range(1, 10).map((i) => `${name}${i}`))
    }
    const again = await connect('/', cut)
    while (again.messages.length < 18) {
      clock.advance(100)
      await settle()
    }
    const rest = again.messages.map((message) => message.data)
    // There is no order between channels: they take turns, starting with the first one.
    for (const name of ['a', 'b']) {
      const ofIt = (each: string) => each.startsWith(name)
      expect(rest.filter(ofIt)).to.deep.equal(data.slice(2).filter(ofIt))
    }
  })

  it('gives a turn to a channel that must read its history, even if others have entries in memory', async () => {
    const pacing = createPacing({ stream: { capacity: 1, refillPerSecond: 0.1 } }, { clock })
    const mux = createMultiplexer({ clock, tailEntries: 50, stream: { heartbeatMs: 0, maxAgeMs: 0, pacing } })
    multiplexer = mux
    server = await serve(
      express().get(
        '/',
        mux.stream(() => ['old', 'busy']),
      ),
    )
    const cursor = await mux.cursor(['old', 'busy'])
    // These are in no tail: the channel had no stream when they were published.
    for (let i = 1; i <= 20; i++) await mux.publish('old', { data: i })
    const client = await connect('/', cursor)
    await client.control('sse.open')
    for (let sent = client.messages.length; sent < 10; sent++) {
      await mux.publish('busy', { data: 'busy' })
      await settle()
      // Longer than the process keeps a page.
      clock.advance(10_000)
      await client.messagesUntil(sent + 1)
    }
    expect(numbersOf(client).filter((data) => data > 0).length).to.be.at.least(4)
  })

  it('queues the events of send while it has no tokens, within bounds, and does not count as stalled', async () => {
    const pacing = createPacing({ stream: { capacity: 2, refillPerSecond: 1 } }, { clock })
    let stream: EventStream | undefined
    const app = express().use(
      sseMiddleware({ clock, heartbeatMs: 0, maxAgeMs: 0, stallMs: 1000, queueEvents: 3, pacing }),
    )
    app.get('/', (_req, res) => {
      stream = res.sse()
    })
    server = await serve(app)
    const client = await connect()
    const verdicts = range(1, 7).map((data) => stream?.send({ data }))
    expect(verdicts).to.deep.equal(['sent', 'sent', 'queued', 'queued', 'queued', 'dropped', 'dropped'])
    for (let i = 3; i <= 5; i++) {
      clock.advance(1000)
      await client.messagesUntil(i)
    }
    expect(numbersOf(client)).to.deep.equal([1, 2, 3, 4, 5])
    expect(JSON.parse((await client.control('sse.dropped')).data)).to.include({ count: 2, reason: 'queue_full' })
    expect(stream?.closeReason).to.equal(undefined)
    expect(stream?.send({ data: 6 })).to.equal('queued')
    pacing.configure({ stream: { capacity: 10, refillPerSecond: 1000 } })
    clock.advance(1)
    await client.messagesUntil(6)
  })

  it('releases its buckets when it closes', async () => {
    const pacing = createPacing({ stream: 'chat', ip: 'publicIp' }, { clock })
    server = await serve(
      express()
        .use(sseMiddleware({ clock, pacing }))
        .get('/', (_req, res) => void res.sse()),
    )
    const client = await connect()
    expect(pacing.size).to.equal(2)
    client.close()
    await eventually(() => pacing.size === 0)
  })
})
