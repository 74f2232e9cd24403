import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import { expect } from 'chai'
import express from 'express'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { StreamOptions } from '../../lib/stream/options.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { SseClient } from '../helpers/sse-client.js'

describe('a multiplexer that closes over a period', () => {
  let clock: FakeClock
  let multiplexer: Multiplexer
  let server: TestServer
  let clients: SseClient[]

  async function start(stream: StreamOptions = {}): Promise<void> {
    clock = new FakeClock()
    clients = []
    multiplexer = createMultiplexer({
      clock,
      lingerMs: 0,
      stream: { heartbeatMs: 0, maxAgeMs: 0, retryMs: 1000, closeGraceMs: 5000, ...stream },
    })
    server = await serve(
      express()
        .get(
          '/',
          multiplexer.stream(() => 'log'),
        )
        .get(
          '/poll',
          multiplexer.poll(() => 'log'),
        ),
    )
  }

  async function open(): Promise<SseClient> {
    const client = await SseClient.open(server.url)
    clients.push(client)
    await client.until(({ raw }) => raw !== '')
    return client
  }

  afterEach(async () => {
    for (const client of clients) client.close()
    await server.stop()
  })

  /** Advances the clock in steps, and lets pending I/O complete. */
  async function pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 50) {
      clock.advance(50)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  it('ends its streams evenly over the period, with different reconnection times, and delivers events', async () => {
    await start()
    for (let n = 0; n < 100; n++) await open()
    const closed = multiplexer.close({ windowMs: 10_000 })
    expect(multiplexer.close(), 'a second call').to.equal(closed)
    const left: number[] = []
    for (let second = 1; second <= 10; second++) {
      if (second <= 5) await multiplexer.publish('log', { data: second })
      await pass(1000)
      left.push(multiplexer.status().streams)
    }
    await closed
    expect(left).to.deep.equal(range(1, 10).map((second) => 100 - 10 * second))
    await Promise.all(clients.map((client) => client.ended()))
    const delays = clients.map(({ events }) => {
      const { reason, afterMs } = JSON.parse(events.at(-1)?.data ?? '{}')
      expect(reason).to.equal('shutdown')
      return afterMs
    })
    expect(Math.min(...delays)).to.be.within(500, 600)
    expect(Math.max(...delays)).to.be.within(1400, 1500)
    const last = clients.at(-1)?.messages.map(({ data }) => Number(data))
    expect(last, 'the stream that was open longest').to.deep.equal(range(1, 5))
    expect(clock.pending, 'timers left').to.equal(0)
  })

  it('refuses new streams meanwhile, answers polls immediately, and closes once there are no streams', async () => {
    await start()
    const client = await open()
    await open()
    const closed = multiplexer.close({ windowMs: 3_600_000 })
    const refused = await fetch(server.url)
    expect(refused.status).to.equal(503)
    expect(refused.headers.get('retry-after')).to.equal('1')
    expect((await refused.json()) as object).to.include({ code: 'ERR_SSE_CLOSED' })
    expect((await fetch(`${server.url}/poll?wait=20000`)).status).to.equal(200)
    client.close()
    for (const each of clients) each.close()
    while (multiplexer.status().streams > 0) await new Promise((resolve) => setImmediate(resolve))
    clock.advance(50)
    await closed
  })

  it('ends connections with their streams, so that no client reconnects to the closing process', async () => {
    await start({ keepRequest: true })
    // Otherwise the connection would be kept for the next request.
    server.server.keepAliveTimeout = 0
    const agent = new Agent({ keepAlive: true })
    const [response] = (await once(get(server.url, { agent }), 'response')) as [IncomingMessage]
    expect(response.headers.connection).to.equal('keep-alive')
    const ended = once(response.socket, 'close')
    void multiplexer.close()
    expect((await response.setEncoding('utf8').toArray()).join('')).to.contain('sse.reconnect')
    await ended
    agent.destroy()
  })

  it('refuses a native EventSource with a stream that ends, with refuseWith: stream', async () => {
    await start({ refuseWith: 'stream' })
    await open()
    const closed = multiplexer.close({ windowMs: 1000 })
    const refused = await open()
    expect(refused.status).to.equal(200)
    expect(JSON.parse((await refused.control('sse.reconnect')).data)).to.include({ reason: 'shutdown' })
    await refused.ended()
    await pass(1000)
    await closed
  })

  it('destroys the connection of a client that does not read, at the deadline', async () => {
    await start({ stallMs: 0 })
    const stalled = await open()
    stalled.pause()
    while (!multiplexer.inspect()[0]?.full) {
      await multiplexer.publishMany(
        'log',
        range(1, 100).map(() => ({ data: 'x'.repeat(5000) })),
      )
      await new Promise((resolve) => setImmediate(resolve))
    }
    const closed = multiplexer.close({ windowMs: 1000 })
    await pass(1000)
    expect(multiplexer.status().streams).to.equal(0)
    clock.advance(5000)
    await closed
    expect(clock.pending).to.equal(0)
  })
})
