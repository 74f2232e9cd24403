import { once } from 'node:events'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import { createStreamLimits } from '../../lib/limits/streams/stream-limits.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe("the multiplexer's handlers on Node's own requests and responses", () => {
  let multiplexer: Multiplexer
  let server: TestServer
  let passedOn: unknown[]

  beforeEach(async () => {
    passedOn = []
    multiplexer = createMultiplexer({ streamLimits: createStreamLimits({ perIp: 1 }) })
    const handlers = {
      stream: multiplexer.stream(() => 'log'),
      poll: multiplexer.poll(() => 'log'),
      ack: multiplexer.ack(),
      fails: multiplexer.stream(() => {
        throw new Error('no channel for this one')
      }),
    }
    server = await serve((req, res) => {
      const name = /^\/(\w+)/.exec(req.url ?? '')?.[1] as keyof typeof handlers
      void handlers[name](req, res, (error) => {
        passedOn.push(error)
        res.writeHead(500).end()
      })
    })
  })

  afterEach(async () => {
    await multiplexer.close()
    await server.stop()
  })

  it('stream, resume, poll and acknowledge', async () => {
    const first = await SseClient.open(`${server.url}/stream?window=10`)
    const { data } = await first.control('sse.open')
    await multiplexer.publish('log', { data: 1 })
    await first.messagesUntil(1)
    const ack = await fetch(`${server.url}/ack`, {
      method: 'POST',
      body: JSON.stringify({ stream: JSON.parse(data).stream, cursor: first.lastEventId }),
    })
    expect(ack.status).to.equal(204)
    first.close()
    await eventually(() => multiplexer.status().streams === 0)
    await multiplexer.publish('log', { data: 2 })
    const second = await SseClient.open(`${server.url}/stream`, { 'last-event-id': first.lastEventId })
    await second.messagesUntil(1)
    expect(second.messages.map((message) => message.data)).to.deep.equal(['2'])
    const poll = await (await fetch(`${server.url}/poll?cursor=${first.lastEventId}`)).json()
    expect(poll).to.deep.include({ stream: true }).and.nested.include({ 'events[0].data': '2' })
    second.close()
  })

  it("answer the kit's errors, count by the connection's address, and pass other errors to next", async () => {
    const open = await SseClient.open(`${server.url}/stream`)
    await open.control('sse.open')
    for (const [path, status, code] of [
      ['/stream', 429, 'ERR_SSE_STREAM_LIMIT'],
      ['/stream?window=none', 400, 'ERR_SSE_QUERY_INVALID'],
    ] as const) {
      const answer = await fetch(server.url + path)
      expect(answer.status).to.equal(status)
      expect(await answer.json()).to.include({ code })
    }
    expect((await fetch(`${server.url}/fails`)).status).to.equal(500)
    expect(passedOn).to.have.length(1)
    expect(passedOn[0]).to.have.property('message', 'no channel for this one')
    open.close()
  })

  it('stream over HTTP/2', async () => {
    const http2 = createHttp2Server((req, res) => void multiplexer.stream(() => 'log')(req, res, () => undefined))
    http2.listen(0, '127.0.0.1')
    await once(http2, 'listening')
    const session = connectHttp2(`http://127.0.0.1:${(http2.address() as AddressInfo).port}`)
    const request = session.request({ ':path': '/' })
    const [headers] = await once(request, 'response')
    await multiplexer.publish('log', { data: 'over HTTP/2' })
    let text = ''
    for await (const chunk of request) {
      text += chunk
      if (text.includes('over HTTP/2')) break
    }
    expect(headers[':status']).to.equal(200)
    expect(text).to.match(/^retry: 3000\nid: \w+-0\nevent: sse.open\n/)
    session.destroy()
    http2.close()
    await once(http2, 'close')
  })
})
