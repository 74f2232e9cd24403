import { expect } from 'chai'
import express from 'express'
import { createPacing } from '../../lib/limits/pacing/pacing.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { conversationStreams, messagesChannel } from '../../lib/routers/conversations.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import type { StreamOptions } from '../../lib/stream/options.js'
import { createPressure } from '../../lib/stream/pressure.js'
import { streamOf } from '../../lib/stream/stream-of.js'
import type { PollAnswer } from '../../lib/wire/contract.js'
import { eventually } from '../helpers/eventually.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { SseClient } from '../helpers/sse-client.js'

const PATH = '/api/v1/sse/messages/c%2D1'
const CHANNEL = messagesChannel('acme', 'c-1')
const DATA = 'x'.repeat(2000)

describe('a stream that cannot keep up', () => {
  let clock: FakeClock
  let server: TestServer
  let multiplexer: Multiplexer
  let clients: SseClient[]

  afterEach(async () => {
    for (const client of clients) client.close()
    await multiplexer.close()
    await server.stop()
  })

  async function start(stream: StreamOptions): Promise<void> {
    clients = []
    const pressure = createPressure({ clock, maxLoopDelayMs: 0, pauseMs: 60_000 })
    multiplexer = createMultiplexer({
      clock,
      lingerMs: 0,
      stream: { heartbeatMs: 0, maxAgeMs: 0, pressure, ...stream },
    })
    const app = express()
    app.use((req, _, next) => {
      req.auth = { user: 'dana', tenant: 'acme', expiresAt: clock.wallTime() + 3_600_000, claims: {} }
      next()
    })
    app.use('/api/v1/sse', conversationStreams({ multiplexer, authorize: () => true }))
    server = await serve(app)
  }

  async function open(lastEventId?: string): Promise<SseClient> {
    const client = await SseClient.open(`${server.url}${PATH}`, lastEventId ? { 'last-event-id': lastEventId } : {})
    clients.push(client)
    await client.control('sse.open')
    return client
  }

  let published = 0
  async function publish(count: number): Promise<void> {
    await multiplexer.publishMany(
      CHANNEL,
      range(published + 1, published + count).map((n) => ({ data: `${n} ${DATA}` })),
    )
    published += count
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
  }
  beforeEach(() => {
    clock = new FakeClock()
    published = 0
  })

  const numbers = (events: readonly { data: string }[]): number[] => events.map(({ data }) => Number.parseInt(data, 10))
  const isFull = (): boolean => multiplexer.inspect()[0]?.full === true

  it('is moved to polling and back if its client reads nothing, and misses or repeats no event', async () => {
    await start({ stallMs: 30_000 })
    const client = await open()
    client.pause()
    while (!isFull()) await publish(200)
    clock.advance(30_000)
    expect(multiplexer.status().streams).to.equal(0)
    await publish(5)
    client.resume()
    const { url, afterMs, reason } = JSON.parse((await client.control('sse.poll')).data)
    expect(reason).to.equal('stalled')
    expect(afterMs).to.be.within(750, 2250)
    await client.ended()
    const { afterMs: returnMs } = JSON.parse((await client.control('sse.reconnect')).data)
    expect(returnMs, 'for clients that do not poll').to.be.within(30_000, 90_000)
    const seen = numbers(client.messages)

    const pollUrl = new URL(url, `${server.url}${PATH}`)
    expect(pollUrl.pathname).to.equal('/api/v1/sse/poll/messages/c%2D1')
    let cursor = client.lastEventId
    let answer: PollAnswer | undefined
    let polls = 0
    while (answer?.stream !== true) {
      pollUrl.searchParams.set('cursor', cursor)
      const response = await fetch(pollUrl)
      answer = (await response.json()) as PollAnswer
      polls++
      expect(response.headers.get('x-stream-pause')).to.equal(answer.stream ? null : 'true')
      seen.push(...numbers(answer.events))
      cursor = answer.cursor
      await publish(1)
      clock.advance(10_000)
    }
    expect(polls, 'one every 10 s for a minute').to.equal(7)
    const again = await open(cursor)
    await publish(3)
    await again.until(({ messages }) => numbers(messages).at(-1) === published)
    seen.push(...numbers(again.messages))
    expect(seen).to.deep.equal(range(1, published))
  })

  it('is moved to polling if its queue has been too small for saturatedMs', async () => {
    const pacing = createPacing({ stream: { capacity: 1, refillPerSecond: 1e-6 } }, { clock })
    await start({ queuePolicy: 'drop-oldest', queueEvents: 5, saturatedMs: 10_000, pacing })
    const client = await open()
    await publish(10)
    clock.advance(9999)
    await publish(1)
    expect(multiplexer.inspect()[0]).to.include({ dropped: 5, queued: 5 })
    clock.advance(1)
    await publish(1)
    expect(JSON.parse((await client.control('sse.poll')).data)).to.include({ reason: 'saturated' })
    await client.ended()
    expect(client.events.some(({ event }) => event === 'sse.dropped')).to.equal(true)
  })

  it('stays open if it has caught up in between', async () => {
    const pacing = createPacing({ stream: { capacity: 1, refillPerSecond: 1 } }, { clock })
    await start({ queuePolicy: 'drop-oldest', queueEvents: 5, saturatedMs: 10_000, pacing })
    await open()
    for (let round = 1; round <= 4; round++) {
      await publish(9)
      expect(multiplexer.inspect()[0]).to.include({ queued: 5, dropped: 3 * round })
      clock.advance(9000)
      expect(multiplexer.inspect()[0]).to.include({ queued: 0 })
    }
    pacing.configure({ stream: { capacity: 1, refillPerSecond: 1e-6 } })
    await publish(3)
    clock.advance(20_000)
    await publish(1)
    expect(multiplexer.inspect()[0]).to.include({ queued: 3 })
    expect(multiplexer.status().streams).to.equal(1)
  })

  it('stays open if newer events only replace older ones', async () => {
    const pacing = createPacing({ stream: { capacity: 1, refillPerSecond: 1e-6 } }, { clock })
    await start({ queuePolicy: 'coalesce', queueTtlMs: 3_600_000, saturatedMs: 10_000, pacing })
    await open()
    for (let round = 1; round <= 4; round++) {
      await multiplexer.publishMany(
        CHANNEL,
        range(1, 9).map((data) => ({ data, key: 'k' })),
      )
      await eventually(() => multiplexer.inspect()[0]?.dropped === 9 * round - 2)
      clock.advance(9000)
    }
    expect(multiplexer.status().streams).to.equal(1)
  })

  it('gets only sse.reconnect if there is no pollUrl', async () => {
    await start({ stallMs: 30_000 })
    const app = express().get(
      '/',
      multiplexer.stream(() => CHANNEL),
    )
    const other = await serve(app)
    const client = await SseClient.open(other.url)
    await client.control('sse.open')
    client.pause()
    while (!isFull()) await publish(200)
    clock.advance(30_000)
    client.resume()
    const { reason, afterMs } = JSON.parse((await client.control('sse.reconnect')).data)
    expect(reason).to.equal('stalled')
    expect(afterMs).to.be.within(1500, 4500)
    expect(client.events.some(({ event }) => event === 'sse.poll')).to.equal(false)
    await client.ended()
    await other.stop()
  })

  it('returns "lagging" from send while it is behind its channels', async () => {
    await start({ stallMs: 0 })
    const app = express().get('/', (req, res, next) => {
      own = res
      void multiplexer.stream(() => CHANNEL)(req, res, next)
    })
    let own: object = {}
    const send = (data: number): unknown => (streamOf(own) as EventStream).send({ event: 'own', data })
    const other = await serve(app)
    const client = await SseClient.open(other.url)
    await client.control('sse.open')
    expect(send(0)).to.equal('sent')
    client.pause()
    while (!isFull()) await publish(200)
    await publish(1)
    expect(send(1)).to.equal('lagging')
    client.resume()
    await client.until(({ messages }) => messages.length === published + 2)
    expect(numbers(client.messages.filter(({ event }) => event !== 'own'))).to.deep.equal(range(1, published))
    expect(send(2)).to.equal('sent')
    client.close()
    await other.stop()
  })

  it('sends the events in its queue before the application closes it', async () => {
    const pacing = createPacing({ stream: { capacity: 1, refillPerSecond: 1e-6 } }, { clock })
    await start({ pacing })
    const app = express().get(
      '/',
      multiplexer.stream(() => 'other'),
    )
    const other = await serve(app)
    const client = await SseClient.open(other.url)
    await client.control('sse.open')
    for (const data of range(1, 5)) await multiplexer.publish('other', { data, ephemeral: true })
    await eventually(() => multiplexer.inspect()[0]?.queued === 4)
    await multiplexer.close()
    await client.ended()
    expect(numbers(client.messages)).to.deep.equal(range(1, 5))
    await other.stop()
  })

  it('is not moved to polling when it closes for another reason', async () => {
    await start({})
    const client = await open()
    await multiplexer.close()
    expect(JSON.parse((await client.control('sse.reconnect')).data)).to.include({ reason: 'shutdown' })
    await client.ended()
    expect(client.events.some(({ event }) => event === 'sse.poll')).to.equal(false)
  })
})
