import { expect } from 'chai'
import express from 'express'
import type { ClientOptions } from '../../lib/client/index.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { Ack } from '../../lib/wire/contract.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { type Recorded, record } from './recorded.js'

describe('the client with a window', () => {
  let multiplexer: Multiplexer
  let server: TestServer
  let client: Recorded
  let acks: Ack[]
  let failing: number
  /** Acknowledgements that get an answer, but do not arrive at the stream. */
  let lost: { count: number; readonly status: number }

  beforeEach(async () => {
    acks = []
    failing = 0
    lost = { count: 0, status: 202 }
    multiplexer = createMultiplexer({ lingerMs: 0, stream: { retryMs: 10 } })
    const app = express()
    app.get(
      '/a/stream',
      multiplexer.stream(() => 'log'),
    )
    app.post('/a/ack', express.json(), (req, res, next) => {
      acks.push(req.body)
      if (failing-- > 0) res.status(503).end()
      else if (lost.count-- > 0) res.status(lost.status).end()
      else next()
    })
    app.post('/a/ack', multiplexer.ack())
    server = await serve(app)
  })
  afterEach(async () => {
    client.stream.close()
    await multiplexer.close()
    await server.stop()
  })

  async function open(options: ClientOptions = {}): Promise<void> {
    client = record(`${server.url}/a/stream`, { window: 10, ackMs: 100_000, ...options })
    await eventually(() => client.stream.state === 'open')
  }

  const publish = (numbers: readonly number[]) =>
    multiplexer.publishMany(
      'log',
      numbers.map((data) => ({ event: 'n', data })),
    )

  it('acknowledges when half of the window is handled, so the server continues to send', async () => {
    await open()
    await publish(range(1, 100))
    await eventually(() => client.numbers().length === 100)
    expect(client.numbers()).to.deep.equal(range(1, 100))
    expect(acks.length).to.be.within(10, 20)
    await eventually(() => multiplexer.inspect()[0]?.unacknowledged === 0)
  })

  it('acknowledges fewer events after ackMs, with its buffer and latency', async () => {
    await open({ ackMs: 10, latencyOf: (event) => (event.type === 'n' ? 12 : undefined) })
    await publish([1, 2])
    await eventually(() => acks.length === 1 && multiplexer.inspect()[0]?.unacknowledged === 0)
    const stream = client.events[0]?.json() as { stream: string }
    expect(acks[0]).to.deep.equal({ stream: stream.stream, cursor: client.stream.cursor, buffer: 0, latencyMs: 12 })
  })

  it('retries a failed acknowledgement without waiting for another event', async () => {
    failing = 1
    await open()
    await publish(range(1, 20))
    await eventually(() => client.numbers().length === 20)
    expect(acks.length).to.be.at.least(2)
  })

  for (const [status, cause] of [
    [202, 'was lost on the way to the process of the stream'],
    [404, 'did not find the process of the stream'],
  ] as const) {
    it(`repeats an acknowledgement that ${cause}, because without it no event arrives`, async () => {
      lost = { count: 3, status }
      await open()
      await publish(range(1, 30))
      await eventually(() => client.numbers().length === 30)
      expect(acks.filter(({ cursor }) => cursor === client.events[10]?.id).length).to.be.at.least(2)
      await eventually(() => multiplexer.inspect()[0]?.unacknowledged === 0)
    })
  }

  it('starts counting again on each connection', async () => {
    await open()
    await publish(range(1, 3))
    await eventually(() => client.numbers().length === 3)
    server.server.closeAllConnections()
    await eventually(() => multiplexer.status().streams === 1 && client.events.at(-1)?.type === 'sse.open')
    await publish(range(4, 50))
    await eventually(() => client.numbers().length === 50)
    expect(client.numbers()).to.deep.equal(range(1, 50))
    expect(new Set(acks.map(({ stream }) => stream))).to.have.property('size', 1)
  })

  it('acknowledges the events that an iterator has handled, not those in its queue', async () => {
    await open({ ackMs: 5 })
    const iterator = client.stream[Symbol.asyncIterator]()
    const first = iterator.next()
    await publish(range(1, 10))
    await first
    await eventually(() => client.numbers().length === 10)
    await iterator.next()
    await iterator.next()
    await eventually(() => acks.length > 0)
    await eventually(() => multiplexer.inspect()[0]?.unacknowledged === 8)
    expect(acks.at(-1)?.buffer).to.be.above(0)
  })

  it('acknowledges the events that an iterator has left in its queue when it ends', async () => {
    await open()
    const iterating = (async () => {
      for await (const { type } of client.stream) if (type === 'n') break
    })()
    await publish(range(1, 30))
    await iterating
    await eventually(() => client.numbers().length === 30)
    expect(client.numbers()).to.deep.equal(range(1, 30))
  })

  it('rejects a window together with tickets, which are valid for one GET', () => {
    expect(() => record(server.url, { window: 1, tokenIn: 'ticket' }))
      .to.throw()
      .with.property('code', 'ERR_SSE_OPTION_INVALID')
  })
})
