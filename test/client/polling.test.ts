import { expect } from 'chai'
import express from 'express'
import { createEventBus } from '../../lib/client/bus.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { answering, blocks, json, type Recorded, record, status } from './recorded.js'

describe('the client behind a proxy that buffers streams', () => {
  let multiplexer: Multiplexer
  let server: TestServer
  let client: Recorded | undefined
  let isBuffering: boolean
  let streams: number
  let polls: URLSearchParams[]
  let published: number
  let publishing: Promise<void> | undefined

  beforeEach(async () => {
    isBuffering = false
    streams = 0
    polls = []
    published = 0
    multiplexer = createMultiplexer({ lingerMs: 0, stream: { retryMs: 10 } })
    const app = express()
    // Like a proxy that forwards a stream only after its end.
    app.get('/stream', (_, res, next) => {
      streams++
      if (!isBuffering) return next()
      res.type('text/event-stream').flushHeaders()
    })
    app.get(
      '/stream',
      multiplexer.stream(() => 'log'),
    )
    app.get('/poll', (req, _, next) => {
      polls.push(new URLSearchParams(req.url.split('?')[1]))
      next()
    })
    app.get(
      '/poll',
      multiplexer.poll(() => 'log', { pollMs: 10 }),
    )
    server = await serve(app)
  })
  afterEach(async () => {
    client?.stream.close()
    client = undefined
    await publishing
    await multiplexer.close()
    await server.stop()
  })

  async function publish(): Promise<void> {
    await multiplexer.publish('log', { event: 'n', data: ++published })
  }

  /** Publishes until the test ends. */
  function publishContinuously(): void {
    publishing = (async () => {
      while (client !== undefined && client.stream.state !== 'closed') {
        await publish()
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
    })()
  }

  const seen = (count: number) => eventually(() => (client?.numbers().length ?? 0) >= count)
  /** Every event once, in order. */
  function assertComplete(): void {
    const numbers = client?.numbers() ?? []
    expect(numbers).to.deep.equal(range(1, numbers.length))
  }

  it('polls after two attempts without data, and returns to the stream: every event once, in traffic', async () => {
    isBuffering = true
    // On a busy machine an attempt may be over before the server sees it.
    const requested: string[] = []
    client = record(`${server.url}/stream`, {
      cursor: await multiplexer.cursor('log'),
      fetch: (input, init) => {
        requested.push(new URL(String(input)).pathname)
        return fetch(input, init)
      },
      pollUrl: 'poll',
      openTimeoutMs: 40,
      streamRetryMs: 40,
    })
    publishContinuously()
    await seen(20)
    expect(requested.slice(0, 3)).to.deep.equal(['/stream', '/stream', '/poll'])
    expect(polls[0]?.get('wait')).to.equal('20000')
    expect(client.changes.find(({ state }) => state === 'polling')?.reason).to.equal('no data received')
    // The stream is retried repeatedly, without success.
    await eventually(() => streams >= 4)
    await seen(client.numbers().length + 20)
    isBuffering = false
    await eventually(() => client?.stream.state === 'open')
    const polled = polls.length
    await seen(client.numbers().length + 50)
    expect(polls).to.have.length(polled)
    assertComplete()
  })

  it('knows its position before its first event, also for listeners that share it', async () => {
    isBuffering = true
    const bus = createEventBus({ pollUrl: 'poll', openTimeoutMs: 40 })
    const url = `${server.url}/stream`
    const first = bus.stream(url)
    const cursor = await multiplexer.cursor('log')
    await eventually(() => first.cursor !== '')
    expect(first.cursor).to.equal(cursor)
    expect(first.state).to.equal('polling')
    const seen: string[] = []
    const later = bus.stream(url, { cursor })
    later.on('*', ({ type, data }) => void seen.push(`${type} ${data}`))
    await publish()
    await eventually(() => seen.length > 0)
    expect(seen).to.deep.equal(['n 1'])
    for (const share of [first, later]) share.close()
  })

  it('does not wait for an event before it has a cursor: after a lost answer it would begin later', async () => {
    isBuffering = true
    client = record(`${server.url}/stream`, { pollUrl: 'poll', openTimeoutMs: 40 })
    await eventually(() => polls.length === 2)
    expect(polls.map((query) => query.get('wait'))).to.deep.equal(['1', '20000'])
    expect(polls[1]?.get('cursor')).to.equal(await multiplexer.cursor('log'))
  })

  it('retries the stream without a pollUrl', async () => {
    isBuffering = true
    client = record(`${server.url}/stream`, { openTimeoutMs: 20 })
    await eventually(() => streams === 4)
    expect(client.states()).to.not.include('polling')
    isBuffering = false
    await eventually(() => client?.stream.state === 'open')
  })

  it('waits for a slow stream without limit with openTimeoutMs 0', async () => {
    isBuffering = true
    client = record(`${server.url}/stream`, { openTimeoutMs: 0, pollUrl: 'poll' })
    await eventually(() => streams === 1)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(client.states()).to.deep.equal(['connecting'])
  })

  it('polls at the URL of sse.poll until an answer allows the stream: every event once, in traffic', async () => {
    const until = Date.now() + 1500
    let streamRequests = 0
    const { server: http } = await servePollAdvice()
    client = record(`${http.url}/api/stream`, { cursor: await multiplexer.cursor('log') })
    publishContinuously()
    await eventually(() => client?.stream.state === 'polling')
    await eventually(() => client?.stream.state === 'open' && streamRequests === 2)
    await seen(client.numbers().length + 20)
    expect(polls.length).to.be.above(2)
    expect(polls.every((query) => query.get('until') === String(until) && !query.has('wait'))).to.equal(true)
    assertComplete()
    client.stream.close()
    await http.stop()

    async function servePollAdvice(): Promise<{ server: TestServer }> {
      const app = express()
      app.get('/api/stream', (_, res, next) => {
        if (streamRequests++ > 0) return next()
        const data = { url: `../poll?until=${until}`, afterMs: 5, reason: 'overloaded' }
        const reconnect = 'retry: 60000\nevent: sse.reconnect\ndata: {"reason":"overloaded","afterMs":60000}\n\n'
        res.type('text/event-stream').end(`event: sse.poll\ndata: ${JSON.stringify(data)}\n\n${reconnect}`)
      })
      app.get(
        '/api/stream',
        multiplexer.stream(() => 'log'),
      )
      app.get('/poll', (req, _, next) => {
        polls.push(new URLSearchParams(req.url.split('?')[1]))
        next()
      })
      app.get(
        '/poll',
        multiplexer.poll(() => 'log', { pollMs: 10 }),
      )
      streamRequests = 0
      return { server: await serve(app) }
    }
  })

  describe('by polling', () => {
    const pollAdvice = blocks('event: sse.poll\ndata: {"url":"/poll","afterMs":1,"reason":"stalled"}\n\n')
    const nothing = { events: [], cursor: 'abcdef-1', stream: false, afterMs: 1 }
    let scripted: Awaited<ReturnType<typeof answering>>
    afterEach(() => scripted.stop())

    it('renews its token, respects Retry-After, and closes on a refusal without retry', async () => {
      const refused = status(403, {}, { code: 'ERR_SSE_FORBIDDEN' })
      scripted = await answering(pollAdvice, status(401), status(503, { 'retry-after': '0' }), json(nothing), refused)
      client = record(scripted.url, { tokenRetryMs: 5, token: (refresh) => (refresh ? 'fresh' : 'stale') })
      await eventually(() => client?.stream.state === 'closed')
      expect(client.stream.status.error).to.include({ code: 'ERR_SSE_FORBIDDEN', status: 403 })
      const tokens = scripted.requests.slice(1).map(({ headers }) => headers.authorization)
      expect(tokens.slice(0, 2)).to.deep.equal(['Bearer stale', 'Bearer fresh'])
      expect(scripted.requests.at(-1)?.url).to.equal('/poll?cursor=abcdef-1')
      expect(client.states()).to.include.members(['polling', 'waiting'])
    })

    it('reports the control events of an answer, and continues from its cursor', async () => {
      const events = [
        { event: 'sse.gap', data: '{}' },
        { event: 'n', data: '7', id: 'abcdef-7' },
      ]
      scripted = await answering(
        pollAdvice,
        json({ events, cursor: 'abcdef-9', stream: true, afterMs: 0 }),
        status(204),
      )
      client = record(scripted.url)
      await eventually(() => client?.stream.state === 'closed')
      expect(client.events.map(({ type }) => type)).to.deep.equal(['sse.poll', 'sse.gap', 'n'])
      expect(scripted.requests.at(-1)?.headers['last-event-id']).to.equal('abcdef-9')
    })

    it('returns to the stream immediately on reconnect()', async () => {
      scripted = await answering(pollAdvice, json({ ...nothing, afterMs: 100_000 }), status(204))
      client = record(scripted.url)
      await eventually(() => scripted.requests.length === 2 && client?.stream.cursor === 'abcdef-1')
      client.stream.reconnect()
      await eventually(() => client?.stream.state === 'closed')
      expect(scripted.requests.at(-1)?.url).to.equal('/')
    })
  })
})
