import { createHmac } from 'node:crypto'
import * as api from '@opentelemetry/api'
import { AlwaysOffSampler } from '@opentelemetry/sdk-trace-base'
import { expect } from 'chai'
import express, { type RequestHandler } from 'express'
import { Redis } from 'ioredis'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { MultiplexerOptions } from '../../lib/multiplexer/options.js'
import { createTracing, type TracingOptions } from '../../lib/observe/tracing.js'
import { webhooks } from '../../lib/routers/webhooks/webhooks.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { RedisServer } from '../helpers/redis-server.js'
import { SseClient } from '../helpers/sse-client.js'
import { whatsAppPayload, whatsAppText } from '../routers/webhooks/payloads.js'
import { followContexts, TestTracer, tracerOf } from './tracers.js'

const SECRET = 'an app secret'

describe('tracing', () => {
  const cleanUps: (() => unknown)[] = []
  let redis: RedisServer

  before(async () => {
    redis = await RedisServer.start()
    followContexts()
  })
  after(async () => {
    api.context.disable()
    await redis.stop()
  })
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
  })

  function multiplex(tracing: Partial<TracingOptions> | undefined, options: MultiplexerOptions = {}): Multiplexer {
    const traced = tracing === undefined ? {} : { tracing: createTracing({ api, ...tracing }) }
    const multiplexer = createMultiplexer({ ...options, ...traced })
    cleanUps.push(() => multiplexer.close())
    return multiplexer
  }

  /** Serves streams on the channel `inbox` and acknowledgements, after the given middleware. */
  async function serveInbox(multiplexer: Multiplexer, ...first: RequestHandler[]): Promise<TestServer> {
    const app = express().use(...first, (_req, _res, next) => next())
    app.get(
      '/',
      multiplexer.stream(() => 'inbox'),
    )
    app.post('/ack', multiplexer.ack())
    const server = await serve(app)
    cleanUps.push(() => server.stop())
    return server
  }

  async function open(server: TestServer): Promise<SseClient> {
    const client = await SseClient.open(server.url)
    cleanUps.push(() => client.close())
    await client.control('sse.open')
    return client
  }

  async function acknowledge(client: SseClient, server: TestServer): Promise<number> {
    const { stream } = JSON.parse((await client.control('sse.open')).data)
    const body = JSON.stringify({ stream, cursor: client.lastEventId, latencyMs: 12 })
    return (await fetch(`${server.url}/ack`, { method: 'POST', body })).status
  }

  it('is one connected trace from webhook to acknowledgement, over two processes on one Redis', async () => {
    const [here, there] = [new TestTracer(), new TestTracer()]
    const publishing = multiplex(here, { redis: redis.url })
    const streaming = multiplex(there, { redis: redis.url })
    // Stands for an instrumentation of HTTP.
    const instrumented: RequestHandler = (_req, res, next) => {
      const span = here.tracer.startSpan('POST /whatsapp')
      res.on('finish', () => span.end())
      api.context.with(api.trace.setSpan(api.context.active(), span), next)
    }
    const router = webhooks({
      secrets: SECRET,
      verifyToken: 'v',
      onMessage: async ({ text }) => {
        await publishing.publish('inbox', { event: 'message', data: text })
      },
    })
    const webhookServer = await serveInbox(publishing, instrumented, router)
    const streamServer = await serveInbox(streaming)
    const client = await open(streamServer)

    const body = JSON.stringify(whatsAppPayload([whatsAppText('wamid.1', 'Hello')]))
    const signature = createHmac('sha256', SECRET).update(body).digest('hex')
    const headers = { 'X-Hub-Signature-256': `sha256=${signature}` }
    const delivered = await fetch(`${webhookServer.url}/whatsapp`, { method: 'POST', headers, body })
    expect(await delivered.json()).to.deep.equal({ received: 1 })
    await client.messagesUntil(1)
    // To the process without this stream, which forwards the acknowledgement.
    expect(await acknowledge(client, webhookServer)).to.equal(202)
    await eventually(() => there.named('sse ack').length === 1)

    const [webhook] = here.named('POST /whatsapp')
    const [publish] = here.named('sse publish')
    const [deliver] = there.named('sse deliver')
    const [ack] = there.named('sse ack')
    const traceIds = [webhook, publish, deliver, ack].map((span) => span?.spanContext().traceId)
    expect(traceIds).to.deep.equal(Array(4).fill(webhook?.spanContext().traceId))
    expect(publish?.parentSpanContext?.spanId).to.equal(webhook?.spanContext().spanId)
    expect(deliver?.parentSpanContext?.spanId).to.equal(publish?.spanContext().spanId)
    expect(ack?.parentSpanContext?.spanId).to.equal(publish?.spanContext().spanId)
    expect(publish?.kind).to.equal(api.SpanKind.PRODUCER)
    expect([deliver?.kind, ack?.kind]).to.deep.equal([api.SpanKind.CONSUMER, api.SpanKind.CONSUMER])
    expect(deliver?.attributes).to.include({ 'messaging.destination.name': 'inbox', 'sse.streams': 1 })
    expect(ack?.attributes).to.include({ 'messaging.operation.name': 'ack', 'sse.client.latency_ms': 12 })
    expect(client.closed, 'the stream stays open without an open span').to.equal(false)
    expect([here.open, there.open]).to.deep.equal([0, 0])
    expect(there.spans).to.have.length(2)
  })

  it('adds nothing to events that are not sampled or not traced', async () => {
    const raw = new Redis(redis.url)
    cleanUps.push(() => raw.disconnect())
    const payloadOf = async (channel: string): Promise<string> => {
      const [, entry] = (await raw.xrevrange(`sse:{${channel}}:s`, '+', '-', 'COUNT', 1))[0] ?? []
      return String(entry?.[1]).replace(/@\w+/, '@')
    }
    const tracers = [undefined, {}, new TestTracer(new AlwaysOffSampler()), new TestTracer()]
    const payloads: string[] = []
    for (const [i, tracer] of tracers.entries()) {
      await multiplex(tracer, { redis: redis.url }).publish(`bytes${i}`, { data: 1 })
      payloads.push(await payloadOf(`bytes${i}`))
    }
    const plain = '@;9 n 0 \ndata: 1\n\n'
    expect(payloads.slice(0, 3)).to.deep.equal([plain, plain, plain])
    expect(payloads[3]).to.match(/^@;9 n 0 {2}[0-9a-f]{32}-[0-9a-f]{16}\ndata: 1\n\n$/)
  })

  it('creates one span per batch for any number of streams, with a bounded number of links', async () => {
    const tracer = new TestTracer()
    const multiplexer = multiplex(tracer)
    const server = await serveInbox(multiplexer)
    const clients = [await open(server), await open(server), await open(server)]
    await Promise.all(range(1, 20).map((data) => multiplexer.publish('inbox', { data })))
    for (const client of clients) await client.messagesUntil(20)
    const published = tracer.named('sse publish').map((span) => span.spanContext())
    const [deliver, ...others] = tracer.named('sse deliver')
    expect(others).to.deep.equal([])
    expect(deliver?.attributes).to.include({ 'messaging.batch.message_count': 20, 'sse.streams': 3 })
    const traced = [deliver?.parentSpanContext, ...(deliver?.links ?? []).map(({ context }) => context)]
    expect(traced.map((context) => context?.spanId)).to.deep.equal(published.slice(0, 9).map(({ spanId }) => spanId))
  })

  it('traces ephemeral events, publishes of several events as one span, and failed publishes', async () => {
    const tracer = new TestTracer()
    const multiplexer = multiplex(tracer)
    const client = await open(await serveInbox(multiplexer))
    await multiplexer.publish('inbox', { data: 'typing', ephemeral: true })
    await multiplexer.publishMany('inbox', [{ data: 1 }, { data: 2 }])
    await client.messagesUntil(3)
    await multiplexer.close()
    expect(multiplexer.offer('inbox', { data: 3 })).to.equal(false)
    const failure = await multiplexer.publish('inbox', { data: 3 }).catch(({ code }) => code)
    expect(failure).to.equal('ERR_SSE_CLOSED')
    const spans = tracer.named('sse publish')
    expect(spans.map(({ status }) => status.code)).to.deep.equal([0, 0, 2, 2])
    expect(spans.map(({ attributes }) => attributes['messaging.batch.message_count'])).to.deep.equal([1, 2, 1, 1])
    const delivered = tracer.named('sse deliver')
    expect(delivered.map((span) => span.parentSpanContext?.spanId)).to.deep.equal(
      spans.slice(0, 2).map((span) => span.spanContext().spanId),
    )
    expect(delivered[1]?.links).to.deep.equal([])
  })

  it('creates one span per acknowledgement, and links it to its request', async () => {
    const tracer = new TestTracer()
    const multiplexer = multiplex(tracer)
    const request = tracer.tracer.startSpan('POST /ack')
    const server = await serveInbox(multiplexer, (_req, _res, next) => {
      api.context.with(api.trace.setSpan(api.context.active(), request), next)
    })
    const client = await open(server)
    await multiplexer.publishMany('inbox', [{ data: 1 }, { data: 2 }])
    await client.messagesUntil(2)
    for (const _ of range(1, 3)) expect(await acknowledge(client, server)).to.equal(204)
    const acks = tracer.named('sse ack')
    expect(acks).to.have.length(1)
    expect(acks[0]?.links.map(({ context }) => context.spanId)).to.deep.equal([request.spanContext().spanId])
  })

  it('ignores foreign trace contexts', async () => {
    const tracer = new TestTracer()
    const multiplexer = multiplex(tracer, { redis: redis.url })
    const client = await open(await serveInbox(multiplexer))
    const raw = new Redis(redis.url)
    cleanUps.push(() => raw.disconnect())
    await raw.publish('sse:{inbox}', '- 1\n~9 n 0  junk-1;~9 n 0  <script>-0\ndata: 1\n\ndata: 2\n\n')
    await client.messagesUntil(2)
    expect(tracer.spans).to.deep.equal([])
  })

  it('requires the api, and does nothing without a provider', async () => {
    expect(() => createTracing({ api: {} as never }))
      .to.throw('api')
      .with.property('code', 'ERR_SSE_OPTION_INVALID')
    const multiplexer = multiplex({})
    const client = await open(await serveInbox(multiplexer))
    await multiplexer.publish('inbox', { data: 1 })
    await client.messagesUntil(1)
  })

  describe('with a failing tracer', () => {
    const real = new TestTracer().tracer
    const fail = (): never => {
      throw new Error('tracing is broken')
    }
    const broken: Record<string, TracingOptions['tracer'] & object> = {
      'an exporter that throws': tracerOf({ export: fail, shutdown: async () => undefined }),
      'an exporter that never answers': tracerOf({ export: () => undefined, shutdown: async () => undefined }),
      'a tracer that throws': { startSpan: fail },
      'a tracer that gives no span': { startSpan: () => undefined as never },
      'a span that cannot end': {
        startSpan: (...given) => Object.assign(real.startSpan(...(given as [string])), { end: fail }),
      },
      'a context that breaks the line': {
        startSpan: (...given) => {
          const span = real.startSpan(...(given as [string]))
          return Object.assign(span, { spanContext: () => ({ traceId: 'a;b\n', spanId: ' ', traceFlags: 1 }) })
        },
      },
    }

    for (const [name, tracer] of Object.entries(broken)) {
      it(`does not affect streams: ${name}`, async () => {
        const warnings: string[] = []
        const onWarning = (warning: Error & { code?: string }): void => {
          if (warning.code === 'SSE_TRACING') warnings.push(warning.message)
        }
        process.on('warning', onWarning)
        cleanUps.push(() => process.off('warning', onWarning))
        const multiplexer = multiplex({ tracer }, { redis: redis.url })
        const server = await serveInbox(multiplexer)
        const client = await open(server)
        await Promise.all(range(1, 10).map((data) => multiplexer.publish('inbox', { data })))
        expect(multiplexer.offer('inbox', { data: 11 })).to.equal(true)
        await client.messagesUntil(11)
        expect(client.messages.map(({ data }) => Number(data))).to.deep.equal(range(1, 11))
        expect(await acknowledge(client, server)).to.equal(204)
        expect(client.closed).to.equal(false)
        await new Promise((resolve) => setImmediate(resolve))
        const silent = name.includes('exporter') || name.includes('context')
        const reason = name.includes('no span')
          ? "Cannot read properties of undefined (reading 'spanContext')"
          : 'tracing is broken'
        expect(warnings).to.deep.equal(silent ? [] : [`Tracing failed; events are published without traces: ${reason}`])
      })
    }
  })
})
