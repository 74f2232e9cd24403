import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { expect } from 'chai'
import express from 'express'
import { InvalidOptionError } from '../../lib/core/errors.js'
import { shutdown } from '../../lib/http/shutdown.js'
import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { serve } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe('shutdown', () => {
  it('ends streams, answers pending requests, closes idle connections, and then the parts in order', async () => {
    const order: string[] = []
    const multiplexer = createMultiplexer()
    let answer: () => void = () => undefined
    const app = express()
      .get(
        '/stream',
        multiplexer.stream(() => 'log'),
      )
      .get('/slow', (_req, res) => {
        answer = () => res.end('answered')
      })
      .get('/quick', (_req, res) => void res.end('quick'))
    const { url, server } = await serve(app)
    const client = await SseClient.open(`${url}/stream`)
    const agent = new Agent({ keepAlive: true })
    const request = (path: string) =>
      new Promise<string>((resolve, reject) => {
        get(`${url}${path}`, { agent }, (res: IncomingMessage) => {
          let body = ''
          res.on('data', (data) => {
            body += data
          })
          res.on('end', () => resolve(body))
        }).on('error', reject)
      })
    expect(await request('/quick')).to.equal('quick')
    const requested = once(server, 'request')
    const slow = request('/slow').then((body) => order.push(body))
    await requested
    const ending = shutdown({
      server,
      streams: [multiplexer],
      parts: [{ close: () => void order.push('first') }, { close: async () => void order.push('second') }],
    })
    await client.control('sse.reconnect')
    await client.ended()
    answer()
    await Promise.all([ending, slow])
    expect(order).to.deep.equal(['answered', 'first', 'second'])
    agent.destroy()
  })

  it('destroys connections that do not end, on HTTP/1.1 and HTTP/2', async () => {
    const { url, server } = await serve(() => undefined)
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.on('error', () => undefined)
    const requested = once(server, 'request')
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await requested
    const cut = once(socket, 'close')
    await shutdown({ server, streams: [], graceMs: 50 })
    await cut

    const http2 = createHttp2Server(() => undefined)
    http2.listen(0, '127.0.0.1')
    await once(http2, 'listening')
    const client = connectHttp2(`http://127.0.0.1:${(http2.address() as AddressInfo).port}`)
    client.on('error', () => undefined)
    client.request().on('error', () => undefined)
    await once(http2, 'request')
    await shutdown({ server: http2, streams: [], graceMs: 50 })
    client.destroy()
  })

  it('closes the other parts if a part cannot be closed, and reports that part', async () => {
    const { server } = await serve(() => undefined)
    const closed: string[] = []
    const error = await shutdown({
      server,
      streams: [
        { close: () => Promise.reject(new Error('streams')) },
        {
          close: () => {
            throw new Error('thrown')
          },
        },
      ],
      parts: [
        {
          close: () => {
            throw new Error('part')
          },
        },
        { close: () => new Promise(() => undefined) },
        { close: () => closed.push('last') },
      ],
      graceMs: 50,
    }).catch((error: unknown) => error)
    expect(error).to.be.instanceOf(AggregateError)
    const messages = (error as AggregateError).errors.map(({ message }: Error) => message)
    expect(messages).to.have.members(['streams', 'thrown', 'part', 'A part did not close within 50 ms'])
    expect(closed).to.deep.equal(['last'])
  })

  it('rejects a part that it cannot close before it closes any part', async () => {
    const { server, stop } = await serve((_req, res) => res.end())
    for (const wrong of [
      { streams: [{}] },
      { streams: undefined },
      { streams: [], parts: [undefined] },
      { graceMs: -1 },
    ]) {
      const error = await shutdown({ server, streams: [], ...wrong } as never).catch((error: unknown) => error)
      expect(error).to.be.instanceOf(InvalidOptionError)
    }
    expect(server.listening).to.equal(true)
    await stop()
  })
})
