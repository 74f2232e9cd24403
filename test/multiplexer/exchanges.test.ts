import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { type ClientHttp2Session, connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect } from 'chai'
import express from 'express'
import { diagnostics } from '../../lib/core/diagnostics.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { MultiplexerOptions } from '../../lib/multiplexer/options.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import { openStream } from '../../lib/stream/open-stream.js'
import { eventually } from '../helpers/eventually.js'
import { freePort } from '../helpers/free-port.js'
import { serve } from '../helpers/http-server.js'
import { createStreamLimits, type StreamLimits } from '../helpers/internals.js'
import { SseClient } from '../helpers/sse-client.js'

/** A promise that the test settles. */
class Gate {
  open: () => void = () => undefined
  reached: () => void = () => undefined
  readonly isReached = new Promise<void>((resolve) => {
    this.reached = resolve
  })
  readonly isOpen = new Promise<void>((resolve) => {
    this.open = resolve
  })
}

describe('a multiplexer whose clients disconnect at any moment', () => {
  let limits: StreamLimits
  let multiplexer: Multiplexer
  let stops: (() => unknown)[]

  beforeEach(() => {
    stops = []
    limits = createStreamLimits({ perIp: 3 })
    multiplexer = createMultiplexer({ streamLimits: limits, lingerMs: 0, stream: { closeGraceMs: 100 } })
  })

  afterEach(async () => {
    await multiplexer.close()
    await limits.close()
    for (const stop of stops.reverse()) await stop()
  })

  async function nothingIsHeld(): Promise<void> {
    await eventually(() => multiplexer.status().streams === 0 && multiplexer.status().channels === 0)
    await eventually(() => limits.size === 0)
  }

  async function dial(url: string): Promise<Socket> {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.on('error', () => undefined)
    stops.push(() => socket.destroy())
    await once(socket, 'connect')
    return socket
  }

  it('holds nothing for streams and polls pipelined behind an open stream on a lost connection', async () => {
    const app = express()
      .get(
        '/stream',
        multiplexer.stream(() => 'log'),
      )
      .get(
        '/poll',
        multiplexer.poll(() => 'log'),
      )
    const server = await serve(app)
    stops.push(() => server.stop())
    const socket = await dial(server.url)
    const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
    socket.write(request('/stream') + request('/stream') + request('/poll?wait=20000') + request('/stream'))
    await eventually(() => limits.size === 3)
    socket.destroy()
    await nothingIsHeld()
    const again = await SseClient.open(`${server.url}/stream`)
    expect(again.status).to.equal(200)
    again.close()
  })

  it('builds no answer for polls pipelined behind an open stream before their turn', async () => {
    const streams: EventStream[] = []
    let polls = 0
    const app = express()
      .get('/stream', (req, res) => void streams.push(openStream(req, res, { keepRequest: true })))
      .get('/poll', (_req, _res, next) => {
        polls++
        next()
      })
      .get(
        '/poll',
        multiplexer.poll(() => 'log'),
      )
    await multiplexer.publish('log', { event: 'n', data: 'x'.repeat(10_000) })
    let answers = 0
    const count = (): void => void answers++
    diagnostics.pollAnswer.subscribe(count)
    stops.push(() => diagnostics.pollAnswer.unsubscribe(count))
    const server = await serve(app)
    stops.push(() => server.stop())
    const socket = await dial(server.url)
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
    socket.write(request('/stream') + request('/poll?from=earliest').repeat(3))
    await eventually(() => polls === 3)
    // More events than one answer may have.
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
    expect({ answers, channels: multiplexer.status().channels }).to.deep.equal({ answers: 0, channels: 0 })
    await streams[0]?.close('completed')
    await eventually(() => text.split('"event":"n"').length === 4)
    expect(answers).to.equal(3)
  })

  for (const path of ['/stream', '/poll?wait=20000']) {
    it(`detects the disconnect of a client whose body was not read: ${path}`, async () => {
      const app = express()
        .post(
          '/stream',
          multiplexer.stream(() => 'log'),
        )
        .post(
          '/poll',
          multiplexer.poll(() => 'log'),
        )
      const server = await serve(app)
      stops.push(() => server.stop())
      const socket = await dial(server.url)
      socket.resume()
      socket.write(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n${'x'.repeat(500_000)}`)
      await eventually(() => multiplexer.status().channels === 1)
      socket.destroy()
      await nothingIsHeld()
    })
  }

  for (const moment of ['channelsOf', 'the lease'] as const) {
    for (const protocol of ['HTTP/1.1', 'HTTP/2'] as const) {
      it(`holds nothing if a client on ${protocol} disconnects while the server waits for ${moment}`, async () => {
        const gate = new Gate()
        if (moment === 'the lease') {
          const acquire = limits.acquire.bind(limits)
          limits.acquire = async (...args) => {
            gate.reached()
            await gate.isOpen
            return acquire(...args)
          }
        }
        const channelsOf = async () => {
          if (moment === 'channelsOf') {
            gate.reached()
            await gate.isOpen
          }
          return 'log'
        }
        const handler = multiplexer.stream(channelsOf)
        const errors: unknown[] = []
        const leaves = await leavingClient(protocol, (req, res) => handler(req, res, (error) => errors.push(error)))
        await gate.isReached
        await leaves()
        gate.open()
        await nothingIsHeld()
        await multiplexer.close()
        expect(errors).to.deep.equal([])
      })
    }
  }

  /** @returns a function that disconnects the client, and resolves when the server has noticed */
  async function leavingClient(
    protocol: 'HTTP/1.1' | 'HTTP/2',
    handler: (req: IncomingMessage, res: never) => unknown,
  ): Promise<() => Promise<void>> {
    if (protocol === 'HTTP/1.1') {
      const server = await serve((req, res) => void handler(req, res as never))
      stops.push(() => server.stop())
      const connections: Socket[] = []
      server.server.on('connection', (socket) => connections.push(socket))
      const socket = await dial(server.url)
      socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      return async () => {
        socket.destroy()
        await Promise.all(connections.map((each) => once(each, 'close')))
      }
    }
    const server = createHttp2Server((req, res) => void handler(req as never, res as never))
    const closed = new Promise<void>((resolve) => server.on('session', (session) => session.on('close', resolve)))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    stops.push(() => server.close())
    const client: ClientHttp2Session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    client.on('error', () => undefined)
    client.request({ ':path': '/' }).on('error', () => undefined)
    return async () => {
      client.destroy()
      await closed
    }
  }

  it('closes within the window and the grace time, for any behaviour of clients', async () => {
    const server = await serve(
      express().get(
        '/',
        multiplexer.stream(() => 'log'),
      ),
    )
    stops.push(() => server.stop())
    const reading = await SseClient.open(server.url)
    stops.push(() => reading.close())
    // One client never reads, and one request waits forever for its turn behind a stream.
    const stalled = await dial(server.url)
    stalled.pause()
    stalled.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(2))
    await eventually(() => multiplexer.status().streams === 3)
    for (let i = 0; i < 200; i++) await multiplexer.publish('log', { data: 'x'.repeat(100_000) })
    await multiplexer.close({ windowMs: 50 })
    expect(multiplexer.status().streams).to.equal(0)
  })

  it('answers a poll that is still opening its channels when it closes', async () => {
    await multiplexer.close()
    const port = await freePort()
    const silent = await serve(() => undefined)
    stops.push(() => silent.stop())
    // Nothing listens on that port, so the channels never open.
    multiplexer = createMultiplexer({
      redis: `redis://127.0.0.1:${port}`,
      commandTimeoutMs: 60_000,
    } as MultiplexerOptions)
    const server = await serve(
      express().get(
        '/',
        multiplexer.poll(() => 'log'),
      ),
    )
    stops.push(() => server.stop())
    const polling = fetch(`${server.url}/?wait=20000`)
    await eventually(() => multiplexer.status().channels === 1)
    await multiplexer.close()
    const answer = await polling
    expect([answer.status, (await answer.json()).code]).to.deep.equal([503, 'ERR_SSE_CLOSED'])
  })

  it('does not answer a poll that another handler has answered', async () => {
    const app = express()
      .use((_req, res, next) => {
        setTimeout(() => res.status(504).json({ late: true }), 50)
        next()
      })
      .get(
        '/',
        multiplexer.poll(() => 'log'),
      )
    const server = await serve(app)
    stops.push(() => server.stop())
    const answer = await fetch(`${server.url}/?wait=20000`)
    expect([answer.status, await answer.json()]).to.deep.equal([504, { late: true }])
    await multiplexer.publish('log', { data: 1 })
    await nothingIsHeld()
  })

  it('passes an error of a waiting poll to the error handler of the application', async () => {
    const errors: unknown[] = []
    const handler = multiplexer.poll(() => 'log')
    const server = await serve((req, res) => {
      res.setHeader = () => {
        throw new Error('no headers today')
      }
      void handler(req, res, (error) => {
        errors.push(error)
        res.end()
      })
    })
    stops.push(() => server.stop())
    const polling = fetch(`${server.url}/?wait=20000`)
    await eventually(() => multiplexer.status().channels === 1)
    await multiplexer.publish('log', { data: 1 })
    await polling
    expect(errors.map(String)).to.deep.equal(['Error: no headers today'])
    await nothingIsHeld()
  })

  it('answers a poll with at most one megabyte of events, and lets the client poll again immediately', async () => {
    const server = await serve(
      express().get(
        '/',
        multiplexer.poll(() => 'log', { maxBytes: 100_000 }),
      ),
    )
    stops.push(() => server.stop())
    for (let i = 0; i < 10; i++) await multiplexer.publish('log', { data: `${i} ${'x'.repeat(40_000)}` })
    await multiplexer.publish('log', { data: `10 ${'x'.repeat(200_000)}` })
    let query = 'from=earliest'
    const sizes: number[] = []
    const seen: number[] = []
    for (let afterMs = 0; afterMs === 0; ) {
      const answer = await (await fetch(`${server.url}/?${query}`)).json()
      sizes.push(answer.events.length)
      seen.push(...answer.events.map(({ data }: { data: string }) => Number.parseInt(data, 10)))
      query = `cursor=${answer.cursor}`
      ;({ afterMs } = answer)
    }
    expect(seen).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(Math.max(...sizes)).to.equal(2)
  })

  it('refuses a native EventSource with a stream that ends immediately if Redis is unavailable', async () => {
    await multiplexer.close()
    const port = await freePort()
    multiplexer = createMultiplexer({ redis: `redis://127.0.0.1:${port}`, commandTimeoutMs: 200 } as MultiplexerOptions)
    const server = await serve(
      express().get(
        '/',
        multiplexer.stream(() => 'log', { refuseWith: 'stream' }),
      ),
    )
    stops.push(() => server.stop())
    const client = await SseClient.open(server.url)
    expect(client.status).to.equal(200)
    expect(JSON.parse((await client.control('sse.reconnect')).data)).to.include({ reason: 'unavailable' })
    await client.ended()
  })

  it('takes no subscription and no lease for a method that opens no stream', async () => {
    const server = await serve(
      express().use(
        '/',
        multiplexer.stream(() => 'log'),
      ),
    )
    stops.push(() => server.stop())
    let most = 0
    const acquire = limits.acquire.bind(limits)
    limits.acquire = (...args) => {
      most++
      return acquire(...args)
    }
    for (const method of ['OPTIONS', 'DELETE']) {
      const answer = await fetch(server.url, { method })
      expect([answer.status, answer.headers.get('allow')]).to.deep.equal([405, 'GET, HEAD, POST'])
    }
    expect([most, multiplexer.status().channels]).to.deep.equal([0, 0])
  })

  it('also detects on HTTP/1.0 that the client has disconnected', async () => {
    const server = await serve(
      express().get(
        '/',
        multiplexer.stream(() => 'log'),
      ),
    )
    stops.push(() => server.stop())
    const socket = await dial(server.url)
    socket.write('GET / HTTP/1.0\r\n\r\n')
    await eventually(() => multiplexer.status().streams === 1)
    socket.destroy()
    await nothingIsHeld()
    const answer = await new Promise<IncomingMessage>((resolve) => get(server.url, resolve))
    answer.destroy()
    await nothingIsHeld()
  })
})
