import { once } from 'node:events'
import { createServer, get, type RequestListener } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server, type ServerHttp2Session } from 'node:http2'
import { createServer as createHttpsServer, get as getHttps } from 'node:https'
import { type AddressInfo, connect, type Server } from 'node:net'
import type { Readable } from 'node:stream'
import { expect } from 'chai'
import compression from 'compression'
import express from 'express'
import type { AnyResponse } from '../../lib/http/exchange.js'
import type { StreamRequest } from '../../lib/http/requester.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import { openStream } from '../../lib/stream/open-stream.js'
import { eventually } from '../helpers/eventually.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { frame, getRequest, PREFACE, SETTINGS } from '../hostile/http2-frames.js'
import { type Certificate, makeCertificate } from '../interop/certificate.js'

/** Twice the size of all buffers between server and client. */
const LARGE = 40_000_000
const PORTION = 4_000_000

const WAYS = ['HTTP/1.1', 'HTTP/1.1 with a wrapped response', 'compressing middleware', 'TLS', 'HTTP/2'] as const
type Way = (typeof WAYS)[number]
type Listener = (req: StreamRequest, res: AnyResponse) => void

function createServerFor(way: Way, listener: Listener, tls: Certificate): Server {
  if (way === 'HTTP/2') return createHttp2Server(listener)
  if (way === 'TLS') return createHttpsServer(tls, listener as RequestListener)
  if (way !== 'compressing middleware') return createServer(listener as RequestListener)
  // It wraps `res.write` also for responses that it does not compress.
  return createServer(express().use(compression(), listener as never))
}

async function bodyOf(way: Way, port: number, { cert }: Certificate): Promise<Readable> {
  if (way === 'HTTP/2') {
    const session = connectHttp2(`http://127.0.0.1:${port}`)
    session.on('error', () => undefined)
    const request = session.request()
    request.on('error', () => undefined)
    request.on('close', () => session.destroy())
    return request
  }
  const host = '127.0.0.1'
  const request = way === 'TLS' ? getHttps({ host, port, ca: cert, agent: false }) : get({ host, port, agent: false })
  request.on('error', () => undefined)
  const [response] = (await once(request, 'response')) as [Readable]
  response.on('error', () => undefined)
  return response
}

async function read(body: Readable, bytes: number): Promise<void> {
  for (let had = 0; had < bytes; ) {
    const chunk = body.read() as Buffer | null
    if (chunk === null) await once(body, 'readable')
    else had += chunk.length
  }
}

/** A number that changes when the kernel takes bytes from the server. */
function stateOf({ socket }: StreamRequest): string {
  const states: unknown[] = []
  type Handle = { bytesWritten: number; writeQueueSize: number; _parent?: Handle }
  let { _handle: handle } = socket as unknown as { _handle: Handle | undefined }
  for (; handle !== undefined; handle = handle._parent) states.push(handle.bytesWritten, handle.writeQueueSize)
  return states.join()
}

describe('a client that reads one large event slowly', () => {
  for (const way of WAYS) {
    it(`counts as stalled only after it stops reading, on ${way}`, async () => {
      const clock = new FakeClock()
      const tls = await makeCertificate()
      let onOpen: ((opened: { stream: EventStream; req: StreamRequest }) => void) | undefined
      const opened = new Promise<{ stream: EventStream; req: StreamRequest }>((resolve) => {
        onOpen = resolve
      })
      const listener: Listener = (req, res) => {
        if (way === 'HTTP/1.1 with a wrapped response') res.write = res.write.bind(res) as typeof res.write
        const stream = openStream(req, res, { clock, stallMs: 30_000, maxEventBytes: 2 * LARGE, heartbeatMs: 0 })
        onOpen?.({ stream, req })
      }
      const server = createServerFor(way, listener, tls)
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const body = await bodyOf(way, (server.address() as AddressInfo).port, tls)
      const { stream, req } = await opened
      stream.send({ data: 'x'.repeat(LARGE) })
      expect(stream.send({ data: 'next' })).to.equal('queued')

      for (let portion = 1; portion <= 5; portion++) {
        const before = stateOf(req)
        await read(body, PORTION)
        await eventually(() => stateOf(req) !== before)
        clock.advance(20_000)
        expect(stream.closeReason, `after ${portion} portions`).to.equal(undefined)
      }
      // Bytes under way still fill the buffers; then no more are taken.
      await eventually(() => {
        clock.advance(35_000)
        return stream.closeReason !== undefined
      })
      expect(stream.closeReason).to.equal('stalled')
      body.destroy()
      server.close()
      await once(server, 'close')
    })
  }
})

describe('a client that stops reading one of its HTTP/2 streams', () => {
  for (const [what, events, bytes] of [
    ['many events', 40, 10_000],
    ['one large event', 1, 1_000_000],
  ] as const) {
    it(`stalls only that stream, not the other one of the connection: ${what}`, async () => {
      const clock = new FakeClock()
      const streams: EventStream[] = []
      const server = createHttp2Server((req, res) => {
        streams.push(openStream(req, res, { clock, stallMs: 30_000, heartbeatMs: 10_000, maxEventBytes: 2_000_000 }))
      })
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
      const open = async (): Promise<[EventStream, Readable]> => {
        const request = session.request()
        request.on('error', () => undefined)
        await once(request, 'response')
        return [streams.at(-1) as EventStream, request]
      }
      const [stopped] = await open()
      const [busy, body] = await open()
      let had = 0
      body.on('data', (chunk: Buffer) => {
        had += chunk.length
      })
      for (let n = 0; n < events; n++) stopped.send({ data: 'x'.repeat(bytes) })
      for (let seconds = 0; seconds < 60 && stopped.closeReason === undefined; seconds += 5) {
        const before = had
        busy.send({ data: 'y'.repeat(20_000) })
        await eventually(() => had >= before + 20_000)
        clock.advance(5000)
      }
      expect([stopped.closeReason, busy.closeReason]).to.deep.equal(['stalled', undefined])
      busy.close()
      session.destroy()
      server.close()
      await once(server, 'close')
    })
  }
})

describe('a client that has left an HTTP/2 connection without Node noticing', () => {
  it('counts as stalled, although its streams have room', async () => {
    const clock = new FakeClock()
    const opened: EventStream[] = []
    const server = createHttp2Server((req, res) => {
      opened.push(openStream(req, res, { clock, stallMs: 30_000, heartbeatMs: 10_000, closeGraceMs: 1000 }))
    })
    server.on('sessionError', () => undefined)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const session = once(server, 'session') as Promise<[ServerHttp2Session]>
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    socket.on('error', () => undefined)
    // After data for a stream that does not exist, nothing more is read from the connection.
    const invalid = frame(0, 0, 5, Buffer.alloc(10))
    socket.write(Buffer.concat([PREFACE, SETTINGS, getRequest('/', 1), invalid]))
    await eventually(() => opened.length === 1)
    socket.destroy()
    const [stream] = opened
    for (let seconds = 0; seconds < 90 && stream?.closeReason === undefined; seconds += 5) {
      clock.advance(5000)
      await new Promise(setImmediate)
    }
    // Node 22 and later notice it.
    expect(stream?.closeReason).to.be.oneOf(['stalled', 'client_gone'])
    clock.advance(1000)
    await stream?.close()
    const [connection] = await session
    connection.destroy()
    server.close()
    await once(server, 'close')
  })

  it('does not count as stalled while its bytes are taken', async () => {
    const clock = new FakeClock()
    const opened: EventStream[] = []
    const server = createHttp2Server((req, res) => {
      opened.push(openStream(req, res, { clock, stallMs: 30_000, heartbeatMs: 10_000 }))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const body = session.request()
    body.resume()
    await once(body, 'response')
    const [stream] = opened
    for (let seconds = 0; seconds < 120; seconds += 10) {
      stream?.send({ data: seconds })
      clock.advance(10_000)
      await once(body, 'data')
    }
    expect(stream?.closeReason).to.equal(undefined)
    session.destroy()
    server.close()
    await once(server, 'close')
  })
})
