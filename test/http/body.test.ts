import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttp1Server, type IncomingMessage, type RequestListener, request } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { expect } from 'chai'
import express from 'express'
import supertest from 'supertest'
import type { AnyRequest, AnyResponse } from '../../lib/http/exchange.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { tickets } from '../../lib/routers/tickets.js'
import { webhooks } from '../../lib/routers/webhooks/webhooks.js'
import { MemoryStore } from '../../lib/store/memory.js'
import { eventually } from '../helpers/eventually.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'
import { serve } from '../helpers/http-server.js'

const SECRET = 'a-webhook-secret'
const DELIVERY = JSON.stringify({ object: 'whatsapp_business_account', entry: [] })
const ACK = JSON.stringify({ stream: 'a', cursor: 'b' })

function signed(body: string): Record<string, string> {
  return { 'x-hub-signature-256': `sha256=${createHmac('sha256', SECRET).update(body).digest('hex')}` }
}

interface Answered {
  readonly status: number
  readonly code: string | undefined
}

describe('a request body', () => {
  let multiplexer: Multiplexer
  let hooks: ReturnType<typeof webhooks>
  let stops: (() => unknown)[]

  beforeEach(() => {
    stops = []
    multiplexer = createMultiplexer()
    hooks = webhooks({ secrets: SECRET, verifyToken: 'a-verify-token', onMessage: () => undefined })
  })

  afterEach(async () => {
    for (const stop of stops.reverse()) await stop()
    await hooks.close()
    await multiplexer.close()
  })

  /** Posts over HTTP/2 as Node's client does, without a `Content-Length`. */
  async function post(
    listener: (req: AnyRequest, res: AnyResponse) => unknown,
    body: string,
    headers: Record<string, string> = {},
  ): Promise<Answered> {
    const server = createHttp2Server((req, res) => void listener(req, res))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    stops.push(() => {
      session.destroy()
      server.close()
    })
    const stream = session.request({ ':method': 'POST', ':path': '/whatsapp', ...headers })
    stream.end(body)
    const [head] = await once(stream, 'response')
    let text = ''
    for await (const chunk of stream) text += String(chunk)
    return { status: head[':status'], code: text === '' ? undefined : JSON.parse(text).code }
  }

  /** Like adapters for Express on HTTP/2. */
  const deliver = (req: AnyRequest, res: AnyResponse): void => {
    const answer = Object.assign(res, { json: (value: unknown) => res.end(JSON.stringify(value)) })
    hooks(req as never, answer as never, (error: unknown) => res.end(JSON.stringify({ code: String(error) })))
  }

  it('is read on HTTP/2 without a Content-Length', async () => {
    const ack = multiplexer.ack()
    expect(await post((req, res) => ack(req as never, res as never, () => res.destroy()), ACK)).to.deep.equal({
      status: 404,
      code: 'ERR_SSE_STREAM_UNKNOWN',
    })
    expect(await post(deliver, DELIVERY, signed(DELIVERY))).to.deep.equal({ status: 200, code: undefined })
  })

  it('that other code has consumed is reported as consumed, also on HTTP/2 without a Content-Length', async () => {
    const answered = await post(
      (req, res) => {
        req.on('end', () => deliver(req, res)).resume()
      },
      DELIVERY,
      signed(DELIVERY),
    )
    expect(answered).to.deep.equal({ status: 500, code: 'ERR_SSE_RAW_BODY_CONSUMED' })
  })

  it('over the limit is refused before its end, and the connection stays usable', async () => {
    const server = await serve(express().use(hooks))
    stops.push(() => server.stop())
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    stops.push(() => socket.destroy())
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    socket.write('POST /whatsapp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
    const chunk = 'x'.repeat(65_536)
    for (let sent = 0; sent <= 1_048_576; sent += chunk.length) socket.write(`10000\r\n${chunk}\r\n`)
    await eventually(() => text.startsWith('HTTP/1.1 413'))
    socket.write('0\r\n\r\nGET /whatsapp HTTP/1.1\r\nHost: a\r\n\r\n')
    await eventually(() => text.includes('HTTP/1.1 403'))
  })

  it('stops being awaited when its client disconnects, before or during the read', async () => {
    const ack = multiplexer.ack()
    const settled: unknown[] = []
    for (const late of [false, true]) {
      let markArrived: () => void = () => undefined
      const arrived = new Promise<void>((resolve) => {
        markArrived = resolve
      })
      const listener: RequestListener = async (req, res) => {
        markArrived()
        if (late) await once(res, 'close')
        await ack(req, res, (error) => settled.push(error))
        settled.push(late)
      }
      const server = await serve(listener)
      stops.push(() => server.stop())
      const leaving = request(server.url, { method: 'POST', headers: { 'content-length': 100 }, agent: false })
      leaving.on('error', () => undefined)
      leaving.write('{')
      await arrived
      leaving.destroy()
      await eventually(() => settled.includes(late))
    }
    expect(settled).to.deep.equal([false, true])
  })

  for (const { name, express: version } of EXPRESS_VERSIONS) {
    for (const [parser, middleware] of Object.entries({
      none: (_: IncomingMessage, __: unknown, next: () => void) => next(),
      json: version.json(),
      'json of any type': version.json({ type: () => true }),
      text: version.text({ type: () => true }),
      raw: version.raw({ type: () => true }),
    })) {
      it(`is parsed as JSON for any Content-Type, behind a parser: ${parser}, ${name}`, async () => {
        const app = version()
        app.use(middleware as never)
        app.use('/ack', multiplexer.ack() as never)
        app.use((req: { auth?: unknown }, _: unknown, next: () => void) => {
          req.auth = { user: 'ada', tenant: 'acme', expiresAt: Date.now() + 60_000, claims: {} }
          next()
        })
        app.use('/tickets', tickets({ store: new MemoryStore() }) as never)
        const agent = supertest(createHttp1Server(app as never))
        for (const type of ['text/plain', 'application/json']) {
          const answer = await agent.post('/ack').type(type).send(ACK)
          expect(answer.status, type).to.equal(404)
          const ticket = await agent.post('/tickets').type(type).send('{"path":"/x"}')
          expect(ticket.status, type).to.equal(200)
        }
      })
    }
  }
})
