import { expect } from 'chai'
import express from 'express'
import { diagnostics } from '../../lib/core/diagnostics.js'
import { createPacing } from '../../lib/limits/pacing/pacing.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { StreamOptions } from '../../lib/stream/options.js'
import { createPressure, type Pressure, type PressureOptions } from '../../lib/stream/pressure.js'
import { eventually } from '../helpers/eventually.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { SseClient } from '../helpers/sse-client.js'

const DATA = 'x'.repeat(900)

describe('the pressure on all streams together', () => {
  let clock: FakeClock
  let pressure: Pressure
  let server: TestServer
  let multiplexer: Multiplexer
  let clients: SseClient[]
  let levels: unknown[]
  const note = (message: unknown) => levels.push((message as { level: unknown }).level)

  beforeEach(() => {
    clients = []
    levels = []
    diagnostics.pressure.subscribe(note)
  })

  afterEach(async () => {
    diagnostics.pressure.unsubscribe(note)
    for (const client of clients) client.close()
    await multiplexer.close()
    await server.stop()
    expect(clock.pending, 'timers left').to.equal(0)
    expect(pressure.queuedBytes, 'bytes left').to.equal(0)
  })

  /** Streams that may send only their first event, so that all others wait. */
  async function start(options: PressureOptions, stream: StreamOptions = {}): Promise<void> {
    clock = new FakeClock()
    pressure = createPressure({ clock, maxLoopDelayMs: 0, ...options })
    const pacing = createPacing({ stream: { capacity: 1, refillPerSecond: 0.0001 } }, { clock })
    multiplexer = createMultiplexer({
      clock,
      lingerMs: 0,
      stream: { pressure, pacing, heartbeatMs: 0, maxAgeMs: 0, retryMs: 100, queuePolicy: 'drop-oldest', ...stream },
    })
    server = await serve(
      express()
        .get(
          '/stream/:channel',
          multiplexer.stream((req) => String(req.params.channel)),
        )
        .get(
          '/free/:channel',
          multiplexer.stream((req) => String(req.params.channel), { pacing: createPacing({}), pollUrl: 'poll' }),
        )
        .get(
          '/poll/:channel',
          multiplexer.poll((req) => String(req.params.channel)),
        ),
    )
  }

  async function open(path: string): Promise<SseClient> {
    const client = await SseClient.open(`${server.url}${path}`)
    clients.push(client)
    await client.until(({ raw }) => raw !== '')
    return client
  }

  async function publish(channel: string, count: number): Promise<void> {
    await multiplexer.publishMany(
      channel,
      range(1, count).map((n) => ({ data: `${n} ${DATA}` })),
    )
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
  }

  it('drops the largest queues when all queues hold too much, and refuses new streams for a while', async () => {
    await start({ maxQueuedBytes: 60_000, sustainMs: 5000 })
    const drops: { stream: string; reason: string }[] = []
    const noteDrop = (message: unknown) => drops.push(message as (typeof drops)[0])
    await open('/stream/small')
    await open('/stream/large')
    await publish('small', 11)
    await publish('large', 31)
    const [small, large] = multiplexer.inspect()
    expect([small?.queued, large?.queued]).to.deep.equal([10, 30])
    expect(pressure.level).to.equal('none')
    expect(pressure.queuedBytes).to.be.within(40 * 1000, 60_000)
    diagnostics.streamDrop.subscribe(noteDrop)
    await publish('small', 25)
    diagnostics.streamDrop.unsubscribe(noteDrop)
    expect(multiplexer.inspect().map(({ queued }) => queued)).to.deep.equal([35, 0])
    expect(drops).to.have.length(30)
    expect(drops.every(({ stream, reason }) => stream === large?.id && reason === 'shed')).to.equal(true)
    expect(levels).to.deep.equal(['pressed'])

    const refused = await fetch(`${server.url}/stream/new`)
    expect(refused.status).to.equal(503)
    expect(refused.headers.get('retry-after')).to.equal('30')
    expect((await refused.json()) as object).to.include({ code: 'ERR_SSE_OVERLOADED' })
    clock.advance(4999)
    expect(pressure.level).to.equal('pressed')
    clock.advance(1)
    expect(pressure.level).to.equal('none')
    await open('/stream/new')
  })

  it('drops until a quarter is free', async () => {
    await start({ maxQueuedBytes: 100_000 })
    for (const n of range(1, 10)) await open(`/stream/c${n}`)
    for (const n of range(1, 8)) await publish(`c${n}`, 11)
    expect(pressure.queuedBytes).to.be.within(85_000, 100_000)
    await publish('c9', 11)
    expect(pressure.queuedBytes).to.be.within(60_000, 75_000)
  })

  it('reports to the client how many events of its queue were dropped', async () => {
    await start({ maxQueuedBytes: 20_000 })
    const client = await open('/stream/large')
    await publish('large', 30)
    expect(JSON.parse((await client.control('sse.dropped')).data)).to.include({ count: 18, reason: 'shed' })
  })

  it('refuses with a stream that ends immediately if refuseWith is stream', async () => {
    await start({ maxQueuedBytes: 10_000 }, { refuseWith: 'stream' })
    await open('/stream/a')
    await publish('a', 20)
    const client = await open('/stream/b')
    expect(client.status).to.equal(200)
    const { reason, afterMs } = JSON.parse((await client.control('sse.reconnect')).data)
    expect(reason).to.equal('overloaded')
    expect(afterMs).to.be.within(15_000, 45_000)
    expect(client.retry).to.equal(afterMs)
    await client.ended()
    expect(client.lastEventId).to.equal('')
  })

  it('moves streams with the largest queues to polling, some each second, and polls report for how long', async () => {
    await start({ maxQueuedBytes: 100_000, sustainMs: 3000, pauseMs: 20_000 }, { pollUrl: '/poll/c1' })
    for (const n of range(1, 15)) await open(`/stream/c${n}`)
    const healthy = await open('/free/quiet')
    for (let second = 0; second < 3; second++) {
      for (const n of range(1, 15)) await publish(`c${n}`, 20)
      clock.advance(1000)
      expect(pressure.level).to.equal('pressed')
      const answer = (await (await fetch(`${server.url}/poll/c1`)).json()) as { stream: boolean }
      expect(answer.stream, 'a stream would be refused').to.equal(false)
    }
    for (const n of range(1, 15)) await publish(`c${n}`, 20)
    expect(pressure.level).to.equal('sustained')
    expect(levels).to.deep.equal(['pressed', 'sustained'])
    clock.advance(1000)
    const moved = clients.filter((client) => client !== healthy)
    await eventually(() => moved.some(({ closed }) => closed))
    expect(clients.filter(({ closed }) => closed)).to.have.length(2)
    const [first] = moved.filter(({ closed }) => closed)
    const { url, afterMs, reason } = JSON.parse(first?.events.find(({ event }) => event === 'sse.poll')?.data ?? '{}')
    expect(reason).to.equal('overloaded')
    expect(afterMs).to.be.within(25, 75)
    expect(url).to.equal(`/poll/c1?until=${clock.wallTime() + 20_000}`)
    expect(first?.retry, 'for those that do not poll').to.be.within(10_000, 30_000)

    const poll = async (path: string) => {
      const answer = await fetch(`${server.url}${path}`)
      const { headers } = answer
      return {
        stream: ((await answer.json()) as { stream: boolean }).stream,
        pause: headers.get('x-stream-pause'),
        ms: headers.get('x-stream-pause-ms'),
      }
    }
    expect(await poll('/poll/c2')).to.deep.equal({ stream: false, pause: 'true', ms: '20000' })
    clock.advance(3000)
    expect(pressure.level).to.equal('none')
    expect(await poll('/poll/c2')).to.deep.equal({ stream: true, pause: null, ms: null })
    // A client with a later `until` is still paused.
    expect(await poll(url)).to.deep.equal({ stream: false, pause: 'true', ms: '17000' })
    clock.advance(17_000)
    expect((await poll(url)).stream).to.equal(true)
    expect(healthy.closed).to.equal(false)
  })

  it('moves only streams with a queue if the queues hold too much', async () => {
    await start({ maxQueuedBytes: 20_000, sustainMs: 3000 }, { pollUrl: '/poll/large' })
    const large = await open('/stream/large')
    for (const n of range(1, 15)) await open(`/free/quiet${n}`)
    for (let second = 0; second < 4; second++) {
      await publish('large', 30)
      clock.advance(1000)
    }
    await eventually(() => large.closed)
    expect(pressure.level).to.equal('sustained')
    clock.advance(1000)
    expect(multiplexer.inspect()).to.have.length(15)
  })

  it('also rises when the event loop is slow', async () => {
    await start({ maxLoopDelayMs: 40, sustainMs: 2000 })
    await open('/stream/no-polling-here')
    await open('/free/a')
    await open('/free/b')
    const second = async (busyMs: number): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, 150))
      const until = performance.now() + busyMs
      while (performance.now() < until);
      await new Promise((resolve) => setTimeout(resolve, 150))
      clock.advance(1000)
    }
    for (let n = 0; n < 3; n++) await second(300)
    expect(pressure.level).to.equal('sustained')
    expect(JSON.parse((await clients[1]?.control('sse.poll'))?.data ?? '')).to.include({ reason: 'overloaded' })
    expect(clients.map(({ closed }) => closed)).to.deep.equal([false, true, false])
  })

  it('ignores an invalid ?until, and rejects invalid options', async () => {
    await start({})
    for (const until of ['soon', '-5', '1e99', '']) {
      const answer = await fetch(`${server.url}/poll/a?until=${until}`)
      const paused = Number(answer.headers.get('x-stream-pause-ms'))
      expect(paused).to.equal(until === '1e99' ? pressure.pauseMs : 0)
    }
    for (const options of [{ pauseMs: 0 }, { sustainMs: 0 }, { maxQueuedBytes: -1 }, { maxLoopDelayMs: Number.NaN }]) {
      expect(() => createPressure(options))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    }
  })
})
