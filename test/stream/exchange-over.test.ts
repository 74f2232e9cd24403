import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server, type Http2Server } from 'node:http2'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect } from 'chai'
import type { AnyResponse } from '../../lib/http/exchange.js'
import type { StreamRequest } from '../../lib/http/requester.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import { assertOpenable, openStream } from '../../lib/stream/open-stream.js'
import { resolveStreamOptions, type StreamOptions } from '../../lib/stream/options.js'
import { createPressure } from '../../lib/stream/pressure.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { exceedQueuedBytes } from '../helpers/pressure.js'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

describe('a stream and the end of its exchange', () => {
  let server: Server | Http2Server

  afterEach((done) => {
    if ('closeAllConnections' in server) server.closeAllConnections()
    server.close(() => done())
  })

  async function listen(): Promise<number> {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }

  async function dial(port: number, text: string): Promise<Socket> {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    socket.write(text)
    return socket
  }

  async function dialHttp2(port: number) {
    const client = connectHttp2(`http://127.0.0.1:${port}`)
    client.on('error', () => undefined)
    await once(client, 'connect')
    client.request().on('error', () => undefined)
    return client
  }

  /** Opens a stream for each request. Resolves when this number of streams was opened. */
  function opening(count: number, options: StreamOptions = {}) {
    const streams: EventStream[] = []
    let onEnough: (() => void) | undefined
    const enough = new Promise<void>((resolve) => {
      onEnough = resolve
    })
    const listener = (req: StreamRequest, res: AnyResponse): void => {
      streams.push(openStream(req, res, options))
      if (streams.length === count) onEnough?.()
    }
    return { streams, enough, listener }
  }

  const closed = async (stream: EventStream): Promise<string | undefined> => {
    if (!stream.signal.aborted) await once(stream.signal, 'abort')
    return stream.closeReason
  }

  it('closes when the connection is lost, also if its request is pipelined behind another one', async () => {
    const { streams, enough, listener } = opening(3)
    server = createServer(listener)
    const socket = await dial(await listen(), GET.repeat(3))
    await enough
    const ends = Promise.all(streams.map(closed))
    socket.destroy()
    expect(await ends).to.deep.equal(['client_gone', 'client_gone', 'client_gone'])
    await Promise.all(streams.map((stream) => stream.close()))
  })

  it('closes when the application ends its response, also before its turn', async () => {
    const responses: AnyResponse[] = []
    const { streams, enough, listener } = opening(2)
    server = createServer((req, res) => {
      responses.push(res)
      listener(req, res)
    })
    const socket = await dial(await listen(), GET.repeat(2))
    await enough
    responses[1]?.end()
    expect(streams.map(({ closeReason }) => closeReason)).to.deep.equal([undefined, 'ended'])
    socket.destroy()
  })

  it('closes when the application ends its response on HTTP/2, whether the client reads or not', async () => {
    const { streams, enough, listener } = opening(1)
    let response: AnyResponse | undefined
    server = createHttp2Server((req, res) => {
      response = res
      listener(req, res)
    })
    const client = connectHttp2(`http://127.0.0.1:${await listen()}`)
    client.on('error', () => undefined)
    client
      .request()
      .on('error', () => undefined)
      .pause()
    await enough
    streams[0]?.send({ data: 'x'.repeat(1_000_000) })
    response?.end()
    expect(streams[0]?.closeReason).to.equal('ended')
    client.destroy()
  })

  it('closes when an HTTP/2 client disconnects', async () => {
    const { streams, enough, listener } = opening(1)
    server = createHttp2Server(listener)
    const client = await dialHttp2(await listen())
    await enough
    client.destroy()
    expect(await closed(streams[0] as EventStream)).to.equal('client_gone')
    await streams[0]?.close()
  })

  for (const kind of ['HTTP/1.1', 'HTTP/1.1, pipelined', 'HTTP/2'] as const) {
    it(`closes immediately if the client disconnected before it was opened, on ${kind}`, async () => {
      const count = kind === 'HTTP/1.1, pipelined' ? 2 : 1
      const requests: [StreamRequest, AnyResponse][] = []
      let onEnough: (() => void) | undefined
      const enough = new Promise<void>((resolve) => {
        onEnough = resolve
      })
      const listener = (req: StreamRequest, res: AnyResponse): void => {
        requests.push([req, res])
        if (requests.length === count) onEnough?.()
      }
      server = kind === 'HTTP/2' ? createHttp2Server(listener) : createServer(listener as RequestListener)
      const port = await listen()
      const client = kind === 'HTTP/2' ? await dialHttp2(port) : await dial(port, GET.repeat(count))
      await enough
      const [req, res] = requests.at(-1) as [StreamRequest, AnyResponse]
      const left =
        'stream' in res && !('detachSocket' in res)
          ? once(res.stream, 'close')
          : once((req as StreamRequest).socket, 'close')
      client.destroy()
      await left
      const stream = openStream(req, res)
      expect(stream.closeReason).to.equal('client_gone')
      expect(stream.send({ data: 1 })).to.equal('closed')
      await stream.close()
    })
  }

  it('settles close() within the grace time while the response waits for its turn', async () => {
    const clock = new FakeClock()
    let stream: EventStream | undefined
    let onOpen: (() => void) | undefined
    const opened = new Promise<void>((resolve) => {
      onOpen = resolve
    })
    server = createServer((req, res) => {
      if (req.url === '/never') return
      stream = openStream(req, res, { clock, closeGraceMs: 1000 })
      onOpen?.()
    })
    const socket = await dial(await listen(), GET.replace('/', '/never') + GET)
    await opened
    const end = stream?.close('shutdown')
    clock.advance(1000)
    await end
    expect(clock.pending, 'timers left').to.equal(0)
    socket.destroy()
  })

  it('settles close() within the grace time if an HTTP/2 client does not read', async () => {
    const clock = new FakeClock()
    const { streams, enough, listener } = opening(1, { clock, closeGraceMs: 1000 })
    server = createHttp2Server(listener)
    const port = await listen()
    const client = connectHttp2(`http://127.0.0.1:${port}`)
    client.on('error', () => undefined)
    client
      .request()
      .on('error', () => undefined)
      .pause()
    await enough
    streams[0]?.send({ data: 'x'.repeat(1_000_000) })
    const end = streams[0]?.close()
    clock.advance(1000)
    await end
    expect(clock.pending, 'timers left').to.equal(0)
    client.destroy()
  })

  describe('the checks before anything is acquired', () => {
    async function check(method: string, options: StreamOptions): Promise<unknown> {
      let result: unknown
      server = createServer((req, res) => {
        try {
          result = assertOpenable(req, res, resolveStreamOptions(options))
        } catch (error) {
          result = (error as { code: string }).code
        }
        res.end()
      })
      const socket = await dial(await listen(), GET.replace('GET', method))
      await once(socket, 'data')
      socket.destroy()
      return result
    }

    const pressed = () => {
      const pressure = createPressure({ maxQueuedBytes: 0, maxLoopDelayMs: 0, sustainMs: 3_600_000 })
      exceedQueuedBytes(pressure)
      return pressure
    }

    for (const [name, method, options, expected] of [
      ['a GET may be a stream', 'GET', {}, undefined],
      ['a HEAD gets headers alone', 'HEAD', {}, 'head'],
      ['other methods are refused', 'OPTIONS', {}, 'ERR_SSE_METHOD_NOT_ALLOWED'],
      [
        'other methods are refused as such under pressure',
        'PUT',
        { pressure: pressed() },
        'ERR_SSE_METHOD_NOT_ALLOWED',
      ],
      ['pressure refuses', 'GET', { pressure: pressed() }, 'ERR_SSE_OVERLOADED'],
      ['pressure refuses with a stream', 'GET', { pressure: pressed(), refuseWith: 'stream' }, 'overloaded'],
    ] as const) {
      it(name, async () => {
        expect(await check(method, options)).to.equal(expected)
      })
    }
  })
})
