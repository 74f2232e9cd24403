import { expect } from 'chai'
import express from 'express'
import { diagnostics } from '../../lib/core/diagnostics.js'
import type { SendResult } from '../../lib/core/message.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import type { StreamOptions } from '../../lib/stream/options.js'
import { eventually } from '../helpers/eventually.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

const DATA = 'x'.repeat(1000)

describe('a stream whose client does not read', () => {
  const clock = new FakeClock()
  let server: TestServer
  let client: SseClient
  let stream: EventStream
  let written: () => number

  async function open(options: StreamOptions): Promise<void> {
    const opened = new Promise<EventStream>((resolve) => {
      const app = express().use(sseMiddleware({ clock, heartbeatMs: 0, ...options }))
      app.get('/', (req, res) => {
        written = () => req.socket.writableLength
        resolve(res.sse())
      })
      server = { url: '', server: undefined as never, stop: async () => undefined }
      void serve(app).then(async (started) => {
        server = started
        client = await SseClient.open(server.url)
        client.pause()
      })
    })
    stream = await opened
  }

  afterEach(async () => {
    client.close()
    await server.stop()
  })

  /** Sends numbered events until the socket and then the queue are full. */
  async function fill(): Promise<SendResult[]> {
    const verdicts: SendResult[] = []
    for (let n = 0; verdicts.filter((verdict) => verdict === 'dropped').length < 10; n++) {
      verdicts.push(stream.send({ data: `${n} ${DATA}` }))
      // Gives the socket time to write to the kernel, so that in the end the client's buffers are full too.
      if (verdicts.at(-1) !== 'sent') await new Promise((resolve) => setImmediate(resolve))
    }
    return verdicts
  }

  it('gets the events that fit the socket; a bounded number waits, and drops are reported', async () => {
    await open({ queueEvents: 20 })
    const verdicts = await fill()
    expect(verdicts.slice(-30)).to.deep.equal([...Array(20).fill('queued'), ...Array(10).fill('dropped')])
    expect(written(), 'bytes in the socket').to.be.below(100_000)
    const taken = verdicts.length - 10
    client.resume()
    const dropped = await client.control('sse.dropped')
    expect(JSON.parse(dropped.data)).to.include({ count: 10, reason: 'queue_full' })
    await client.messagesUntil(taken)
    const numbers = client.messages.map(({ data }) => Number.parseInt(data, 10))
    expect(numbers).to.deep.equal(Array.from({ length: taken }, (_, n) => n))
    expect(stream.send({ data: 'again' })).to.equal('sent')
  })

  it('reports how long its socket was full', async () => {
    const drains: unknown[] = []
    const note = (message: unknown) => drains.push(message)
    diagnostics.streamDrain.subscribe(note)
    await open({ queueEvents: 20, stallMs: 0 })
    await fill()
    drains.length = 0
    clock.advance(1234)
    client.resume()
    await eventually(() => drains.length > 0)
    diagnostics.streamDrain.unsubscribe(note)
    expect(drains[0]).to.deep.equal({ stream: stream.id, fullMs: 1234 })
  })

  it('is bounded in bytes too', async () => {
    await open({ queueEvents: 1_000_000, queueBytes: 5000 })
    const verdicts = await fill()
    expect(verdicts.filter((verdict) => verdict === 'queued').length).to.be.at.least(4)
    expect(verdicts.slice(-14, -10)).to.deep.equal(Array(4).fill('queued'))
  })

  it('drops events that have waited longer than their ttlMs', async () => {
    await open({ queueEvents: 20, queueTtlMs: 1000, stallMs: 0 })
    await fill()
    clock.advance(1000)
    client.resume()
    const drops = () => client.events.filter(({ event }) => event === 'sse.dropped').map(({ data }) => JSON.parse(data))
    await eventually(() => drops().length === 2)
    expect(drops().map(({ count, reason }) => [count, reason])).to.deep.equal([
      [10, 'queue_full'],
      [20, 'expired'],
    ])
  })

  it('drops nothing when the wall clock is set forward or back while events wait', async () => {
    await open({ queueEvents: 20, stallMs: 0 })
    const verdicts = await fill()
    clock.setWallClock(3_600_000)
    stream.send({ data: 'dropped too' })
    client.resume()
    const dropped = JSON.parse((await client.control('sse.dropped')).data)
    expect(dropped).to.include({ count: 11, reason: 'queue_full' })
    expect(dropped.from).to.be.within(dropped.to - 1, dropped.to)
    expect(Math.abs(dropped.to - clock.wallTime())).to.be.below(2)
    await client.messagesUntil(verdicts.length - 10)
    expect(stream.status().dropped).to.equal(11)
    clock.setWallClock(-3_600_000)
  })

  it('gets no heartbeats while the socket is full', async () => {
    await open({ heartbeatMs: 1000, stallMs: 0 })
    await fill()
    const before = written()
    clock.advance(60_000)
    expect(written()).to.equal(before)
  })

  it('is disconnected at the stall deadline, without other effects on the process', async () => {
    await open({ stallMs: 30_000, closeGraceMs: 5000 })
    await fill()
    clock.advance(29_999)
    expect(stream.closeReason).to.equal(undefined)
    // Progress is checked eight times in `stallMs`.
    clock.advance(1 + 30_000 / 8)
    expect(stream.closeReason).to.equal('stalled')
    const closed = stream.close()
    clock.advance(5000)
    await closed
    expect(clock.pending, 'timers left').to.equal(0)
    client.resume()
    await client.ended()
  })

  it('may be slow: each drain restarts the deadline', async () => {
    await open({ stallMs: 30_000 })
    await fill()
    clock.advance(20_000)
    client.resume()
    await client.control('sse.dropped')
    clock.advance(29_000)
    expect(stream.closeReason).to.equal(undefined)
  })
})
