import { once } from 'node:events'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import { EventSource } from 'eventsource'
import express, { type Response } from 'express'
import { createEventBus } from '../../lib/client/bus.js'
import { createEventStream } from '../../lib/client/index.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'
import { openStream } from '../../lib/stream/open-stream.js'
import { createPressure } from '../../lib/stream/pressure.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { exceedQueuedBytes } from '../helpers/pressure.js'
import { SseClient } from '../helpers/sse-client.js'

describe('a completed stream', () => {
  let server: TestServer
  let runs: number
  let verdicts: unknown[]

  beforeEach(async () => {
    runs = 0
    verdicts = []
    const answer = (res: Response): void => {
      const stream = res.sse()
      if (stream.closeReason === undefined) runs++
      stream.signal.addEventListener('abort', () => verdicts.push(stream.closeReason))
      stream.send({ event: 'done', data: 'all of it', id: 'position-1' })
      void stream.close('completed')
    }
    const app = express().use(sseMiddleware({ retryMs: 10 }))
    app.get('/', (_req, res) => answer(res))
    server = await serve(app)
  })
  afterEach(() => server.stop())

  it('ends with sse.close, whose id a native client reconnects with', async () => {
    const client = await SseClient.open(server.url)
    await client.ended()
    expect(client.events.at(-1)).to.deep.equal({
      event: 'sse.close',
      data: '{"reason":"completed"}',
      id: 'sse.completed',
    })
    expect(client.events.map(({ event }) => event)).to.deep.equal(['sse.open', 'done', 'sse.close'])
  })

  for (const [where, path, headers] of [
    ['Last-Event-ID', '/', { 'last-event-id': 'sse.completed' }],
    ['?last_event_id=', '/?last_event_id=sse.completed', {}],
    ['?lastEventId=', '/?a=b&lastEventId=sse.completed', {}],
  ] as const) {
    it(`answers 204 to a client that reconnects with ${where}, and runs no route`, async () => {
      const client = await SseClient.open(`${server.url}${path}`, headers)
      await client.ended()
      expect(client.status).to.equal(204)
      expect(client.raw).to.equal('')
      await eventually(() => verdicts.length === 1)
      expect([runs, verdicts]).to.deep.equal([0, ['completed']])
    })
  }

  it('answers 204 on HTTP/2', async () => {
    const plain = createHttp2Server((req, res) => void openStream(req, res))
    plain.listen(0, '127.0.0.1')
    await once(plain, 'listening')
    const session = connectHttp2(`http://127.0.0.1:${(plain.address() as AddressInfo).port}`)
    const answer = session.request({ ':path': '/', 'last-event-id': 'sse.completed' })
    const [headers] = await once(answer, 'response')
    let body = ''
    for await (const chunk of answer) body += chunk
    session.close()
    plain.close()
    await once(plain, 'close')
    expect([headers[':status'], body]).to.deep.equal([204, ''])
  })

  it('runs again for a client with another position', async () => {
    const client = await SseClient.open(server.url, { 'last-event-id': 'sse.completed-1' })
    await client.ended()
    expect([client.status, runs]).to.deep.equal([200, 1])
  })

  it('stops a standard EventSource permanently after one run', async () => {
    const source = new EventSource(server.url)
    let connections = 0
    source.onopen = () => connections++
    await eventually(() => source.readyState === source.CLOSED)
    expect([runs, connections]).to.deep.equal([1, 1])
  })

  it("ends the kit's client without an error, at its own position, after one run", async () => {
    const stream = createEventStream(server.url, { retryMs: 10 })
    const types: string[] = []
    for await (const { type } of stream) types.push(type)
    expect(types).to.deep.equal(['sse.open', 'done', 'sse.close'])
    expect(stream.status).to.deep.equal({ state: 'closed', reason: 'completed' })
    expect([runs, stream.cursor]).to.deep.equal([1, 'position-1'])
    stream.reconnect()
    expect(stream.state).to.equal('closed')
  })

  it('is reported as completed by an event bus', async () => {
    const bus = createEventBus()
    const share = bus.stream(server.url)
    await eventually(() => share.state === 'closed')
    expect(share.status).to.deep.equal({ state: 'closed', reason: 'completed' })
    expect(bus.status(server.url)).to.deep.equal({ state: 'closed', reason: 'completed' })
    share.close()
  })

  it('is answered with 204 under pressure too', async () => {
    const pressure = createPressure({ maxQueuedBytes: 0, maxLoopDelayMs: 0, sustainMs: 3_600_000 })
    exceedQueuedBytes(pressure)
    const pressed = await serve(express().use(sseMiddleware({ pressure }), (_req, res) => void res.sse()))
    const client = await SseClient.open(pressed.url, { 'last-event-id': 'sse.completed' })
    await client.ended()
    expect(client.status).to.equal(204)
    const closing = once(pressed.server, 'close')
    pressed.server.close()
    await closing
  })
})
