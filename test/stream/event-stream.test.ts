import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { expect } from 'chai'
import compression from 'compression'
import express, { type Express } from 'express'
import express4 from 'express4'
import request from 'supertest'
import { InvalidEventError, InvalidOptionError } from '../../lib/core/errors.js'
import type { SendResult } from '../../lib/core/message.js'
import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import { openStream } from '../../lib/stream/open-stream.js'
import { createPressure } from '../../lib/stream/pressure.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe('res.sse()', () => {
  let server: TestServer
  let client: SseClient | undefined

  afterEach(async () => {
    client?.close()
    client = undefined
    await server.stop()
  })

  /** Serves one route, `/`, and returns its stream. */
  async function open(
    options: Parameters<typeof sseMiddleware>[0] = {},
    app: Express = express(),
    headers: Record<string, string> = {},
  ): Promise<{ stream: EventStream; client: SseClient }> {
    const opened = new Promise<EventStream>((resolve) => {
      app.use(sseMiddleware(options))
      app.get('/', (_req, res) => resolve(res.sse()))
    })
    server = await serve(app)
    client = await SseClient.open(server.url, headers)
    return { stream: await opened, client }
  }

  for (const reason of ['nonsense', '', 'constructor', null]) {
    it(`stays open if it is closed with ${JSON.stringify(reason)}, which is no reason`, async () => {
      const { stream, client } = await open()
      expect(() => stream.close(reason as never)).to.throw(
        InvalidOptionError,
        'close() needs one of the reasons client_gone',
      )
      expect(stream.send({ data: 1 })).to.equal('sent')
      await client.messagesUntil(1)
      expect(stream.closeReason).to.equal(undefined)
    })
  }

  it('refuses a comment that is not a string, and an event that its id makes too large', async () => {
    const { stream } = await open({ maxEventBytes: 100 })
    expect(() => stream.comment(1 as never))
      .to.throw(InvalidEventError)
      .with.property('code', 'ERR_SSE_EVENT_INVALID')
    const send = () => stream.send({ data: 1, id: 'x'.repeat(100) })
    expect(send).to.throw(InvalidEventError).with.property('code', 'ERR_SSE_EVENT_TOO_LARGE')
  })

  for (const [name, framework] of [
    ['Express 5', express],
    ['Express 4', express4],
  ] as const) {
    it(`opens a stream with ${name}: the headers of the format, then retry and sse.open`, async () => {
      const { stream, client } = await open({}, framework())
      await client.control('sse.open')
      expect(client.status).to.equal(200)
      expect(client.headers['content-type']).to.equal('text/event-stream')
      expect(client.headers['cache-control']).to.equal('private, no-store, no-transform')
      expect(client.headers['x-accel-buffering']).to.equal('no')
      expect(client.headers.connection, 'as the client requested').to.equal('close')
      expect(client.raw).to.match(/^retry: 3000\nevent: sse\.open\ndata: \{/)
      expect(JSON.parse(client.events[0]?.data ?? '')).to.deep.equal({ stream: stream.id, heartbeatMs: 25_000 })
    })
  }

  it('sends events in the order of the calls, and returns that they were sent', async () => {
    const { stream, client } = await open()
    expect(stream.send({ event: 'tick', data: { n: 1 }, id: 'a-1' })).to.equal('sent')
    expect(stream.send({ data: 'two\nlines' })).to.equal('sent')
    expect(stream.comment('hello\nthere')).to.equal('sent')
    await client.messagesUntil(2)
    expect(client.messages).to.deep.equal([
      { event: 'tick', data: '{"n":1}', id: 'a-1' },
      { event: undefined, data: 'two\nlines', id: undefined },
    ])
    await client.until(({ comments }) => comments.length === 2)
    expect(client.comments).to.deep.equal(['hello', 'there'])
  })

  it('rejects an event that would break the format, and stays open', async () => {
    const { stream, client } = await open()
    for (const event of [
      { data: 1, event: 'a\ndata: b' },
      { data: 1, event: 'a\rb' },
      { data: 1, id: 'a\u0000' },
      { data: 1, event: 'sse.open' },
      { data: undefined },
      { data: 1n },
      { data: 1, retry: -1 },
      { data: 1, retry: 1.5 },
    ]) {
      expect(() => stream.send(event as never), JSON.stringify(Object.keys(event)))
        .to.throw()
        .with.property('code', 'ERR_SSE_EVENT_INVALID')
    }
    expect(() => stream.send({ data: 'x'.repeat(1_048_577) }))
      .to.throw()
      .with.property('code', 'ERR_SSE_EVENT_TOO_LARGE')
    stream.send({ data: 'fine' })
    await client.messagesUntil(1)
    expect(client.messages).to.have.length(1)
  })

  it('sends heartbeats as comments at the given interval, and as events with heartbeatEvents', async () => {
    const clock = new FakeClock()
    const { client } = await open({ clock, heartbeatMs: 25_000 })
    clock.advance(25_000)
    clock.advance(25_000)
    await client.until(({ raw }) => raw.endsWith(':\n\n:\n\n'))
    client.close()
    await server.stop()

    const second = await open({ clock, heartbeatMs: 1000, heartbeatEvents: true })
    clock.advance(1000)
    expect((await second.client.control('sse.heartbeat')).id).to.equal(undefined)
  })

  it('ends at its maximum age, after sse.reconnect', async () => {
    const clock = new FakeClock()
    const { stream, client } = await open({ clock, maxAgeMs: 60_000, retryMs: 1000 })
    clock.advance(53_000)
    expect(stream.closeReason).to.equal(undefined)
    clock.advance(7000)
    expect(stream.closeReason).to.equal('max_age')
    await client.ended()
    const { event, data } = client.events.at(-1) ?? {}
    expect(event).to.equal('sse.reconnect')
    const { reason, afterMs } = JSON.parse(data ?? '')
    expect(reason).to.equal('max_age')
    expect(afterMs).to.be.within(500, 1500)
    expect(client.retry).to.equal(afterMs)
    expect(clock.pending, 'timers left').to.equal(0)
  })

  it('keeps a stream open beyond 2³¹ ms if the options allow it', async () => {
    const clock = new FakeClock()
    const { stream } = await open({ clock, maxAgeMs: 2 ** 33, heartbeatMs: 0 })
    clock.advance(2 ** 32)
    expect(stream.closeReason).to.equal(undefined)
  })

  it('aborts its signal once when the client disconnects, and returns "closed" from then on', async () => {
    const { stream, client } = await open()
    const reasons: unknown[] = []
    stream.signal.addEventListener('abort', () => reasons.push(stream.signal.reason))
    const aborted = once(stream.signal, 'abort')
    client.close()
    await aborted
    await stream.close()
    expect(reasons).to.deep.equal(['client_gone'])
    expect(stream.send({ data: 1 })).to.equal('closed')
  })

  it('closes once for any number of calls, which all wait for the same end', async () => {
    const { stream, client } = await open()
    await Promise.all([stream.close(), stream.close('error'), stream.close()])
    await client.ended()
    expect(stream.closeReason).to.equal('ended')
    expect(client.events.filter(({ event }) => event === 'sse.reconnect')).to.have.length(1)
    await stream.close()
  })

  it('runs listeners of its signal outside the async context of the call that closes it', async () => {
    const storage = new AsyncLocalStorage<string>()
    const seen: unknown[] = []
    const clock = new FakeClock()
    const app = express()
    app.use((_req, _res, next) => storage.run('its own', next))
    const { stream } = await open({ clock }, app)
    stream.signal.addEventListener('abort', () => seen.push(storage.getStore()))
    storage.run('of another request', () => void stream.close('revoked'))
    storage.run('of another request', () => stream.signal.addEventListener('abort', () => seen.push('again')))
    expect(seen).to.deep.equal([undefined])
  })

  it('answers HEAD with only the headers, and lets the route clean up', async () => {
    const app = express()
    app.use(sseMiddleware())
    const aborted = new Promise<SendResult>((resolve) => {
      app.get('/', (_req, res) => {
        const stream = res.sse()
        const verdict = stream.send({ data: 1 })
        stream.signal.addEventListener('abort', () => resolve(verdict))
      })
    })
    server = await serve(app)
    const answer = await request(server.url).head('/').expect(200).expect('content-type', 'text/event-stream')
    expect(answer.text).to.equal(undefined)
    expect(await aborted).to.equal('closed')
  })

  it('opens on POST, and refuses other methods with 405 and a code', async () => {
    const app = express()
    app.use(sseMiddleware())
    app.all('/', (_req, res) => void res.sse().close())
    app.use(
      (
        error: { status: number; code: string; headers: object },
        _req: unknown,
        res: express.Response,
        _next: unknown,
      ) => {
        res.status(error.status).set(error.headers).json({ code: error.code })
      },
    )
    server = await serve(app)
    await request(server.url).post('/').expect(200)
    const refused = await request(server.url).put('/').expect(405).expect('allow', 'GET, HEAD, POST')
    expect(refused.body.code).to.equal('ERR_SSE_METHOD_NOT_ALLOWED')
  })

  it('refuses to open a stream if the response has started', async () => {
    const app = express()
    app.use(sseMiddleware())
    const codes: unknown[] = []
    app.get('/', (_req, res) => {
      res.sse()
      try {
        res.sse()
      } catch (error) {
        codes.push((error as { code: string }).code)
      }
    })
    server = await serve(app)
    client = await SseClient.open(server.url)
    expect(codes).to.deep.equal(['ERR_SSE_HEADERS_SENT'])
  })

  it('reaches the client immediately with compressing middleware, which does not compress it', async () => {
    const app = express()
    app.use(compression({ threshold: 0 }))
    const { stream, client } = await open({}, app, { 'accept-encoding': 'gzip' })
    stream.send({ data: 'through' })
    await client.messagesUntil(1)
    expect(client.headers['content-encoding']).to.equal(undefined)
  })

  it('reaches the client through a wrapper that buffers until flush, heartbeats included', async () => {
    const app = express()
    app.use((_req, res, next) => {
      const write = res.write.bind(res) as (chunk: Buffer) => boolean
      let held: Buffer[] = []
      res.write = ((chunk: Buffer) => {
        held.push(chunk)
        return true
      }) as typeof res.write
      Object.assign(res, {
        flush: () => {
          for (const chunk of held) write(chunk)
          held = []
        },
      })
      next()
    })
    const clock = new FakeClock()
    const { stream, client } = await open({ clock }, app)
    stream.send({ data: 'through' })
    await client.messagesUntil(1)
    clock.advance(25_000)
    await client.until(({ raw }) => raw.endsWith(':\n\n'))
  })

  it('uses HTTP/1.0 without chunks and without keep-alive', async () => {
    const app = express()
    app.use(sseMiddleware())
    app.get('/', (_req, res) => {
      const stream = res.sse()
      stream.send({ data: 'ten' })
      void stream.close()
    })
    server = await serve(app)
    const socket = connect((server.server.address() as AddressInfo).port, '127.0.0.1')
    socket.write('GET / HTTP/1.0\r\n\r\n')
    let answer = ''
    for await (const chunk of socket) answer += chunk
    const [head = '', body = ''] = answer.split(/\r\n\r\n(.*)/s)
    expect(head).to.match(/^HTTP\/1\.[01] 200/)
    expect(head.toLowerCase()).to.include('connection: close').and.not.include('chunked')
    expect(body)
      .to.match(/^retry: 3000\n/)
      .and.include('\n\ndata: ten\n\n')
  })

  it('rejects invalid options when they are given', () => {
    server = { url: '', server: undefined as never, stop: async () => undefined }
    for (const options of [
      { heartbeatMs: -1 },
      { maxAgeMs: Number.NaN },
      { queueEvents: 1.5 },
      { expiresAt: -5 },
      { queuePolicy: 'drop-all' as never },
      { pollUrl: '' },
      { pollUrl: 7 as never },
    ]) {
      expect(() => sseMiddleware(options))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    }
  })
})

describe('the options of a stream', () => {
  it('names the new option if a former one is given', () => {
    expect(() => sseMiddleware({ backlog: 'replay' } as never)).to.throw(InvalidOptionError, 'queuePolicy')
    expect(() => createPressure({ maxBacklogBytes: 1 } as never)).to.throw(InvalidOptionError, 'maxQueuedBytes')
  })

  it('accept only a pressure that this copy of the package has made', async () => {
    const copy = '../../lib/stream/pressure.js?second-copy'
    const second: { createPressure: typeof createPressure } = await import(copy)
    const plainObject = { level: 'none', pauseMs: 1000, pauseLeftMs: 0, queuedBytes: 0 } as const
    for (const pressure of [second.createPressure(), plainObject]) {
      for (const use of [() => sseMiddleware({ pressure }), () => createMultiplexer({ stream: { pressure } })]) {
        expect(use).to.throw(
          InvalidOptionError,
          /^pressure must be an object returned by createPressure\(\).*two copies/,
        )
      }
    }
    expect(() => sseMiddleware({ pressure: null as never })).to.throw(InvalidOptionError, 'createPressure()')
  })
})

describe('openStream', () => {
  it('works without Express and on HTTP/2, without a Connection header', async () => {
    const server = createHttp2Server()
    server.on('request', (req, res) => {
      const stream = openStream(req, res)
      stream.send({ data: 'two' })
      void stream.close()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const answer = session.request({ ':path': '/' })
    const [headers] = await once(answer, 'response')
    let body = ''
    for await (const chunk of answer) body += chunk
    session.close()
    server.close()
    await once(server, 'close')
    expect(headers[':status']).to.equal(200)
    expect(headers['content-type']).to.equal('text/event-stream')
    expect(headers).to.not.have.property('connection')
    expect(body)
      .to.match(/^retry: 3000\n/)
      .and.include('data: two\n\n')
  })

  it('ends when the token expires, with sse.expired', async () => {
    const clock = new FakeClock()
    const server = await serve((req, res) => {
      const auth = { user: 'u', tenant: 't', expiresAt: clock.wallTime() + 5000, claims: {} }
      openStream(Object.assign(req, { auth }), res, { clock })
    })
    const client = await SseClient.open(server.url)
    await client.control('sse.open')
    clock.advance(5000)
    await client.ended()
    const names = client.events.map(({ event }) => event)
    expect(names).to.deep.equal(['sse.open', 'sse.expired', 'sse.reconnect'])
    expect(JSON.parse(client.events.at(-1)?.data ?? '').reason).to.equal('expired')
    await server.stop()
  })
})
