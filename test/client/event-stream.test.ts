import type { IncomingMessage, ServerResponse } from 'node:http'
import { expect } from 'chai'
import { EventSource } from 'eventsource'
import {
  type ClientEvent,
  type ClientOptions,
  type ClientStateChange,
  type ClientStream,
  createEventStream,
} from '../../lib/client/index.js'
import { reconnectDelay, retryAfterMs } from '../../lib/client/retry-delay.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { serveChannels } from '../suites/multiplexer.js'

describe('the client', () => {
  let server: TestServer
  let stream: ClientStream | undefined
  let events: ClientEvent[]
  let changes: ClientStateChange[]

  beforeEach(() => {
    events = []
    changes = []
  })
  afterEach(async () => {
    stream?.close()
    await server.stop()
  })

  function open(path = '/', options: ClientOptions = {}): ClientStream {
    stream = createEventStream(`${server.url}${path}`, { ...options, onState: (change) => changes.push(change) })
    stream.on('*', (event) => events.push(event))
    return stream
  }

  describe('with the kit', () => {
    let multiplexer: Multiplexer

    beforeEach(async () => {
      multiplexer = createMultiplexer({ stream: { retryMs: 20 } })
      server = await serveChannels(multiplexer)
    })
    afterEach(() => multiplexer.close())

    const publish = (numbers: readonly number[]) =>
      Promise.all(numbers.map((n) => multiplexer.publish('log', { event: 'n', data: n })))
    const numbers = () => events.filter(({ type }) => type === 'n').map(({ data }) => Number(data))

    it('delivers each event once over connections that are cut repeatedly', async () => {
      open('/?channel=log')
      await eventually(() => stream?.state === 'open')
      for (let round = 0; round < 5; round++) {
        await publish(range(round * 20 + 1, round * 20 + 20))
        if (round % 2) await eventually(() => numbers().length >= round * 20 + 10)
        server.server.closeAllConnections()
      }
      await eventually(() => numbers().length >= 100)
      expect(numbers()).to.deep.equal(range(1, 100))
    })

    it('starts at a given cursor', async () => {
      const cursor = await multiplexer.cursor('log')
      await publish([1, 2])
      open('/?channel=log', { cursor })
      await eventually(() => numbers().length === 2)
      expect(stream?.cursor).to.equal(cursor.replace(/0$/, '2'))
    })

    it('reconnects when the server ends the stream with sse.reconnect', async () => {
      open('/?channel=log')
      await eventually(() => stream?.state === 'open')
      await multiplexer.close()
      await eventually(() => changes.some(({ state, reason }) => state === 'waiting' && reason === 'HTTP 503'))
      expect(events.map(({ type }) => type)).to.include('sse.reconnect')
    })

    it('removes a listener, and closes without reconnecting', async () => {
      const received: string[] = []
      const stop = open('/?channel=log').on('n', ({ data }) => received.push(data))
      await eventually(() => stream?.state === 'open')
      await publish([1])
      await eventually(() => received.length === 1)
      stop()
      await publish([2])
      await eventually(() => numbers().length === 2)
      expect(received).to.deep.equal(['1'])
      stream?.close()
      stream?.close()
      await eventually(() => multiplexer.status().streams === 0)
      expect(changes.at(-1)).to.deep.equal({ state: 'closed', reason: 'closed' })
    })

    it('resumes like the standard EventSource, which also resumes before its first event', async () => {
      const seen: number[] = []
      const source = new EventSource(`${server.url}/?channel=log`)
      source.addEventListener('n', ({ data }) => seen.push(Number(data)))
      let opened = 0
      source.addEventListener('sse.open', () => opened++)
      await eventually(() => opened === 1)
      server.server.closeAllConnections()
      await publish(range(1, 3))
      await eventually(() => seen.length === 3)
      server.server.closeAllConnections()
      await publish(range(4, 50))
      await eventually(() => seen.length === 50)
      source.close()
      expect(seen).to.deep.equal(range(1, 50))
      expect(opened).to.equal(3)
    })
  })

  describe('with any server', () => {
    async function answer(
      ...answers: ((req: IncomingMessage, res: ServerResponse) => void)[]
    ): Promise<IncomingMessage[]> {
      const requests: IncomingMessage[] = []
      server = await serve((req, res) => {
        requests.push(req)
        const next = answers[Math.min(requests.length, answers.length) - 1]
        next?.(req, res)
      })
      return requests
    }

    const status =
      (code: number, headers: Record<string, string> = {}) =>
      (_: unknown, res: ServerResponse) => {
        res.writeHead(code, headers).end()
      }

    it('sends the token, and requests a new one after a 401', async function () {
      this.timeout(10_000)
      const refreshes: boolean[] = []
      const requests = await answer(status(401), status(204))
      open('/', {
        token: (refresh) => {
          refreshes.push(refresh)
          return refresh ? 'fresh' : 'stale'
        },
      })
      await eventually(() => stream?.state === 'closed')
      expect(refreshes).to.deep.equal([false, true])
      expect(requests.map(({ headers }) => headers.authorization)).to.deep.equal(['Bearer stale', 'Bearer fresh'])
      expect(changes).to.deep.include({ state: 'waiting', reason: 'HTTP 401', delayMs: 3000 })
    })

    it('reconnects with a new token after sse.expired, without a 401', async () => {
      const requests = await answer((_req, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' })
        res.end('retry: 5\nevent: sse.open\ndata: {}\n\nevent: sse.expired\ndata: {}\n\n')
      }, status(204))
      open('/', { token: (refresh) => (refresh ? 'fresh' : 'stale') })
      await eventually(() => stream?.state === 'closed')
      expect(requests.map(({ headers }) => headers.authorization)).to.deep.equal(['Bearer stale', 'Bearer fresh'])
    })

    for (const code of [204, 403, 404]) {
      it(`closes on ${code} and does not reconnect`, async () => {
        const requests = await answer(status(code))
        open()
        await eventually(() => stream?.state === 'closed')
        expect(changes.at(-1)?.reason).to.equal(`HTTP ${code}`)
        expect(requests).to.have.length(1)
      })
    }

    it('waits for the time in Retry-After', async () => {
      await answer(status(503, { 'retry-after': '7' }))
      open()
      await eventually(() => stream?.state === 'waiting')
      expect(changes.at(-1)?.delayMs).to.be.at.least(7000)
    })

    it('closes a connection without heartbeats, and opens another', async () => {
      const requests = await answer((_req, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' })
        res.write('retry: 5\nid: abcdef-1\nevent: sse.open\ndata: {"stream":"s","heartbeatMs":20}\n\n')
      })
      open()
      await eventually(() => requests.length === 3)
      expect(requests.at(-1)?.headers['last-event-id']).to.equal('abcdef-1')
    })
  })
})

describe('the back-off', () => {
  it('doubles with each failure up to 30 s, and is reduced at random by up to three quarters', () => {
    expect([0, 1, 2, 3, 10, 1000].map((n) => reconnectDelay(3000, n, () => 1))).to.deep.equal([
      3000, 6000, 12_000, 24_000, 30_000, 30_000,
    ])
    expect(reconnectDelay(3000, 0, () => 0)).to.equal(750)
    expect(
      reconnectDelay(60_000, 5, () => 1),
      'the value that the server requests',
    ).to.equal(60_000)
  })

  it('reads Retry-After in seconds and as a date', () => {
    const of = (value?: string) =>
      retryAfterMs({ headers: new Headers(value ? { 'retry-after': value } : {}) }, 1_000_000)
    expect(of()).to.equal(0)
    expect(of('5')).to.equal(5000)
    expect(of('-5')).to.equal(0)
    expect(of('junk')).to.equal(0)
    expect(of(new Date(1_004_000).toUTCString())).to.equal(4000)
  })
})
