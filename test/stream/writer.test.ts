import { once } from 'node:events'
import { Agent, createServer, get, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect } from 'chai'
import express from 'express'
import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import { openStream } from '../../lib/stream/open-stream.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe('the writer of a stream', () => {
  let server: TestServer
  afterEach(() => server.stop())

  it('makes one write per stream and tick, of one buffer for all streams', async () => {
    const multiplexer = createMultiplexer({ stream: { heartbeatMs: 0 } })
    const written: unknown[][] = []
    const app = express().get(
      '/',
      (req, _res, next) => {
        const chunks: unknown[] = []
        written.push(chunks)
        const write = req.socket.write.bind(req.socket) as (chunk: unknown) => boolean
        req.socket.write = ((chunk: unknown) => {
          chunks.push(chunk)
          return write(chunk)
        }) as Socket['write']
        next()
      },
      multiplexer.stream(() => 'log'),
    )
    server = await serve(app)
    const clients = [await SseClient.open(server.url), await SseClient.open(server.url)]
    await Promise.all(clients.map((client) => client.control('sse.open')))
    const before = written.map(({ length }) => length)
    for (let n = 1; n <= 20; n++) void multiplexer.publish('log', { data: n })
    await Promise.all(clients.map((client) => client.messagesUntil(20)))
    expect(written.map(({ length }, i) => length - (before[i] ?? 0))).to.deep.equal([1, 1])
    expect(written[0]?.at(-1)).to.be.instanceOf(Buffer)
    expect(written[0]?.at(-1)).to.equal(written[1]?.at(-1))
    await multiplexer.close()
  })

  it('has room again at the end of the tick in which the stream was opened, however much was sent', async () => {
    let stream: EventStream | undefined
    server = await serve(
      express().get('/', (req, res) => {
        stream = openStream(req, res)
        // More than the socket's high-water mark, corked until the end of this tick.
        expect(stream.send({ data: 'x'.repeat(20_000) })).to.equal('sent')
        expect(stream.send({ data: 'next' })).to.equal('queued')
      }),
    )
    const client = await SseClient.open(server.url)
    await client.messagesUntil(2)
    expect(client.messages.map(({ data }) => data.length)).to.deep.equal([20_000, 4])
    expect(stream?.status()).to.include({ full: false, queued: 0 })
    client.close()
  })

  it('keeps no listener on a connection that stays open for the next request', async () => {
    const sockets: Socket[] = []
    server = await serve((req, res) => {
      sockets.push(req.socket)
      const stream = openStream(req, res, { keepRequest: true })
      stream.send({ data: sockets.length })
      void stream.close()
    })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const listeners: number[] = []
    for (let n = 1; n <= 3; n++) {
      const [answer] = (await once(get(server.url, { agent }), 'response')) as [IncomingMessage]
      let body = ''
      for await (const chunk of answer) body += chunk
      expect(body)
        .to.include(`data: ${n}\n\n`)
        .and.match(/event: sse\.reconnect\ndata: .*\n\n$/)
      listeners.push((sockets[0] as Socket).listenerCount('drain'))
    }
    agent.destroy()
    expect(new Set(sockets).size, 'one connection').to.equal(1)
    expect(new Set(listeners).size, `drain listeners ${listeners}`).to.equal(1)
  })

  it('keeps the order of answers to pipelined requests', async () => {
    server = await serve((req, res) => {
      if (req.url === '/slow') {
        setTimeout(() => res.end('slow answer'), 20)
        return
      }
      const stream = openStream(req, res)
      stream.send({ data: 'after the slow one' })
      void stream.close()
    })
    const socket = connect((server.server.address() as AddressInfo).port, '127.0.0.1')
    const ask = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
    socket.write(ask('/slow') + ask('/'))
    let answers = ''
    for await (const chunk of socket) {
      answers += chunk
      if (answers.endsWith('\r\n0\r\n\r\n')) break
    }
    expect(answers).to.match(
      /^HTTP\/1\.1 200 OK.*slow answer.*HTTP\/1\.1 200 OK.*data: after the slow one\n\n.*\r\n0\r\n\r\n$/s,
    )
  })

  it('uses res.write if the application has wrapped it', async () => {
    const seen: string[] = []
    server = await serve((req, res) => {
      const write = res.write.bind(res) as (chunk: Buffer) => boolean
      res.write = ((chunk: Buffer) => {
        seen.push(chunk.toString())
        return write(chunk)
      }) as typeof res.write
      openStream(req, res).send({ data: 'seen' })
    })
    const client = await SseClient.open(server.url)
    await client.messagesUntil(1)
    expect(seen.at(-1)).to.equal('data: seen\n\n')
    client.close()
  })

  it('does not throw if the stream was opened on a destroyed response', async () => {
    const verdicts: unknown[] = []
    const plain = createServer((req, res) => {
      req.socket.destroy()
      res.once('close', () => {
        const stream = openStream(req, res)
        stream.signal.addEventListener('abort', () => verdicts.push(stream.closeReason))
        verdicts.push(stream.send({ data: 1 }))
      })
    })
    plain.listen(0, '127.0.0.1')
    await once(plain, 'listening')
    server = { url: '', server: plain, stop: async () => void plain.close() }
    const failed = get({ port: (plain.address() as AddressInfo).port })
    await once(failed, 'error')
    await eventually(() => verdicts.length >= 2)
    expect(verdicts).to.deep.equal(['closed', 'client_gone'])
  })
})
