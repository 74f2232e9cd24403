import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { expect } from 'chai'
import compression from 'compression'
import express, { type Response } from 'express'
import type { SendResult } from '../../lib/core/message.js'
import { diagnosticsChannels } from '../../lib/index.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import { openStream } from '../../lib/stream/open-stream.js'
import type { StreamOptions } from '../../lib/stream/options.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { isReleased, RELEASE_MS } from '../helpers/released.js'
import { SseClient } from '../helpers/sse-client.js'

describe('a stream on a response that the application uses too', () => {
  let server: TestServer
  let client: SseClient | undefined

  afterEach(async () => {
    client?.close()
    client = undefined
    await server.stop()
  })

  /** Sends the requests on one connection and returns the answer, up to the text `until`. */
  async function ask(requests: string, until: string | RegExp): Promise<string> {
    const socket = connect((server.server.address() as AddressInfo).port, '127.0.0.1')
    socket.write(requests)
    let answer = ''
    for await (const chunk of socket) {
      answer += chunk
      if (answer.search(until) !== -1) break
    }
    socket.destroy()
    return answer
  }

  const get = (path: string, headers = ''): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${headers}\r\n`

  for (const released of [false, true]) {
    describe(released ? 'after its request was released' : 'before its request is released', () => {
      async function open(before?: (res: Response) => void, options: StreamOptions = {}) {
        const clock = new FakeClock()
        const app = express().use(sseMiddleware({ clock, ...options }))
        const opened = new Promise<{ stream: EventStream; res: Response }>((resolve) => {
          app.get('/', (_req, res) => {
            before?.(res)
            resolve({ stream: res.sse(), res })
          })
        })
        server = await serve(app)
        client = await SseClient.open(server.url)
        await client.control('sse.open')
        const { stream, res } = await opened
        const { socket } = res.req
        if (released) clock.advance(RELEASE_MS)
        // A response that the application has wrapped stays.
        expect(isReleased(socket)).to.equal(released && before === undefined)
        return { stream, res, client, clock }
      }

      it('reports an error of the response, which ends neither the process nor the stream', async () => {
        const { stream, res } = await open()
        const reported: unknown[] = []
        const onError = (message: unknown): void => void reported.push(message)
        diagnosticsChannels.streamError.subscribe(onError)
        const error = new Error('broken')
        res.emit('error', error)
        diagnosticsChannels.streamError.unsubscribe(onError)
        expect(reported).to.deep.equal([{ stream: stream.id, error }])
        expect([stream.closeReason, stream.send({ data: 'more' })]).to.deep.equal([undefined, 'sent'])
      })

      it('closes once, as ended, and keeps no timer', async () => {
        const { stream, res, client, clock } = await open()
        res.end()
        expect(stream.closeReason).to.equal('ended')
        await client.ended()
        await stream.close('error')
        expect(stream.closeReason).to.equal('ended')
        expect(client.raw).to.not.include('sse.reconnect')
        expect(clock.pending).to.equal(0)
      })

      it('closes within the grace time if the client does not read the rest', async () => {
        const { stream, res, client, clock } = await open(undefined, { closeGraceMs: 1000, maxEventBytes: 50_000_000 })
        client.pause()
        stream.send({ data: 'x'.repeat(40_000_000) })
        res.end()
        expect(stream.closeReason).to.equal('ended')
        const end = stream.close()
        clock.advance(1000)
        await end
      })

      it('is closed after the response was destroyed, in the same tick', async () => {
        const { stream, res } = await open()
        res.destroy()
        expect(stream.send({ data: 1 })).to.equal('closed')
        expect(stream.closeReason).to.equal('client_gone')
        await stream.close()
      })

      it('is closed after its socket was destroyed', async () => {
        const { stream, res } = await open()
        res.socket?.destroy()
        expect(stream.send({ data: 1 })).to.equal('closed')
        await stream.close()
      })

      it('is closed after its socket was ended, as shutdown libraries do', async () => {
        const { stream, res, client } = await open()
        res.socket?.end()
        expect(stream.send({ data: 'lost' })).to.equal('closed')
        expect(stream.closeReason).to.equal('client_gone')
        await client.ended()
        expect(client.raw).to.not.include('lost')
        await stream.close()
      })

      it('writes nothing to a socket that was detached from the response', async () => {
        const { stream, res, client } = await open()
        const { socket } = res
        if (socket) res.detachSocket(socket)
        stream.send({ data: 'lost' })
        socket?.end('0\r\n\r\n')
        await client.ended()
        expect(client.raw).to.not.include('lost')
        await stream.close()
      })

      it('is closed by res.end() while its socket is full, and queues nothing', async () => {
        const { stream, res, client } = await open(
          (response) => {
            response.write = response.write.bind(response) as typeof response.write
          },
          { maxEventBytes: 50_000_000 },
        )
        client.pause()
        stream.send({ data: 'x'.repeat(40_000_000) })
        expect(stream.send({ data: 'waits' })).to.equal('queued')
        res.end()
        expect(stream.send({ data: 'too late' })).to.equal('closed')
        expect(stream.closeReason).to.equal('ended')
      })

      it('keeps the order of its writes and those of the application, corked or not', async () => {
        const { stream, res, client } = await open()
        stream.send({ data: 1 })
        res.write('data: 2\n\n')
        stream.send({ data: 3 })
        res.cork()
        res.write('data: 4\n\n')
        stream.send({ data: 5 })
        res.write('data: 6\n\n')
        stream.send({ data: 7 })
        res.uncork()
        stream.send({ data: 8 })
        await client.messagesUntil(8)
        expect(client.messages.map(({ data }) => Number(data))).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8])
      })

      it('ends after the events that the response held back because the application had corked it', async () => {
        const { stream, res, client } = await open()
        res.cork()
        stream.send({ data: 'held back' })
        await stream.close()
        await client.ended()
        expect(client.messages.map(({ data }) => data)).to.deep.equal(['held back'])
        await client.control('sse.reconnect')
      })

      it('writes through a res.write that was wrapped after the stream was opened', async () => {
        const { stream, res, client } = await open(undefined, { heartbeatMs: 0 })
        const seen: string[] = []
        stream.send({ data: 'before' })
        const write = res.write.bind(res) as (chunk: Buffer) => boolean
        res.write = ((chunk: Buffer) => {
          seen.push(chunk.toString())
          return write(chunk)
        }) as typeof res.write
        stream.send({ data: 'after' })
        stream.comment('too')
        await client.until(({ comments }) => comments.length === 1)
        expect(seen).to.deep.equal(['data: after\n\n', ': too\n\n'])
        expect(client.messages.map(({ data }) => data)).to.deep.equal(['before', 'after'])
      })

      it('waits for room with a res.write that was wrapped later', async () => {
        const { stream, res, client } = await open(undefined, { queueEvents: 5, maxEventBytes: 50_000_000 })
        res.write = res.write.bind(res) as typeof res.write
        client.pause()
        stream.send({ data: 'x'.repeat(20_000_000) })
        expect(stream.send({ data: 'next' })).to.equal('queued')
        client.resume()
        await client.messagesUntil(2)
        expect(client.messages.at(-1)?.data).to.equal('next')
      })
    })
  }

  it('writes nothing after the end, and the connection stays open for the next request', async () => {
    const verdicts: SendResult[] = []
    const reasons: unknown[] = []
    server = await serve((req, res) => {
      if (req.url === '/next') {
        res.end('next answer')
        return
      }
      const stream = openStream(req, res, { keepRequest: true })
      stream.signal.addEventListener('abort', () => reasons.push(stream.signal.reason))
      setImmediate(() => {
        verdicts.push(stream.send({ data: 'one' }))
        res.end()
        reasons.push(stream.closeReason)
        verdicts.push(stream.send({ data: 'two' }), stream.comment('three'))
      })
    })
    const answer = await ask(get('/') + get('/next'), 'next answer')
    expect(answer).to.match(/data: one\n\n\r\n0\r\n\r\nHTTP\/1\.1 200 OK/)
    expect(answer).to.not.match(/two|three/)
    expect(verdicts).to.deep.equal(['sent', 'closed', 'closed'])
    expect(reasons).to.deep.equal(['ended', 'ended'])
  })

  it('is closed by res.end() on HTTP/2', async () => {
    const verdicts: unknown[] = []
    const plain = createHttp2Server((req, res) => {
      const stream = openStream(req, res)
      stream.signal.addEventListener('abort', () => verdicts.push(stream.closeReason))
      verdicts.push(stream.send({ data: 'one' }))
      res.end()
      verdicts.push(stream.send({ data: 'two' }))
    })
    plain.listen(0, '127.0.0.1')
    await once(plain, 'listening')
    server = { url: '', server: undefined as never, stop: async () => void plain.close() }
    const session = connectHttp2(`http://127.0.0.1:${(plain.address() as AddressInfo).port}`)
    let body = ''
    for await (const chunk of session.request()) body += chunk
    session.close()
    expect(body).to.include('data: one').and.not.include('two')
    expect(verdicts).to.deep.equal(['sent', 'ended', 'closed'])
  })

  it('is closed by res.end() with compressing middleware', async () => {
    const app = express()
    app.use(compression({ threshold: 0 }), sseMiddleware())
    const closed = new Promise<unknown>((resolve) => {
      app.get('/', (_req, res) => {
        const stream = res.sse()
        stream.signal.addEventListener('abort', () => resolve(stream.signal.reason))
        stream.send({ data: 'one' })
        setImmediate(() => res.end())
      })
    })
    server = await serve(app)
    client = await SseClient.open(server.url)
    await client.ended()
    expect(client.messages.map(({ data }) => data)).to.deep.equal(['one'])
    expect(await closed).to.equal('ended')
  })

  describe('in its headers', () => {
    async function head(
      request: string,
      before: (res: ServerResponse) => void = () => undefined,
      options: StreamOptions = {},
    ): Promise<string> {
      server = await serve((req, res) => {
        before(res)
        openStream(req, res, options)
      })
      return (await ask(request, 'sse.open')).split('\r\n\r\n')[0] ?? ''
    }

    it('keeps the Connection header of Node: a client that requests close gets it', async () => {
      expect(await head(get('/', 'Connection: close\r\n'))).to.match(/^Connection: close$/m)
    })

    it('sends close, because the request is released, or keep-alive if it is kept', async () => {
      expect(await head(get('/'))).to.match(/^Connection: close$/m)
      await server.stop()
      expect(await head(get('/'), undefined, { keepRequest: true })).to.match(/^Connection: keep-alive$/m)
    })

    it('sends keep-alive if the application listens to the response or the request', async () => {
      const listens = (res: ServerResponse): void => void res.on('close', () => undefined)
      expect(await head(get('/'), listens)).to.match(/^Connection: keep-alive$/m)
      await server.stop()
      const listensToRequest = (res: ServerResponse): void => void res.req.on('close', () => undefined)
      expect(await head(get('/'), listensToRequest)).to.match(/^Connection: keep-alive$/m)
    })

    it('sends keep-alive in the answer to a POST, after which the client probably sends more', async () => {
      expect(await head(get('/').replace('GET', 'POST'))).to.match(/^Connection: keep-alive$/m)
    })

    it('keeps a Connection header that was set before', async () => {
      expect(await head(get('/'), (res) => res.setHeader('Connection', 'close'))).to.match(/^Connection: close$/m)
    })

    it('lets maxRequestsPerSocket end the connection', async () => {
      server = await serve((req, res) => void openStream(req, res))
      server.server.maxRequestsPerSocket = 1
      expect(await ask(get('/'), 'sse.open')).to.match(/^Connection: close$/m)
    })

    it('replaces headers that would break the stream, and keeps the others', async () => {
      const answer = await head(get('/'), (res) => {
        res.setHeader('Content-Type', 'text/html')
        res.setHeader('Cache-Control', 'public, max-age=60')
        res.setHeader('X-Accel-Buffering', 'yes')
        res.setHeader('Content-Length', '5')
        res.setHeader('X-Request-Id', 'r-1')
        res.setHeader('Vary', 'Origin')
      })
      expect(answer).to.match(/^Content-Type: text\/event-stream$/m)
      expect(answer).to.match(/^Cache-Control: private, no-store, no-transform$/m)
      expect(answer).to.match(/^X-Accel-Buffering: no$/m)
      expect(answer).to.match(/^X-Request-Id: r-1$/m)
      expect(answer).to.match(/^Vary: Origin$/m)
      expect(answer).to.not.include('Content-Length')
    })
  })
})
