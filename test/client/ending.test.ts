import { expect } from 'chai'
import { EventStreamError } from '../../lib/client/index.js'
import { eventually } from '../helpers/eventually.js'
import type { TestServer } from '../helpers/http-server.js'
import { type Answer, answering, blocks, json, type Recorded, record, status } from './recorded.js'

describe('the client, at the end of a connection', () => {
  let server: Awaited<ReturnType<typeof answering>>
  let client: Recorded | undefined
  const servers: TestServer[] = []

  afterEach(async () => {
    client?.stream.close()
    for (const each of servers.splice(0)) await each.stop()
  })

  async function serveAnswers(...answers: readonly Answer[]): Promise<void> {
    server = await answering(...answers)
    servers.push(server)
  }

  const control = (name: string, data: object) => `event: sse.${name}\ndata: ${JSON.stringify(data)}\n\n`
  const closed = () => eventually(() => client?.stream.state === 'closed')

  describe('closes with an error code and does not reconnect', () => {
    const problem = { code: 'ERR_SSE_FORBIDDEN', title: 'Forbidden' }
    for (const [name, answer, expected] of [
      ['204', status(204), { code: 'ERR_SSE_ENDED', status: 204 }],
      ['403 with a problem document', status(403, {}, problem), { code: 'ERR_SSE_FORBIDDEN', status: 403 }],
      ['404 without a problem document', status(404), { code: 'ERR_SSE_REFUSED', status: 404 }],
      ['410', status(410), { code: 'ERR_SSE_REFUSED', status: 410 }],
      ['418', status(418), { code: 'ERR_SSE_REFUSED', status: 418 }],
      ['a response of another media type', json({}), { code: 'ERR_SSE_NOT_A_STREAM', status: 200 }],
      [
        'sse.close',
        blocks(control('close', { reason: 'evicted' }), true),
        { code: 'ERR_SSE_ENDED', message: 'evicted' },
      ],
    ] as const) {
      it(`at ${name}`, async () => {
        await serveAnswers(answer)
        client = record(server.url)
        await closed()
        const { error } = client.stream.status
        expect(error).to.be.instanceOf(EventStreamError).that.includes(expected)
        expect(server.requests).to.have.length(1)
      })
    }

    it('at an event that is larger than maxEventChars, without buffering it', async () => {
      await serveAnswers((_, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' })
        res.write('event: n\ndata: 1\n\ndata: ')
        const writing = setInterval(() => res.write('x'.repeat(1000)), 1)
        res.on('close', () => clearInterval(writing))
      })
      client = record(server.url, { maxEventChars: 5000 })
      await closed()
      expect(client.stream.status.error?.code).to.equal('ERR_SSE_EVENT_TOO_LARGE')
      expect(client.numbers()).to.deep.equal([1])
    })
  })

  it('closes without an error when the stream is completed, and keeps its position', async () => {
    const ending = 'retry: 3000\nid: sse.completed\nevent: sse.close\ndata: {"reason":"completed"}\n\n'
    await serveAnswers(blocks(`id: a-1\ndata: x\n\n${ending}data: y\n\n`))
    client = record(server.url)
    await closed()
    expect(client.stream.status).to.deep.equal({ state: 'closed', reason: 'completed' })
    expect(client.events.map(({ type, id }) => [type, id])).to.deep.equal([
      ['message', 'a-1'],
      ['sse.close', ''],
    ])
    expect(client.stream.cursor).to.equal('a-1')
    expect(server.requests).to.have.length(1)
    for await (const event of client.stream) expect(event.type).to.not.equal(undefined)
  })

  for (const code of [408, 425, 429, 500, 502, 503]) {
    it(`retries after ${code}`, async () => {
      await serveAnswers(status(code), status(204))
      client = record(server.url)
      await closed()
      expect(client.changes.map(({ reason }) => reason)).to.include(`HTTP ${code}`)
      expect(server.requests).to.have.length(2)
    })
  }

  it('reconnects after the delay that the server requests, then with its own back-off', async () => {
    await serveAnswers(
      blocks(control('reconnect', { reason: 'max_age', afterMs: 123 })),
      blocks('retry: 30\n\n'),
      status(204),
    )
    client = record(server.url, { retryMs: 100_000 })
    await closed()
    const waits = client.changes.filter(({ state }) => state === 'waiting')
    expect(waits[0]).to.deep.equal({ state: 'waiting', reason: 'max_age', delayMs: 123 })
    expect(waits[1]?.delayMs, 'the value of retry:').to.be.at.most(30)
  })

  it('waits longer than the longest timer, and reconnects on request', async () => {
    for (const long of ['3000000000', '9'.repeat(400)]) {
      await serveAnswers(blocks(`retry: ${long}\n\n`), status(204))
      client = record(server.url)
      await eventually(() => client?.stream.state === 'waiting')
      const before = client.changes.length
      await new Promise((resolve) => setTimeout(resolve, 50))
      expect(client.changes).to.have.length(before)
      client.stream.reconnect()
      await closed()
    }
  })

  it('reports gaps, resets and drops, and unknown control events', async () => {
    const names = ['gap', 'reset', 'dropped', 'novelty', 'open']
    await serveAnswers(blocks(names.map((name) => control(name, { reason: name })).join(''), true))
    client = record(server.url)
    await eventually(() => client?.events.length === names.length)
    expect(client.events.map(({ type }) => type)).to.deep.equal(names.map((name) => `sse.${name}`))
    expect(client.stream.state).to.equal('open')
  })

  it('takes its position from complete events only', async () => {
    await serveAnswers(blocks('id: a-1\ndata: x\n\nevent: sse.gap\ndata: {}\n\nid: a-2\ndata: cut off'), status(204))
    client = record(server.url)
    await closed()
    expect(server.requests.map(({ headers }) => headers['last-event-id'])).to.deep.equal([undefined, 'a-1'])
    expect(client.events.map(({ id }) => id)).to.deep.equal(['a-1', ''])
  })

  it('calls the token callback again after it rejected', async () => {
    await serveAnswers(status(204))
    let calls = 0
    client = record(server.url, {
      token: async () => {
        if (++calls < 3) throw new Error('offline')
        return 'a'
      },
    })
    await closed()
    expect(calls).to.equal(3)
    expect(server.requests.map(({ headers }) => headers.authorization)).to.deep.equal(['Bearer a'])
    expect(client.changes.map(({ reason }) => reason)).to.include('offline')
  })

  it('is closed by a signal, also before the first request and while the token is pending', async () => {
    await serveAnswers(blocks(control('open', {}), true))
    expect(record(server.url, { signal: AbortSignal.abort() }).states()).to.deep.equal(['closed'])
    const abort = new AbortController()
    const hanging = record(server.url, { signal: abort.signal, token: () => new Promise(() => undefined) })
    client = record(server.url, { signal: abort.signal })
    await eventually(() => client?.stream.state === 'open')
    abort.abort()
    expect(client.changes.at(-1)).to.deep.equal({ state: 'closed', reason: 'aborted' })
    expect(hanging.states()).to.deep.equal(['connecting', 'closed'])
    expect(server.requests).to.have.length(1)
  })

  it('requests no token and sends no request if it is closed immediately', async () => {
    await serveAnswers(status(204))
    let calls = 0
    const token = () => `${++calls}`
    record(server.url, { token }).stream.close()
    client = record(server.url, { token })
    await closed()
    expect(calls).to.equal(1)
    expect(server.requests).to.have.length(1)
  })

  it('connects immediately on reconnect(), from waiting and from an open stream', async () => {
    await serveAnswers(status(503, { 'retry-after': '100' }), blocks('data: x\n\n', true), status(204))
    client = record(server.url)
    await eventually(() => client?.stream.state === 'waiting')
    client.stream.reconnect()
    await eventually(() => client?.events.length === 1)
    client.stream.reconnect()
    await closed()
    expect(client.states()).to.deep.equal(['connecting', 'waiting', 'connecting', 'open', 'connecting', 'closed'])
  })

  it('delivers further events after a listener throws, and reports the error', async () => {
    const reported: unknown[] = []
    Object.assign(globalThis, { reportError: (error: unknown) => reported.push(error) })
    await serveAnswers(blocks('event: n\ndata: 1\n\nevent: n\ndata: 2\n\n', true))
    client = record(server.url)
    client.stream.on('n', (event) => {
      throw event.json()
    })
    await eventually(() => reported.length === 2)
    Reflect.deleteProperty(globalThis, 'reportError')
    expect(reported).to.deep.equal([1, 2])
    expect(client.numbers()).to.deep.equal([1, 2])
  })

  it('drops the remaining events of a read after a listener closes the stream', async () => {
    await serveAnswers(blocks('event: n\ndata: 1\n\nevent: n\ndata: 2\n\n', true))
    client = record(server.url)
    client.stream.on('n', () => client?.stream.close())
    await closed()
    await new Promise((resolve) => setImmediate(resolve))
    expect(client.numbers()).to.deep.equal([1])
  })
})
