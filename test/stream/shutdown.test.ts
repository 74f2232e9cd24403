import { once } from 'node:events'
import { expect } from 'chai'
import express from 'express'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import type { StreamOptions } from '../../lib/stream/options.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe('the shutdown of streams opened with res.sse()', () => {
  let server: TestServer
  let clients: SseClient[] = []

  afterEach(async () => {
    for (const client of clients) client.close()
    clients = []
    await server.stop()
  })

  async function start(options: StreamOptions = {}) {
    const sse = sseMiddleware({ heartbeatMs: 0, ...options })
    const streams: EventStream[] = []
    const app = express().use(sse)
    app.get('/', (_req, res) => void streams.push(res.sse()))
    app.use(
      (error: { status: number; code: string; headers: object }, _: unknown, res: express.Response, __: unknown) => {
        res.status(error.status).set(error.headers).json({ code: error.code })
      },
    )
    server = await serve(app)
    const open = async (): Promise<SseClient> => {
      const client = await SseClient.open(server.url)
      clients.push(client)
      return client
    }
    return { sse, streams, open }
  }

  it('closes each stream with sse.reconnect, and keeps no timer', async () => {
    const clock = new FakeClock()
    const { sse, streams, open } = await start({ clock })
    const two = [await open(), await open()]
    await Promise.all(two.map((client) => client.control('sse.open')))
    await sse.close()
    for (const client of two) {
      await client.ended()
      expect(JSON.parse((await client.control('sse.reconnect')).data).reason).to.equal('shutdown')
    }
    expect(streams.map(({ closeReason }) => closeReason)).to.deep.equal(['shutdown', 'shutdown'])
    expect(clock.pending, 'timers left').to.equal(0)
    await sse.close({ windowMs: 1000 })
  })

  it('refuses new streams with 503 and a code', async () => {
    const { sse, open } = await start()
    await sse.close()
    const refused = await open()
    await refused.ended()
    expect([refused.status, refused.headers['retry-after']]).to.deep.equal([503, '1'])
    expect(JSON.parse(refused.raw)).to.deep.equal({ code: 'ERR_SSE_CLOSED' })
  })

  it('refuses them with a stream that ends immediately if refuseWith is stream', async () => {
    const { sse, open } = await start({ refuseWith: 'stream' })
    await sse.close()
    const refused = await open()
    await refused.ended()
    expect(refused.status).to.equal(200)
    expect(JSON.parse((await refused.control('sse.reconnect')).data).reason).to.equal('shutdown')
  })

  it('spreads the closing of streams over the window', async () => {
    const clock = new FakeClock()
    const { sse, streams, open } = await start({ clock })
    for (let n = 0; n < 10; n++) await (await open()).control('sse.open')
    const end = sse.close({ windowMs: 1000 })
    const counts: number[] = []
    for (let n = 0; n < 20; n++) {
      counts.push(streams.filter(({ closeReason }) => closeReason === undefined).length)
      clock.advance(50)
      // `drain` awaits a promise between two steps.
      await new Promise(setImmediate)
    }
    expect(counts[0]).to.equal(10)
    expect(counts[10]).to.be.within(4, 6)
    await end
    expect(streams.every(({ closeReason }) => closeReason === 'shutdown')).to.equal(true)
  })

  it('takes no longer than the grace time if a client does not read', async () => {
    const clock = new FakeClock()
    const { sse, streams, open } = await start({ clock, closeGraceMs: 1000, maxEventBytes: 50_000_000 })
    const client = await open()
    await client.control('sse.open')
    client.pause()
    const [stream] = streams
    stream?.send({ data: 'x'.repeat(40_000_000) })
    const end = sse.close()
    if (!stream?.signal.aborted) await once((stream as EventStream).signal, 'abort')
    clock.advance(1000)
    await end
  })

  it('rejects an invalid window', async () => {
    const { sse } = await start()
    expect(() => sse.close({ windowMs: -1 }))
      .to.throw()
      .with.property('code', 'ERR_SSE_OPTION_INVALID')
  })
})
