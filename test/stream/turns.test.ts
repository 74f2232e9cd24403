import { expect } from 'chai'
import express from 'express'
import type { Broker } from '../../lib/broker/broker.js'
import { MemoryBroker } from '../../lib/broker/memory.js'
import type { Clock } from '../../lib/core/clock.js'
import { createPacing } from '../../lib/limits/pacing/pacing.js'
import { createMultiplexer, type Multiplexer, ProcessMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe('the queue of a stream and its log', () => {
  for (const busy of ['queue', 'log'] as const) {
    it(`take turns: a ${busy} that is never empty does not delay the other`, async () => {
      const clock = new FakeClock()
      const pacing = createPacing({ stream: { capacity: 1, refillPerSecond: 1 } }, { clock })
      const multiplexer = createMultiplexer({
        clock,
        stream: { heartbeatMs: 0, maxAgeMs: 0, stallMs: 0, queueTtlMs: 3_600_000, pacing },
      })
      const server = await serveLog(multiplexer)
      const client = await SseClient.open(server.url)
      await client.control('sse.open')
      const publish = (event: 'queue' | 'log') =>
        multiplexer.publish('log', { event, data: 1, ephemeral: event === 'queue' })
      for (let i = 0; i < 20; i++) await publish(busy)
      await publish(busy === 'queue' ? 'log' : 'queue')
      for (let second = 1; second <= 6; second++) {
        await publish(busy)
        await new Promise(setImmediate)
        clock.advance(1000)
        await client.messagesUntil(second + 1)
      }
      const other = client.messages.filter(({ event }) => event !== busy)
      client.close()
      await multiplexer.close()
      await server.stop()
      expect(other).to.have.length(1)
    })
  }

  /** Streams of the channel `log`. */
  function serveLog(multiplexer: Multiplexer): ReturnType<typeof serve> {
    return serve(
      express().get(
        '/',
        multiplexer.stream(() => 'log'),
      ),
    )
  }

  /** A client that lags on a log that is read page by page, at a pace slower than pages are kept. */
  async function behind(broker: Broker, clock: FakeClock) {
    const pacing = createPacing({ stream: { capacity: 1, refillPerSecond: 0.1 } }, { clock })
    const options = { clock, stream: { heartbeatMs: 0, maxAgeMs: 0, stallMs: 0, queueTtlMs: 3_600_000, pacing } }
    const multiplexer = new ProcessMultiplexer(broker, options, clock)
    const server = await serveLog(multiplexer)
    const cursor = await multiplexer.cursor('log')
    // These are in no tail: the channel had no stream when they were published.
    for (let i = 1; i <= 20; i++) await multiplexer.publish('log', { event: 'log', data: i })
    const client = await SseClient.open(server.url, { 'last-event-id': cursor })
    await client.control('sse.open')
    const send = (): unknown => multiplexer.publish('log', { event: 'queue', data: 1, ephemeral: true })
    const count = (type: string): number => client.messages.filter(({ event }) => event === type).length
    const stop = async (): Promise<void> => {
      client.close()
      await multiplexer.close()
      await server.stop()
    }
    return { client, send, count, pacing, stop }
  }

  const brokers = {
    'at once': (clock: Clock) => new MemoryBroker({}, clock),
    late: (clock: Clock) => new LateBroker(clock),
  }
  for (const [answers, createBroker] of Object.entries(brokers)) {
    it(`take turns also if each turn of the log needs a page, and the broker answers ${answers}`, async () => {
      const clock = new FakeClock()
      const { client, send, count, stop } = await behind(createBroker(clock), clock)
      for (let i = 0; i < 20; i++) await send()
      await client.messagesUntil(1)
      for (let sent = 1; sent < 16; sent++) {
        await send()
        // The broker answers all reads before there is credit again.
        for (let turns = 0; turns < 5; turns++) await nextTurn()
        // Longer than the process keeps a page.
        clock.advance(10_000)
        await client.messagesUntil(sent + 1)
      }
      const counts = { log: count('log'), queue: count('queue') }
      await stop()
      expect(counts.log, 'of the log').to.be.at.least(4)
      expect(counts.queue, 'of the queue').to.be.at.least(4)
    })
  }

  it('do not wait for the next page of a log whose last page was used', async () => {
    const clock = new FakeClock()
    const { client, send, count, pacing, stop } = await behind(new LateBroker(clock, 1), clock)
    await client.messagesUntil(1)
    expect(count('log')).to.equal(1)
    for (let i = 0; i < 5; i++) await send()
    // The page is not kept any more, and the next one never arrives.
    clock.advance(10_000)
    await client.messagesUntil(2)
    pacing.configure({ stream: { capacity: 1, refillPerSecond: 1 } })
    for (let sent = 2; sent < 5; sent++) {
      clock.advance(1000)
      await client.messagesUntil(sent + 1)
    }
    await stop()
  })

  it('take turns also if each write fills the socket', async () => {
    const clock = new FakeClock()
    const multiplexer = createMultiplexer({
      clock,
      tailEntries: 10_000,
      tailBytes: 1e9,
      stream: { heartbeatMs: 0, maxAgeMs: 0, stallMs: 0 },
    })
    const server = await serveLog(multiplexer)
    const client = await SseClient.open(server.url)
    await client.control('sse.open')
    client.pause()
    const lag = (): number => multiplexer.inspect()[0]?.lag ?? 0
    while (lag() < 100) {
      await multiplexer.publish('log', { event: 'log', data: 'x'.repeat(100_000) })
      await nextTurn()
    }
    for (let n = 1; n <= 3; n++) await multiplexer.publish('log', { event: 'queue', data: n, ephemeral: true })
    client.resume()
    const isLast = ({ event, data }: { event?: string | undefined; data: string }) => event === 'queue' && data === '3'
    await client.until(({ messages }) => messages.some(isLast))
    await client.until(({ messages }) => messages.length - messages.findIndex(isLast) > 50)
    client.close()
    await multiplexer.close()
    await server.stop()
  })

  it('do not wait forever: if the broker stops answering, the queue is sent', async () => {
    const clock = new FakeClock()
    const { client, send, stop } = await behind(new LateBroker(clock, 1), clock)
    for (let i = 0; i < 20; i++) await send()
    await client.messagesUntil(1)
    for (let sent = 1; sent < 6; sent++) {
      clock.advance(10_000)
      await client.messagesUntil(sent + 1)
    }
    await stop()
  })
})

/** An embedded broker whose pages arrive after all other pending work, and after a number of pages never. */
class LateBroker extends MemoryBroker {
  #pages: number

  constructor(clock: Clock, pages = Number.POSITIVE_INFINITY) {
    super({}, clock)
    this.#pages = pages
  }

  override async read(...args: Parameters<MemoryBroker['read']>): ReturnType<MemoryBroker['read']> {
    for (let turns = 0; turns < 3; turns++) await nextTurn()
    return this.#pages-- > 0 ? super.read(...args) : new Promise(() => undefined)
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
