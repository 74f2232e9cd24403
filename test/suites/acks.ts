import { expect } from 'chai'
import express from 'express'
import type { Auth } from '../../lib/core/auth.js'
import { diagnostics } from '../../lib/core/diagnostics.js'
import type { Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { MultiplexerOptions } from '../../lib/multiplexer/options.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { SseClient } from '../helpers/sse-client.js'
import { numbersOf } from './multiplexer.js'

/** The guarantees of acknowledgements on every broker, and between processes if several share the broker. */
export function ackSuite(name: string, create: (options?: MultiplexerOptions) => Multiplexer, shared: boolean): void {
  describe(`acknowledgements on ${name}`, () => {
    let multiplexers: Multiplexer[]
    let servers: TestServer[]
    let clients: SseClient[]
    let channel: string
    let channelNumber = 0

    beforeEach(() => {
      channel = `acks:${name}:${++channelNumber}`
      multiplexers = []
      servers = []
      clients = []
    })
    afterEach(async () => {
      for (const client of clients) client.close()
      for (const multiplexer of multiplexers) await multiplexer.close()
      for (const server of servers) await server.stop()
    })

    /** Simulates a process: its own connections and its own HTTP server. */
    async function start(options: MultiplexerOptions = {}): Promise<TestServer> {
      const multiplexer = create({ lingerMs: 0, ...options })
      const app = express()
      app.use((req, _, next) => {
        const [tenant, user] = req.get('x-user')?.split('/') ?? []
        if (tenant && user) req.auth = { tenant, user, expiresAt: Date.now() + 3_600_000, claims: {} } as Auth
        next()
      })
      app.get(
        '/',
        multiplexer.stream((req) => new URLSearchParams(req.url.slice(2)).getAll('channel')),
      )
      app.post('/parsed/ack', express.json(), multiplexer.ack())
      app.post('/ack', multiplexer.ack())
      const server = await serve(app)
      multiplexers.push(multiplexer)
      servers.push(server)
      return server
    }

    async function open(server: TestServer, window?: number, user?: string): Promise<[SseClient, string]> {
      const query = `channel=${channel}${window === undefined ? '' : `&window=${window}`}`
      const client = await SseClient.open(`${server.url}/?${query}`, user === undefined ? {} : { 'x-user': user })
      clients.push(client)
      const { stream } = JSON.parse((await client.control('sse.open')).data)
      return [client, stream]
    }

    async function acknowledge(server: TestServer, body: unknown, user?: string, path = '/ack'): Promise<number> {
      const response = await fetch(`${server.url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(user !== undefined && { 'x-user': user }) },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      })
      lastBody = await response.text()
      return response.status
    }
    let lastBody = ''
    const code = (): string => JSON.parse(lastBody).code

    async function publish(numbers: readonly number[]): Promise<void> {
      await multiplexers[0]?.publishMany(
        channel,
        numbers.map((data) => ({ event: 'n', data })),
      )
    }

    it('let a stream continue by one window at a time, and all events arrive in order', async () => {
      const server = await start()
      const [client, stream] = await open(server, 10)
      expect(JSON.parse((await client.control('sse.open')).data)).to.include({ window: 10 })
      for (const from of range(0, 9)) await publish(range(from * 10 + 1, from * 10 + 10))
      for (let handled = 10; handled <= 100; handled += 5) {
        const upTo = Math.min(100, handled)
        await client.messagesUntil(upTo)
        expect(numbersOf(client)).to.deep.equal(range(1, upTo))
        await eventually(() => multiplexers[0]?.inspect()[0]?.lag === 100 - upTo)
        expect(multiplexers[0]?.inspect()[0]).to.include({ unacknowledged: 10 })
        const cursor = client.messages[upTo - 6]?.id
        expect(await acknowledge(server, { stream, cursor })).to.equal(204)
      }
    })

    it('are the position from which a stream resumes, with its own window', async () => {
      const server = await start()
      const [client, stream] = await open(server, 10)
      await publish(range(1, 30))
      await client.messagesUntil(10)
      const cursor = client.messages[4]?.id ?? ''
      expect(await acknowledge(server, { stream, cursor })).to.equal(204)
      await client.messagesUntil(15)
      client.close()
      const query = `channel=${channel}&window=10`
      const again = await SseClient.open(`${server.url}/?${query}`, { 'last-event-id': cursor })
      clients.push(again)
      await again.messagesUntil(10)
      await eventually(() => multiplexers[0]?.inspect().at(-1)?.lag === 15)
      expect(numbersOf(again)).to.deep.equal(range(6, 15))
    })

    it('are not needed without a window', async () => {
      const server = await start()
      const [client] = await open(server)
      expect(JSON.parse((await client.control('sse.open')).data)).to.not.have.property('window')
      await publish(range(1, 500))
      await client.messagesUntil(500)
      expect(multiplexers[0]?.inspect()[0]?.unacknowledged).to.equal(undefined)
    })

    it('report the buffer and latency of the client to diagnostics and to inspect()', async () => {
      const server = await start()
      const [client, stream] = await open(server, 5, 'acme/dana')
      await publish([1])
      await client.messagesUntil(1)
      const acks: object[] = []
      const note = (message: unknown) => acks.push(message as object)
      diagnostics.streamAck.subscribe(note)
      const ack = { stream, cursor: client.lastEventId, buffer: 0.25, latencyMs: 120.5 }
      expect(await acknowledge(server, ack, 'acme/dana', '/parsed/ack')).to.equal(204)
      diagnostics.streamAck.unsubscribe(note)
      expect(acks).to.have.length(1)
      expect(acks[0]).to.deep.include(ack)
      expect(acks[0]).to.have.nested.property('auth.user', 'dana')
      expect(multiplexers[0]?.inspect()[0]).to.include({ buffer: 0.25, latencyMs: 120.5, unacknowledged: 0 })
    })

    it('of another user are refused for every claimed stream id', async () => {
      const server = await start()
      const [client, stream] = await open(server, 1, 'acme/dana')
      await publish([1, 2])
      await client.messagesUntil(1)
      const cursor = client.lastEventId
      for (const user of ['acme/eve', 'globex/dana', undefined]) {
        expect(await acknowledge(server, { stream, cursor }, user), `by ${user}`).to.equal(403)
        expect(code()).to.equal('ERR_SSE_FORBIDDEN')
      }
      // With the tag of one of Eve's streams, this id belongs to no stream.
      const [, own] = await open(server, 1, 'acme/eve')
      const [processId, uuid] = stream.split('.')
      const forged = `${processId}.${uuid}.${own.split('.')[2]}`
      expect(await acknowledge(server, { stream: forged, cursor }, 'acme/eve')).to.equal(403)
      expect(numbersOf(client)).to.deep.equal([1])
      expect(await acknowledge(server, { stream, cursor }, 'acme/dana')).to.equal(204)
      await client.messagesUntil(2)
    })

    it('that are invalid are refused with a code, and have no effect', async () => {
      const server = await start()
      const [client, stream] = await open(server, 1)
      await publish([1, 2])
      await client.messagesUntil(1)
      const cursor = client.lastEventId
      for (const body of [
        '',
        'not json',
        'null',
        '[]',
        { stream },
        { stream, cursor: 7 },
        { stream, cursor, buffer: 1.1 },
        { stream, cursor, buffer: '1' },
        { stream, cursor, latencyMs: -1 },
        { stream, cursor, padding: 'x'.repeat(3000) },
      ]) {
        expect(await acknowledge(server, body), JSON.stringify(body)).to.equal(400)
        expect(code()).to.equal('ERR_SSE_ACK_INVALID')
      }
      const [processId, uuid, tag] = stream.split('.')
      for (const unknown of ['', 'x', `*.${uuid}.${tag}`, `${'0'.repeat(16)}.${uuid}.${tag}`]) {
        expect(await acknowledge(server, { stream: unknown, cursor }), unknown).to.equal(404)
        expect(code()).to.equal('ERR_SSE_STREAM_UNKNOWN')
      }
      for (const beyond of ['', 'nonsense', `${cursor.split('-')[0]}-2`, 'abcdef-1']) {
        expect(await acknowledge(server, { stream, cursor: beyond })).to.equal(204)
      }
      expect(multiplexers[0]?.inspect()[0]).to.include({ unacknowledged: 1, lag: 1 })
      client.close()
      await eventually(() => multiplexers[0]?.status().streams === 0)
      expect(await acknowledge(server, { stream, cursor })).to.equal(404)
      expect(processId).to.match(/^[0-9a-f]{16}$/)
    })

    it('need a window that is a number within the maximum of the server, on a stream that replays', async () => {
      const server = await start({ maxWindow: 20 })
      const ask = async (query: string, to = server): Promise<Response> => {
        const gone = new AbortController()
        const response = await fetch(`${to.url}/?channel=${channel}&${query}`, { signal: gone.signal })
        if (response.status === 200) gone.abort()
        return response
      }
      for (const window of ['0', '-1', 'many', '1.5', '']) {
        const response = await ask(`window=${window}`)
        expect(response.status).to.equal(400)
        expect((await response.json()) as object).to.include({ code: 'ERR_SSE_QUERY_INVALID' })
      }
      const [client] = await open(server, 1_000_000)
      expect(JSON.parse((await client.control('sse.open')).data)).to.include({ window: 20 })
      for (const options of [{ maxWindow: 0 }, { stream: { queuePolicy: 'coalesce' } }] as const) {
        expect((await ask('window=5', await start(options))).status).to.equal(400)
      }
    })

    if (!shared) return

    it('reach the stream from any process', async () => {
      const [here, there] = [await start(), await start()]
      const [client, stream] = await open(there, 10, 'acme/dana')
      for (const from of [1, 11, 21]) await publish(range(from, from + 9))
      for (const upTo of [10, 20, 30]) {
        await client.messagesUntil(upTo)
        expect(numbersOf(client)).to.deep.equal(range(1, upTo))
        expect(await acknowledge(here, { stream, cursor: client.lastEventId }, 'acme/dana')).to.equal(202)
      }
      await eventually(() => multiplexers[1]?.inspect()[0]?.unacknowledged === 0)
      expect(await acknowledge(here, { stream, cursor: client.lastEventId }, 'acme/eve')).to.equal(403)
    })

    it('for a process that has exited are answered with 404', async () => {
      const [here, there] = [await start(), await start()]
      const [client, stream] = await open(there, 10)
      await multiplexers[1]?.close()
      await client.ended()
      await eventually(async () => (await acknowledge(here, { stream, cursor: 'abcdef-1' })) === 404)
      expect(code()).to.equal('ERR_SSE_STREAM_UNKNOWN')
    })
  })
}
