import { connect } from 'node:net'
import { expect } from 'chai'
import type { RequestHandler, Response } from 'express'
import { MemoryBroker } from '../../../lib/broker/memory.js'
import { systemClock } from '../../../lib/core/system-clock.js'
import { createMultiplexer, ProcessMultiplexer } from '../../../lib/multiplexer/multiplexer.js'
import { limitStreams } from '../../../lib/routers/limit-streams.js'
import { sseMiddleware } from '../../../lib/routers/sse-middleware.js'
import { openStream } from '../../../lib/stream/open-stream.js'
import { eventually } from '../../helpers/eventually.js'
import { EXPRESS_VERSIONS } from '../../helpers/express-versions.js'
import { serve } from '../../helpers/http-server.js'
import { createStreamLimits, type StreamLimits } from '../../helpers/internals.js'
import { SseClient } from '../../helpers/sse-client.js'

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`limitStreams on ${name}`, () => {
    const undo: (() => Promise<unknown> | unknown)[] = []
    let limits: StreamLimits
    /** Requests whose route waits, in order. */
    let held: (() => void)[]
    let url: string

    afterEach(async () => {
      for (const step of undo.splice(0).reverse()) await step()
    })

    /** Starts routes that wait before they open a stream, each in a different way. */
    async function start(options: Parameters<typeof createStreamLimits>[0]): Promise<void> {
      limits = createStreamLimits(options)
      held = []
      const multiplexer = createMultiplexer()
      const app = express()
      const signedIn: RequestHandler = (req, _res, next) => {
        req.auth = { user: 'ada', tenant: 'acme', expiresAt: Date.now() + 600_000, claims: {} }
        next()
      }
      app.use(sseMiddleware(), signedIn, limitStreams(limits))
      const whenReleased = (): Promise<void> => new Promise((resolve) => held.push(resolve))
      app.get('/sse', (_req, res) => void whenReleased().then(() => res.sse()))
      app.get('/open-stream', (req, res) => void whenReleased().then(() => openStream(req, res)))
      app.get(
        '/multiplexer',
        multiplexer.stream(async () => {
          await whenReleased()
          return 'news'
        }),
      )
      app.get('/json', (_req, res: Response) => void whenReleased().then(() => res.json({})))
      const server = await serve(app)
      url = server.url
      undo.push(
        () => limits.close(),
        () => multiplexer.close(),
        () => server.stop(),
      )
    }

    for (const path of ['/sse', '/open-stream', '/multiplexer']) {
      it(`opens a stream only if it still has its place: ${path}`, async () => {
        await start({ perUser: 1, evictOldest: true })
        const opening: Promise<SseClient>[] = []
        for (let i = 0; i < 6; i++) {
          opening.push(SseClient.open(`${url}${path}`))
          await eventually(() => held.length === i + 1)
        }
        expect(limits.size).to.equal(1)
        for (const release of held) release()
        const clients = await Promise.all(opening)
        undo.push(() => clients.forEach((client) => void client.close()))
        for (const client of clients.slice(0, 5)) {
          await client.ended()
          expect(client.events.map(({ event, data }) => [event, data])).to.deep.equal([
            ['sse.close', JSON.stringify({ reason: 'evicted' })],
          ])
        }
        await clients[5]?.control('sse.open')
        expect([clients[5]?.closed, limits.size]).to.deep.equal([false, 1])
      })
    }

    it('does not affect answers that are not streams', async () => {
      await start({ perUser: 1, evictOldest: true })
      const first = fetch(`${url}/json`)
      await eventually(() => held.length === 1)
      const second = fetch(`${url}/json`)
      await eventually(() => held.length === 2)
      for (const release of held) release()
      expect(await Promise.all([first, second].map(async (each) => (await each).status))).to.deep.equal([200, 200])
      await eventually(() => limits.size === 0)
    })

    it('releases the places of requests that are answered behind an open stream', async () => {
      await start({ perUser: 5 })
      const socket = connect(Number(new URL(url).port), '127.0.0.1')
      undo.push(() => void socket.destroy())
      socket.write(['/sse', '/json'].map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''))
      await eventually(() => held.length === 2)
      for (const release of held) release()
      await eventually(() => limits.size === 1)
    })

    it('releases the places of requests that were pipelined behind another one on a lost connection', async () => {
      await start({ perUser: 5 })
      const socket = connect(Number(new URL(url).port), '127.0.0.1')
      socket.on('error', () => undefined)
      socket.write('GET /sse HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3))
      await eventually(() => held.length === 3)
      expect(limits.size).to.equal(3)
      socket.destroy()
      await eventually(() => limits.size === 0)
    })
  })
}

/** A broker whose subscriptions wait until the test releases them. */
class HeldBroker extends MemoryBroker {
  readonly held: (() => void)[] = []

  override async subscribe(...args: Parameters<MemoryBroker['subscribe']>): ReturnType<MemoryBroker['subscribe']> {
    await new Promise<void>((resolve) => this.held.push(resolve))
    return super.subscribe(...args)
  }
}

describe('a multiplexer with stream limits', () => {
  it('opens no stream that was evicted while its channel was being subscribed', async () => {
    const limits = createStreamLimits({ perUser: 1, evictOldest: true })
    const evicted = new Promise<void>((resolve) => {
      const acquire = limits.acquire.bind(limits)
      let acquired = 0
      limits.acquire = async (...args) => {
        const lease = await acquire(...args)
        if (++acquired === 2) resolve()
        return lease
      }
    })
    const broker = new HeldBroker({}, systemClock)
    const multiplexer = new ProcessMultiplexer(broker, { streamLimits: limits }, systemClock)
    const stream = multiplexer.stream(() => 'news')
    const server = await serve((req, res) => {
      const auth = { user: 'ada', tenant: 'acme', expiresAt: Date.now() + 600_000, claims: {} }
      stream(Object.assign(req, { auth }), res, () => res.destroy())
    })
    const first = SseClient.open(server.url)
    await eventually(() => broker.held.length === 1)
    const second = SseClient.open(server.url)
    await evicted
    for (const release of broker.held) release()
    const clients = await Promise.all([first, second])
    await Promise.race(clients.map((client) => client.ended()))
    const closed = clients.filter(({ events }) => events.some(({ event }) => event === 'sse.close'))
    expect(closed.map(({ events }) => events.map(({ event }) => event))).to.deep.equal([['sse.close']])
    for (const client of clients) client.close()
    await multiplexer.close()
    await limits.close()
    await server.stop()
  })
})
