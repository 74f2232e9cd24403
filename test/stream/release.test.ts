import { channel } from 'node:diagnostics_channel'
import { EventEmitter, once } from 'node:events'
import { type IncomingMessage, type RequestListener, type Server, ServerResponse } from 'node:http'
import { createSecureServer } from 'node:http2'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect } from 'chai'
import express5, { type Response } from 'express'
import type { EventStream } from '../../lib/stream/event-stream.js'
import { openStream } from '../../lib/stream/open-stream.js'
import type { StreamOptions } from '../../lib/stream/options.js'
import { eventually } from '../helpers/eventually.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { isReleased, RELEASE_MS, responseOn } from '../helpers/released.js'
import { makeCertificate } from '../interop/certificate.js'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const REQUEST = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const LAST_CHUNK = '\r\n0\r\n\r\n'

/** Two streams, each of which reads what is written to the other. (Node 22 has `duplexPair`.) */
function duplexPair(): [Duplex, Duplex] {
  const make = (other: () => Duplex): Duplex =>
    new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _, done) => {
        other().push(chunk)
        done()
      },
      final: (done) => {
        other().push(null)
        done()
      },
    })
  const near: Duplex = make(() => far)
  const far: Duplex = make(() => near)
  return [near, far]
}

describe('an open stream whose request and response nothing uses', () => {
  let server: TestServer
  let text: string
  let client: Socket
  let clock: FakeClock

  beforeEach(() => {
    clock = new FakeClock()
  })

  afterEach(async () => {
    client?.destroy()
    await server.stop()
  })

  async function dial(requests = REQUEST): Promise<void> {
    const { port } = server.server.address() as AddressInfo
    client = connect(port, '127.0.0.1')
    read(requests)
    await eventually(() => text.includes('sse.open'))
  }

  function read(requests: string): void {
    text = ''
    client.on('data', (bytes) => {
      text += bytes
    })
    client.on('error', () => undefined)
    client.write(requests)
  }

  interface Opened {
    readonly stream: EventStream
    readonly socket: Socket
    readonly req: IncomingMessage
    readonly res: ServerResponse
  }

  /** Opens a stream. What is returned keeps the request and the response in memory. */
  async function open(
    options: StreamOptions = {},
    before: (req: IncomingMessage, res: ServerResponse) => void = () => undefined,
    requests = REQUEST,
  ): Promise<Opened> {
    let opened: Opened | undefined
    server = await serve((req, res) => {
      if (req.url !== '/') {
        res.end('another answer')
        return
      }
      before(req, res)
      opened = { stream: openStream(req, res, { clock, heartbeatMs: 0, ...options }), socket: req.socket, req, res }
    })
    await dial(requests)
    clock.advance(RELEASE_MS)
    return opened as Opened
  }

  for (const { name, express } of EXPRESS_VERSIONS) {
    it(`has neither of them in memory: ${name}`, async () => {
      const held: WeakRef<object>[] = []
      const streams: EventStream[] = []
      const app = express().get('/', (req, res) => {
        held.push(new WeakRef(req), new WeakRef(res))
        Object.assign(req, { auth: { user: 'ada', tenant: 'acme', expiresAt: Date.now() + 60_000, claims: {} } })
        streams.push(openStream(req, res, { clock }))
      })
      server = await serve(app.set('trust proxy', true))
      await dial('GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n')
      clock.advance(RELEASE_MS)
      await eventually(() => {
        collectGarbage()
        return held.every((reference) => reference.deref() === undefined)
      })
      const [stream] = streams as [EventStream]
      expect(stream.status()).to.deep.include({ ip: '192.0.2.7' })
      expect(stream.auth).to.include({ user: 'ada', tenant: 'acme' })
      expect(stream.send({ data: 'later' })).to.equal('sent')
      await eventually(() => text.includes('data: later\n\n'))
      await stream.close('completed')
      await once(client, 'close')
      expect(text).to.match(/event: sse\.close\n.*\n\n\r\n0\r\n\r\n$/s)
      expect(text).to.match(/^Connection: close\r$/m)
    })
  }

  it('has neither of them in memory on TLS', async () => {
    const certificate = await makeCertificate()
    const sockets: Socket[] = []
    const streams: EventStream[] = []
    const listener: RequestListener = (req, res) => {
      sockets.push(req.socket)
      streams.push(openStream(req, res, { clock }))
    }
    const tls = createHttpsServer(certificate, listener).listen(0, '127.0.0.1')
    await once(tls, 'listening')
    server = { url: '', server: tls as unknown as Server, stop: async () => void tls.close() }
    client = connectTls({ port: (tls.address() as AddressInfo).port, host: '127.0.0.1', ca: certificate.cert })
    read(REQUEST)
    await eventually(() => text.includes('sse.open'))
    clock.advance(RELEASE_MS)
    expect(isReleased(sockets[0] as Socket)).to.equal(true)
    streams[0]?.send({ data: 'later' })
    await streams[0]?.close()
    await once(client, 'close')
    expect(text)
      .to.contain('data: later\n\n')
      .and.to.match(/\r\n0\r\n\r\n$/)
  })

  for (const [how, leave] of [
    ['ends its side', () => client.end()],
    ['resets the connection', () => client.resetAndDestroy()],
  ] as const) {
    it(`notices a client that ${how}`, async () => {
      const { stream, socket } = await open()
      expect(isReleased(socket)).to.equal(true)
      const aborted = once(stream.signal, 'abort')
      leave()
      await aborted
      expect(stream.closeReason).to.equal('client_gone')
      await stream.close()
      expect(socket.destroyed || socket.writableEnded).to.equal(true)
    })
  }

  it('is closed by closeAllConnections, but not by closeIdleConnections or close', async () => {
    const { stream } = await open()
    const http = server.server
    const closed = once(http, 'close')
    http.close()
    http.closeIdleConnections()
    expect(stream.send({ data: 'still open' })).to.equal('sent')
    await eventually(() => text.includes('still open'))
    http.closeAllConnections()
    await closed
    await eventually(() => stream.closeReason === 'client_gone')
    server = await serve(() => undefined)
  })

  it('lets the server close once it has ended', async () => {
    const { stream } = await open()
    const closed = once(server.server, 'close')
    server.server.close()
    await stream.close()
    await closed
    server = await serve(() => undefined)
  })

  it('ignores what the client sends, and disconnects it if that is too much', async () => {
    const { stream, socket } = await open()
    client.write('x'.repeat(65_536))
    await eventually(() => socket.bytesRead >= 65_536 + REQUEST.length)
    expect(stream.send({ data: 'more' })).to.equal('sent')
    await eventually(() => text.includes('data: more'))
    client.write('x')
    await once(client, 'close')
    await eventually(() => stream.closeReason === 'client_gone')
  })

  it('is not released if a request is pipelined behind it, which gets no answer', async () => {
    const { stream, socket } = await open({}, undefined, REQUEST + REQUEST.replace('/', '/other'))
    expect(isReleased(socket)).to.equal(false)
    await stream.close()
    await once(client, 'close')
    // It had been told that the connection would be closed.
    expect(text.endsWith(LAST_CHUNK)).to.equal(true)
  })

  it('queues while the socket is full, and goes on when there is room', async () => {
    const { stream, socket } = await open({ maxEventBytes: 50_000_000 })
    client.pause()
    stream.send({ data: 'x'.repeat(20_000_000) })
    expect(stream.send({ data: 'next' })).to.equal('queued')
    expect(isReleased(socket)).to.equal(true)
    client.resume()
    await eventually(() => text.endsWith('data: next\n\n\r\n'))
    expect(stream.status()).to.include({ full: false, queued: 0 })
  })

  it('ends if its client reads nothing for stallMs', async () => {
    const { stream, socket } = await open({ maxEventBytes: 50_000_000, stallMs: 800 })
    client.pause()
    stream.send({ data: 'x'.repeat(20_000_000) })
    // Until the kernel takes nothing more.
    let taken = -1
    await eventually(async () => {
      const before = taken
      await new Promise((resolve) => setTimeout(resolve, 50))
      taken = socket.bytesWritten - socket.writableLength
      return before === taken
    })
    for (let step = 0; step < 10; step++) clock.advance(100)
    expect(stream.closeReason).to.equal('stalled')
  })

  it('leaves listeners of the application on the socket', async () => {
    const heard: string[] = []
    const { stream, socket } = await open({}, ({ socket }) => {
      socket.on('close', () => heard.push('close'))
      socket.on('end', () => heard.push('end'))
    })
    expect(isReleased(socket)).to.equal(true)
    client.end()
    await eventually(() => heard.includes('close'))
    expect(stream.closeReason).to.equal('client_gone')
    expect(heard).to.deep.equal(['end', 'close'])
  })

  it('stays as it is if the address of its client cannot be determined', async () => {
    const streams: EventStream[] = []
    const sockets: Socket[] = []
    const app = express5().set('trust proxy', () => {
      throw new Error('not an address')
    })
    server = await serve(
      app.get('/', (req, res) => {
        sockets.push(req.socket)
        streams.push(openStream(req, res, { clock }))
      }),
    )
    await dial('GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: garbage\r\n\r\n')
    clock.advance(RELEASE_MS)
    expect(isReleased(sockets[0] as Socket)).to.equal(false)
    expect(streams[0]?.send({ data: 'one' })).to.equal('sent')
  })

  it('leaves an HTTP/2 server that accepts HTTP/1 without closeAllConnections', async () => {
    const certificate = await makeCertificate()
    const streams: EventStream[] = []
    const both = createSecureServer({ ...certificate, allowHTTP1: true }, (req, res) => {
      streams.push(openStream(req, res, { clock }))
    })
    both.listen(0, '127.0.0.1')
    await once(both, 'listening')
    server = { url: '', server: both as unknown as Server, stop: async () => void both.close() }
    client = connectTls({ port: (both.address() as AddressInfo).port, host: '127.0.0.1', ca: certificate.cert })
    read(REQUEST)
    await eventually(() => text.includes('sse.open'))
    const had = 'closeAllConnections' in both
    clock.advance(RELEASE_MS)
    expect('closeAllConnections' in both).to.equal(had)
    await streams[0]?.close()
    await once(client, 'close')
  })

  it('ends on a duplex stream that is no socket', async () => {
    const [near, far] = duplexPair()
    const opened: EventStream[] = []
    server = await serve((req, res) => void opened.push(openStream(req, res, { clock })))
    server.server.emit('connection', far)
    let got = ''
    near.on('data', (bytes: Buffer) => {
      got += bytes
    })
    near.write(REQUEST)
    await eventually(() => got.includes('sse.open'))
    clock.advance(RELEASE_MS)
    await eventually(() => {
      collectGarbage()
      return responseOn(far as unknown as Socket) !== undefined && isReleased(far as unknown as Socket)
    })
    const ended = once(near, 'end')
    await opened[0]?.close()
    await ended
    expect(got.endsWith(LAST_CHUNK)).to.equal(true)
    near.end()
  })

  describe('but the application does, so both stay:', () => {
    const finished = channel('http.server.response.finish')
    const ignore = (): void => undefined
    const closeAll = function (this: Server): void {
      Reflect.apply(Reflect.get(Object.getPrototypeOf(this), 'closeAllConnections'), this, [])
    }
    const patched = function (this: ServerResponse, ...args: Parameters<ServerResponse['emit']>): boolean {
      return Reflect.apply(EventEmitter.prototype.emit, this, args)
    }
    const cases: readonly (readonly [string, (req: IncomingMessage, res: ServerResponse) => void])[] = [
      ['a listener for finish', (_, res) => void res.on('finish', ignore)],
      ['a listener for close', (_, res) => void res.on('close', ignore)],
      ['a listener for an event of its own', (_, res) => void res.on('audit', ignore)],
      ['a listener on the request', (req) => void req.on('close', ignore)],
      ['a wrapped write', (_, res) => void Object.assign(res, { write: res.write.bind(res) })],
      ['a wrapped end', (_, res) => void Object.assign(res, { end: res.end.bind(res) })],
      ['a wrapped emit', (_, res) => void Object.assign(res, { emit: res.emit.bind(res) })],
      [
        'a class whose method an agent has patched',
        () => void Object.assign(ServerResponse.prototype, { emit: patched }),
      ],
      [
        'a socket that cannot be replaced',
        (_, res) => void Object.defineProperty(res, 'socket', { get: () => res.req.socket, set: ignore }),
      ],
      [
        'a server whose closeAllConnections cannot be replaced',
        () => void Object.defineProperty(server.server, 'closeAllConnections', { value: closeAll, writable: false }),
      ],
      ['a wrapped on of the request', (req) => void Object.assign(req, { on: req.on.bind(req) })],
      ['a Connection header of its own', (_, res) => void res.setHeader('Connection', 'keep-alive')],
      ['a subscriber of http.server.response.finish', () => finished.subscribe(ignore)],
      ['a server for half-open connections', () => void Object.assign(server.server, { httpAllowHalfOpen: true })],
    ]
    for (const [what, before] of cases) {
      it(what, async () => {
        const { stream, socket, res } = await open({}, before)
        expect([isReleased(socket), responseOn(socket)]).to.deep.equal([false, res])
        if (what.includes('listener')) expect(text).to.match(/^Connection: keep-alive\r$/m)
        finished.unsubscribe(ignore)
        if (ServerResponse.prototype.emit === patched) Reflect.deleteProperty(ServerResponse.prototype, 'emit')
        await stream.close()
        await eventually(() => text.endsWith(LAST_CHUNK))
      })
    }

    it('the option keepRequest', async () => {
      const { socket } = await open({ keepRequest: true })
      expect(isReleased(socket)).to.equal(false)
      expect(text).to.match(/^Connection: keep-alive\r$/m)
    })

    it('a listener that is added in the same turn, after the stream was opened', async () => {
      const closed: string[] = []
      let socket: Socket | undefined
      server = await serve((req, res) => {
        socket = req.socket
        openStream(req, res, { clock })
        req.on('close', () => closed.push('request'))
        res.on('close', () => closed.push('response'))
      })
      await dial()
      clock.advance(RELEASE_MS)
      expect(isReleased(socket as Socket)).to.equal(false)
      client.destroy()
      await eventually(() => closed.length === 2)
    })
  })

  describe('and that the application has kept, works as ever:', () => {
    const NAMES = ['close', 'finish', 'aborted', 'error', 'end'] as const

    function listen(emitter: EventEmitter, name: string, heard: string[]): void {
      for (const event of NAMES) emitter.on(event, () => heard.push(`${name} ${event}`))
    }

    it('listeners that are added later are called once when the client leaves', async () => {
      const { stream, req, res, socket } = await open()
      expect(isReleased(socket)).to.equal(true)
      const heard: string[] = []
      listen(res, 'response', heard)
      listen(req, 'request', heard)
      expect(responseOn(socket)).to.equal(res)
      client.destroy()
      await eventually(() => heard.includes('request close'))
      const expected = ['request aborted', 'request close', 'request error', 'response close']
      expect([...heard].sort()).to.deep.equal(expected)
      expect([stream.closeReason, res.destroyed, req.destroyed]).to.deep.equal(['client_gone', true, true])
    })

    it('listeners that are added later are called once when the stream ends', async () => {
      const { stream, req, res } = await open()
      const heard: string[] = []
      listen(res, 'response', heard)
      listen(req, 'request', heard)
      await stream.close()
      await once(client, 'close')
      await eventually(() => heard.includes('request close'))
      expect([...heard].sort()).to.deep.equal(['request close', 'request end', 'response close', 'response finish'])
      expect(text.endsWith(LAST_CHUNK)).to.equal(true)
      expect([res.writableEnded, res.writableFinished]).to.deep.equal([true, true])
    })

    it('the state tells that the client has left', async () => {
      const { stream, req, res } = await open()
      expect([res.writableEnded, res.destroyed, res.closed, req.destroyed]).to.deep.equal([false, false, false, false])
      client.destroy()
      await eventually(() => stream.closeReason !== undefined)
      await eventually(() => res.closed && req.closed)
      expect([res.destroyed, req.destroyed, req.complete]).to.deep.equal([true, true, true])
    })

    it('the state tells that the stream has ended', async () => {
      const { stream, req, res } = await open()
      await stream.close()
      await eventually(() => res.closed && req.closed)
      expect([res.writableEnded, res.writableFinished, res.destroyed]).to.deep.equal([true, true, true])
    })

    it('end() ends the stream', async () => {
      const { stream, res } = await open()
      res.end('data: the last\n\n')
      expect(stream.closeReason).to.equal('ended')
      await once(client, 'close')
      expect(text)
        .to.contain('data: the last\n\n')
        .and.to.match(/\r\n0\r\n\r\n$/)
    })

    it('methods that were taken from it before', async () => {
      const heard: string[] = []
      let methods: { write: (text: string) => boolean; end: () => unknown; on: ServerResponse['on'] } | undefined
      const { stream, res } = await open({}, (_, res) => {
        methods = { write: res.write.bind(res), end: res.end.bind(res), on: res.on.bind(res) }
      })
      expect(methods?.write('data: bound\n\n')).to.equal(true)
      await eventually(() => text.includes('data: bound\n\n'))
      methods?.on('close', () => heard.push('close'))
      methods?.end()
      await once(client, 'close')
      expect([stream.closeReason, text.endsWith(LAST_CHUNK), res.writableFinished]).to.deep.equal(['ended', true, true])
      await eventually(() => heard.length === 1)
    })

    it('a prototype that is replaced, as Express does for each application', async () => {
      const { stream, res } = await open()
      Object.setPrototypeOf(res, Object.create(Object.getPrototypeOf(res)))
      res.write('data: replaced\n\n')
      await eventually(() => text.includes('data: replaced\n\n'))
      res.end()
      await once(client, 'close')
      expect(stream.closeReason).to.equal('ended')
    })

    it('drain is emitted after a write that filled the socket', async () => {
      const { res } = await open()
      client.pause()
      while (res.write('x'.repeat(1_000_000))) await new Promise((resolve) => setImmediate(resolve))
      expect(res.writableNeedDrain).to.equal(true)
      const drained = once(res, 'drain')
      client.resume()
      await drained
      expect(res.writableNeedDrain).to.equal(false)
    })

    it('a listener on the socket may use it when the client leaves', async () => {
      const closed: string[] = []
      const { stream, res, req } = await open({}, ({ socket }, res) => {
        socket.on('close', () => {
          closed.push(`${res.destroyed} ${res.req.destroyed}`)
          res.end()
          res.on('close', () => closed.push('late'))
        })
      })
      client.destroy()
      await eventually(() => stream.closeReason !== undefined)
      expect(stream.closeReason).to.equal('client_gone')
      await eventually(() => req.closed)
      expect([res.destroyed, req.destroyed, closed[0]]).to.deep.equal([true, true, 'true true'])
    })

    it('the request is destroyed before the response closes', async () => {
      const { req, res } = await open()
      const states: boolean[] = []
      res.on('close', () => states.push(req.destroyed))
      client.destroy()
      await eventually(() => states.length === 1)
      expect(states).to.deep.equal([true])
    })

    it('write() keeps the order with the stream', async () => {
      const { stream, res } = await open()
      stream.send({ data: 1 })
      res.write('data: 2\n\n')
      stream.send({ data: 3 })
      await eventually(() => text.includes('data: 3'))
      expect(text.match(/(?<=^data: )\d$/gm)).to.deep.equal(['1', '2', '3'])
    })

    it('destroy() ends the stream', async () => {
      const { stream, res } = await open()
      res.destroy()
      await once(client, 'close')
      await eventually(() => stream.closeReason === 'client_gone')
    })

    it('its socket has the properties that the application has given it', async () => {
      const { res, socket } = await open()
      const log = Object.assign(() => 'logged', { enabled: true })
      Object.defineProperty(socket, 'tenant', { value: () => 'acme' })
      Object.assign(socket, { log })
      const { socket: proxy } = res
      const seen = proxy as unknown as { tenant(): string; log: typeof log; mark?: number }
      seen.mark = 1
      expect([seen.tenant(), seen.log(), seen.log.enabled, Reflect.get(socket, 'mark')]).to.deep.equal([
        'acme',
        'logged',
        true,
        1,
      ])
      expect(res.socket).to.equal(socket)
    })

    it('a request whose listeners are all removed is destroyed when the client leaves', async () => {
      const { req } = await open()
      req.removeAllListeners()
      client.destroy()
      await eventually(() => req.destroyed)
    })

    it('a method that is wrapped later is called', async () => {
      const { stream, res } = await open()
      const ended: string[] = []
      const { end } = res
      Object.assign(res, {
        end: (...args: Parameters<typeof end>) => {
          ended.push('end')
          return end.apply(res, args)
        },
      })
      await stream.close()
      await once(client, 'close')
      expect(ended).to.deep.equal(['end'])
    })

    it('a writable stream is piped into it', async () => {
      const { stream, res } = await open()
      const { Readable } = await import('node:stream')
      Readable.from(['data: piped\n\n']).pipe(res)
      await once(client, 'close')
      expect(text)
        .to.contain('data: piped\n\n')
        .and.to.match(/\r\n0\r\n\r\n$/)
      expect(stream.closeReason).to.equal('ended')
    })

    it('closeAllConnections closes it', async () => {
      const { stream, res } = await open()
      res.on('close', () => undefined)
      server.server.closeAllConnections()
      await eventually(() => stream.closeReason === 'client_gone')
    })

    it('a second stream is refused', async () => {
      const { req, res } = await open()
      expect(() => openStream(req, res as Response))
        .to.throw()
        .with.property('code', 'ERR_SSE_HEADERS_SENT')
    })
  })
})
