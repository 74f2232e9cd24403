import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import Module from 'node:module'
import { expect } from 'chai'
import express from 'express'
import { Counter, type OpenMetricsContentType, Registry } from 'prom-client'
import { diagnostics } from '../../lib/core/diagnostics.js'
import { createPacing } from '../../lib/limits/pacing/pacing.js'
import { createStreamLimits } from '../../lib/limits/streams/stream-limits.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { createMetrics, type Metrics } from '../../lib/observe/metrics.js'
import { limitStreams } from '../../lib/routers/limit-streams.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'
import { eventually } from '../helpers/eventually.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'
import { serveChannels } from '../suites/multiplexer.js'
import { Scrape } from './scrape.js'

const codeOf = (call: () => unknown): string | undefined => {
  try {
    call()
  } catch (error) {
    return (error as { code?: string }).code
  }
  return undefined
}

describe('createMetrics', () => {
  let metrics: Metrics | undefined
  afterEach(() => metrics?.close())

  it('adds its metrics to the given register, next to those of the application', async () => {
    const register = new Registry()
    new Counter({ name: 'own_total', help: 'Own', registers: [register] }).inc(7)
    register.setDefaultLabels({ app: 'inbox' })
    metrics = createMetrics({ register })
    expect(metrics.register).to.equal(register)
    const scrape = new Scrape(await register.metrics())
    expect(scrape.value('own_total{app="inbox"}')).to.equal(7)
    expect(scrape.value('sse_streams_open{app="inbox"}')).to.equal(0)
    expect(scrape.value('sse_streams_closed_total{reason="max_age",app="inbox"}')).to.equal(0)
  })

  it('gives each metric a help text and the prefix', async () => {
    metrics = createMetrics({ prefix: 'acme_sse_' })
    const text = await metrics.register.metrics()
    const { types } = new Scrape(text)
    expect(types.size).to.be.above(30)
    for (const name of types.keys()) {
      expect(name).to.match(/^acme_sse_[a-z_]+$/)
      expect(text).to.match(new RegExp(`^# HELP ${name} \\S.{5,}$`, 'm'))
    }
    expect(codeOf(() => createMetrics({ prefix: 'a-b' }))).to.equal('ERR_SSE_OPTION_INVALID')
  })

  it('rejects a register that already has its metrics, and does not change the register', async () => {
    const register = new Registry()
    metrics = createMetrics({ register })
    const before = await register.metrics()
    const subscribers = diagnostics.streamOpen.hasSubscribers
    expect(codeOf(() => createMetrics({ register }))).to.equal('ERR_SSE_OPTION_INVALID')
    expect(await register.metrics()).to.equal(before)
    metrics.close()
    expect([subscribers, diagnostics.streamOpen.hasSubscribers]).to.deep.equal([true, false])
    const other = createMetrics({ register, prefix: 'other_' })
    metrics = createMetrics({ register })
    other.close()
    expect(await register.metrics()).to.equal(before)
  })

  it('removes its subscriptions and metrics when it closes, also if it is closed twice', async () => {
    const channels = Object.values(diagnostics)
    const open = channels.filter(({ hasSubscribers }) => hasSubscribers)
    expect(open.map(({ name }) => name)).to.deep.equal([])
    const register = new Registry()
    metrics = createMetrics({ register })
    expect(channels.filter(({ hasSubscribers }) => hasSubscribers)).to.have.length.above(15)
    const next = createMetrics({ register: new Registry() })
    metrics.close()
    metrics.close()
    next.close()
    expect(channels.filter(({ hasSubscribers }) => hasSubscribers)).to.deep.equal([])
    expect((await register.metrics()).trim()).to.equal('')
  })

  it('does not remove a later metric with the same name from the register', async () => {
    const register = new Registry()
    const first = createMetrics({ register })
    first.close()
    metrics = createMetrics({ register })
    first.close()
    expect(new Scrape(await register.metrics()).value('sse_streams_open')).to.equal(0)
  })

  it('throws an error with a code if prom-client is missing and no register is given', () => {
    // Node does not call `_resolveFilename` again for a module that was required from the same folder before.
    const loader = Module as unknown as { _load: (request: string, ...rest: unknown[]) => unknown }
    const load = loader._load
    loader._load = (request, ...rest) => {
      if (request === 'prom-client') throw new Error('Cannot find module')
      return load.call(loader, request, ...rest)
    }
    try {
      expect(codeOf(() => createMetrics())).to.equal('ERR_SSE_OPTION_INVALID')
      metrics = createMetrics({ register: new Registry() })
    } finally {
      loader._load = load
    }
  })

  it('keeps its counters when the register is reset, and supports OpenMetrics registers', async () => {
    const register = new Registry<OpenMetricsContentType>()
    register.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
    metrics = createMetrics({ register })
    diagnostics.storeError.publish({ operation: 'x', error: new Error('x') })
    register.resetMetrics()
    const text = await register.metrics()
    expect(text).to.include('# TYPE sse_errors counter\nsse_errors_total{source="stream"} 0\n')
    expect(text).to.include('sse_errors_total{source="store"} 1\n')
    expect(await register.metrics()).to.equal(text)
    metrics.close()
    expect(await register.metrics()).to.equal('\n# EOF\n')
  })

  it('counts the streams of all routes, including res.sse()', async () => {
    metrics = createMetrics()
    const app = express().use(sseMiddleware())
    app.get('/', (_req, res) => {
      res.sse().send({ data: 1 })
    })
    const server = await serve(app)
    const client = await SseClient.open(server.url, { 'last-event-id': 'mine' })
    await client.messagesUntil(1)
    const open = new Scrape(await metrics.register.metrics())
    expect(open.value('sse_streams_open')).to.equal(1)
    expect(open.value('sse_reconnects_total{cursor="header"}')).to.equal(1)
    expect(open.value('sse_events_delivered_total{via="stream"}')).to.equal(1)
    client.close()
    await eventually(async () => new Scrape((await metrics?.register.metrics()) ?? '').value('sse_streams_open') === 0)
    const closed = new Scrape(await metrics.register.metrics())
    expect(closed.value('sse_events_delivered_total{via="stream"}')).to.equal(1)
    expect(closed.value('sse_streams_closed_total{reason="client_gone"}')).to.equal(1)
    await server.stop()
  })

  it('does not look up client addresses, and lets subscribers do so', async () => {
    metrics = createMetrics()
    const limits = createStreamLimits()
    const addresses: (string | undefined)[] = []
    let lookedUp = 0
    const app = express().use((req, _res, next) => {
      req.auth = { user: 'ada', tenant: 'acme', expiresAt: Date.now() + 60_000, claims: {} }
      Object.defineProperty(req, 'ip', { get: () => `192.0.2.${++lookedUp}` })
      next()
    })
    app.get(
      '/',
      sseMiddleware(),
      limitStreams(limits),
      (_req, res) => void res.sse({ pacing: createPacing({ user: 'chat' }) }),
    )
    const server = await serve(app)
    const visit = async (): Promise<void> => {
      const client = await SseClient.open(server.url)
      client.close()
      await eventually(() => limits.size === 0)
    }
    const onMessage = (message: unknown): void => void addresses.push({ ...(message as { ip?: string }) }.ip)
    try {
      await visit()
      expect(lookedUp).to.equal(0)
      for (const { name } of [diagnostics.streamOpen, diagnostics.streamClose]) subscribe(name, onMessage)
      await visit()
      expect(addresses).to.deep.equal(['192.0.2.1', '192.0.2.2'])
    } finally {
      for (const { name } of [diagnostics.streamOpen, diagnostics.streamClose]) unsubscribe(name, onMessage)
      await server.stop()
      await limits.close()
    }
  })

  describe('of delays', () => {
    let clock: FakeClock
    let multiplexer: Multiplexer
    let server: TestServer
    const clients: SseClient[] = []

    beforeEach(async () => {
      clock = new FakeClock()
      multiplexer = createMultiplexer({ clock })
      server = await serveChannels(multiplexer)
      metrics = createMetrics({ multiplexer })
    })
    afterEach(async () => {
      for (const client of clients.splice(0)) client.close()
      await server.stop()
      void multiplexer.close()
    })

    it('observes a batch once, weighted by the number of streams that got it', async () => {
      for (let i = 0; i < 3; i++) clients.push(await SseClient.open(`${server.url}/?channel=a`))
      await eventually(() => multiplexer.status().streams === 3)
      const batches: { entries: readonly unknown[]; streams: number }[] = []
      const onDeliver = (message: unknown): void => void batches.push(message as (typeof batches)[number])
      subscribe(diagnostics.channelDeliver.name, onDeliver)
      const published = multiplexer.publishMany('a', [{ data: 1 }, { data: 2 }])
      // The batch is sent at the end of the tick.
      clock.advance(40)
      await published
      for (const client of clients) await client.messagesUntil(2)
      unsubscribe(diagnostics.channelDeliver.name, onDeliver)
      expect(batches.map(({ entries, streams }) => [entries.length, streams])).to.deep.equal([[2, 3]])
      const scrape = new Scrape((await metrics?.register.metrics()) ?? '')
      const live = (line: string): number => scrape.value(`sse_delivery_delay_seconds_${line}`)
      expect(live('count{path="live"}')).to.equal(6)
      expect(live('sum{path="live"}')).to.be.closeTo(6 * 0.04, 1e-9)
      expect(live('bucket{path="live",le="0.025"}')).to.equal(0)
      expect(live('bucket{path="live",le="0.05"}')).to.equal(6)
      expect(live('count{path="replay"}')).to.equal(0)
    })

    it('counts a token for each event of a batch, and no delay of events that wait in a queue', async () => {
      const pacing = createPacing({ stream: { capacity: 3, refillPerSecond: 1 } }, { clock })
      const app = express().get(
        '/',
        multiplexer.stream(() => 'a', { pacing }),
      )
      const paced = await serve(app)
      const client = await SseClient.open(paced.url)
      clients.push(client)
      await client.control('sse.open')
      await multiplexer.publishMany('a', [{ data: 1 }, { data: 2 }])
      await client.messagesUntil(2)
      for (const data of [3, 4]) await multiplexer.publish('a', { data, ephemeral: true })
      await client.messagesUntil(3)
      const scrape = new Scrape((await metrics?.register.metrics()) ?? '')
      expect(scrape.value('sse_tokens_consumed_total{cost="event"}')).to.equal(3)
      expect(scrape.value('sse_delivery_delay_seconds_count{path="live"}')).to.equal(3)
      expect(scrape.value('sse_queue_depth')).to.equal(1)
      await paced.stop()
    })

    it('distinguishes replayed events from live events', async () => {
      await multiplexer.publishMany('a', [{ data: 1 }, { data: 2 }])
      clock.advance(9000)
      const client = await SseClient.open(`${server.url}/?channel=a&from=earliest`)
      clients.push(client)
      await client.messagesUntil(2)
      const scrape = new Scrape((await metrics?.register.metrics()) ?? '')
      expect(scrape.value('sse_delivery_delay_seconds_count{path="live"}')).to.equal(0)
      expect(scrape.value('sse_delivery_delay_seconds_count{path="replay"}')).to.equal(2)
      expect(scrape.value('sse_delivery_delay_seconds_sum{path="replay"}')).to.be.closeTo(18, 1e-9)
      expect(scrape.value('sse_history_reads_total')).to.equal(1)
    })
  })
})
