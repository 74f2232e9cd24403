import { expect } from 'chai'
import express from 'express'
import { Redis } from 'ioredis'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { snapshot } from '../helpers/redis-log.js'
import { RedisServer } from '../helpers/redis-server.js'
import { SseClient } from '../helpers/sse-client.js'
import { TcpProxy } from '../helpers/tcp-proxy.js'
import { numbersOf, serveChannels } from '../suites/multiplexer.js'

describe('streams, when Redis fails under them', () => {
  let redis: RedisServer
  let admin: Redis
  let stops: (() => unknown)[]

  beforeEach(() => {
    stops = []
  })
  afterEach(async () => {
    for (const stop of stops.reverse()) await stop()
  })

  async function start(args?: readonly string[]): Promise<void> {
    redis = await RedisServer.start(args)
    admin = new Redis(redis.url)
    // The test destroys this connection.
    admin.on('error', () => undefined)
    stops.push(
      () => redis.stop(),
      () => admin.disconnect(),
    )
  }

  /** A process from Redis's point of view: a multiplexer and a server. */
  async function startProcess(
    url = redis.url,
    commandTimeoutMs = 500,
  ): Promise<{ multiplexer: Multiplexer; server: TestServer }> {
    const multiplexer = createMultiplexer({ redis: url, commandTimeoutMs, probeMs: 200, lingerMs: 300 })
    const server = await serveChannels(multiplexer)
    stops.push(
      () => server.stop(),
      () => multiplexer.close(),
    )
    return { multiplexer, server }
  }

  async function open({ server }: { server: TestServer }, lastEventId = ''): Promise<SseClient> {
    const client = await SseClient.open(`${server.url}/?channel=log`, { 'last-event-id': lastEventId })
    await client.control('sse.open')
    stops.push(() => client.close())
    return client
  }

  /** Publishes 1, 2, 3 … in turn until it is stopped, and retries each event until Redis has it. */
  function publishUntilStopped({ multiplexer }: { multiplexer: Multiplexer }): { stop(): Promise<number> } {
    let stopped = false
    const done = (async () => {
      let n = 0
      while (!stopped) {
        n++
        await publishSurely(multiplexer, n)
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
      return n
    })()
    return {
      stop: () => {
        stopped = true
        return done
      },
    }
  }

  async function publishSurely(multiplexer: Multiplexer, n: number): Promise<void> {
    for (;;) {
      try {
        await multiplexer.publish('log', { event: 'n', data: n }, { idempotencyKey: String(n) })
        return
      } catch {
        // Unavailable or unknown: the key makes a retry safe.
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
  }

  it('share one subscription and one subscriber connection, and end both with the last stream', async () => {
    await start()
    const one = await startProcess()
    const clients = await Promise.all(range(1, 50).map(() => open(one)))
    const channels = (await admin.pubsub('CHANNELS', '*log*')) as string[]
    expect(channels).to.deep.equal(['sse:{log}'])
    expect(await admin.pubsub('NUMSUB', 'sse:{log}')).to.deep.equal(['sse:{log}', 1])
    expect(((await admin.call('CLIENT', 'LIST', 'TYPE', 'pubsub')) as string).trim().split('\n')).to.have.length(1)
    for (const client of clients) client.close()
    const subscribers = async () => ((await admin.pubsub('NUMSUB', 'sse:{log}')) as [string, number])[1]
    await eventually(async () => (await subscribers()) === 0)
    expect(one.multiplexer.status()).to.include({ streams: 0, channels: 0 })
  })

  it('receive events from other processes', async () => {
    await start()
    const [one, two] = [await startProcess(), await startProcess()]
    const client = await open(two)
    await one.multiplexer.publish('log', { event: 'n', data: 1 })
    await client.messagesUntil(1)
  })

  it('stay open and complete while subscriber connections are killed in a loop', async () => {
    await start()
    const [one, two] = [await startProcess(), await startProcess()]
    const clients = [await open(one), await open(two), await open(two)]
    const publishing = publishUntilStopped(one)
    for (let kill = 0; kill < 10; kill++) {
      await admin.client('KILL', 'TYPE', 'pubsub')
      await new Promise((resolve) => setTimeout(resolve, 30 * Math.random()))
    }
    const last = await publishing.stop()
    for (const client of clients) {
      await client.messagesUntil(last)
      expect(numbersOf(client)).to.deep.equal(range(1, last))
      expect(client.events.filter(({ event }) => event?.startsWith('sse.'))).to.have.length(1)
    }
  })

  it('stay open and complete while all connections are killed in a loop', async () => {
    await start()
    const [one, two] = [await startProcess(), await startProcess()]
    const clients = [await open(one), await open(two)]
    const publishing = publishUntilStopped(one)
    for (let kill = 0; kill < 10; kill++) {
      await admin.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
      await admin.client('KILL', 'TYPE', 'pubsub')
      await new Promise((resolve) => setTimeout(resolve, 30 * Math.random()))
    }
    const last = await publishing.stop()
    for (const client of clients) {
      await client.messagesUntil(last)
      expect(numbersOf(client)).to.deep.equal(range(1, last))
    }
  })

  it('continue without a reset after a crash and restart of Redis that lost nothing', async () => {
    await start(['--appendonly', 'yes', '--appendfsync', 'always'])
    const [one, two] = [await startProcess(), await startProcess()]
    const clients = [await open(one), await open(two)]
    const publishing = publishUntilStopped(one)
    await clients[1]?.messagesUntil(50)
    const before = clients[0]?.lastEventId
    await redis.kill()
    await redis.up()
    const goingOn = Number(clients[1]?.messages.length) + 50
    await clients[1]?.messagesUntil(goingOn)
    const returned = await open(two, before)
    const last = await publishing.stop()
    for (const client of clients) {
      await client.messagesUntil(last)
      expect(numbersOf(client)).to.deep.equal(range(1, last))
      expect(client.events.filter(({ event }) => event?.startsWith('sse.'))).to.have.length(1)
    }
    const had = Number(before?.split('-')[1])
    await returned.messagesUntil(last - had)
    expect(numbersOf(returned)).to.deep.equal(range(had + 1, last))
  })

  it('announce lost entries once, whether or not the stream had received them', async () => {
    await start()
    const [one, two] = [await startProcess(), await startProcess()]
    const client = await open(two)
    let rewind = async () => undefined as unknown
    const ids: string[] = []
    for (const n of range(1, 10)) {
      await one.multiplexer.publish('log', { event: 'n', data: n })
      await client.messagesUntil(n)
      ids[n] = client.lastEventId
      if (n === 7) rewind = await snapshot(admin, 'log')
    }
    await rewind()
    await one.multiplexer.publish('log', { event: 'n', data: 'new' })
    const names = ({ events }: SseClient) => events.slice(1).map(({ event, data }) => (event === 'n' ? data : event))
    await client.until((it) => names(it).at(-1) === 'new')
    expect(names(client).slice(10)).to.deep.equal(['sse.reset', 'new'])
    for (const process of [one, two]) {
      const behind = await open(process, ids[5])
      const beyond = await open(process, ids[9])
      await one.multiplexer.publish('log', { event: 'n', data: 'newer' })
      await behind.messagesUntil(4)
      await beyond.messagesUntil(1)
      expect(names(behind).slice(0, 5)).to.deep.equal(['sse.reset', '6', '7', 'new', 'newer'])
      expect(names(beyond)).to.deep.equal(['sse.reset', 'newer'])
      for (const { lastEventId } of [behind, beyond]) {
        const again = await open(process, lastEventId)
        await one.multiplexer.publish('log', { event: 'n', data: 'newest' })
        await again.messagesUntil(1)
        expect(names(again)).to.deep.equal(['newest'])
      }
    }
  })

  it('announce the loss of an event that this process has published and no stream has received', async () => {
    await start()
    const proxy = await TcpProxy.start(redis.port)
    stops.push(() => proxy.stop())
    const [one, two] = [await startProcess(`redis://127.0.0.1:${proxy.port}`), await startProcess()]
    for (const [name, meanwhile] of [
      ['first', undefined],
      // The new epoch arrives from another process, before the answer that shows how the old epoch ended.
      ['second', () => two.multiplexer.publish('log', { event: 'n', data: 'meanwhile' })],
    ] as const) {
      const client = await open(one)
      await one.multiplexer.publish('log', { event: 'n', data: name })
      await client.messagesUntil(1)
      const rewind = await snapshot(admin, 'log')
      // The subscriber cannot reconnect before the log has lost the entries that it did not receive.
      await admin.config('SET', 'maxclients', 1)
      await admin.client('KILL', 'TYPE', 'pubsub')
      await one.multiplexer.publish('log', { event: 'n', data: 'lost' })
      await rewind()
      await admin.hset('sse:{log}:m', 'r', 'of another server')
      const held = meanwhile && proxy.holdRequests()
      await admin.config('SET', 'maxclients', 1000)
      await eventually(async () => ((await admin.pubsub('NUMSUB', 'sse:{log}')) as [string, number])[1] === 1)
      await meanwhile?.()
      if (held !== undefined) {
        await two.multiplexer.publish('log', { event: 'mark', data: '', ephemeral: true })
        await client.until(({ events }) => events.at(-1)?.event === 'mark')
        held.release()
      }
      await eventually(() => one.multiplexer.status().state === 'ready')
      await two.multiplexer.publish('log', { event: 'n', data: 'new' })
      await client.until(({ messages }) => messages.at(-1)?.data === 'new')
      const names = client.events.slice(1).map(({ event, data }) => (event === 'n' ? data : event))
      const between = meanwhile === undefined ? ['sse.reset'] : ['mark', 'sse.reset', 'meanwhile']
      expect(names).to.deep.equal([name, ...between, 'new'])
      client.close()
    }
  })

  it('announce lost events also if the stream is ahead of the entries delivered in its process', async () => {
    await start()
    const [one, two] = [await startProcess(), await startProcess()]
    const client = await open(two)
    await one.multiplexer.publish('log', { event: 'n', data: 1 })
    await client.messagesUntil(1)
    const rewind = await snapshot(admin, 'log')
    // Events published now reach the second process neither live nor from the history.
    await admin.config('SET', 'maxclients', 1)
    await admin.client('KILL', 'TYPE', 'pubsub')
    const { epoch, offset } = await one.multiplexer.publish('log', { event: 'n', data: 'lost' })
    await admin.xtrim('sse:{log}:s', 'MAXLEN', 0)
    const ahead = await open(two, `${epoch}-${offset}`)
    await rewind()
    await admin.hset('sse:{log}:m', 'r', 'of another server')
    await admin.config('SET', 'maxclients', 1000)
    await eventually(() => two.multiplexer.status().state === 'ready')
    await one.multiplexer.publish('log', { event: 'n', data: 'new' })
    for (const it of [client, ahead]) {
      await it.until(({ messages }) => messages.at(-1)?.data === 'new')
      const names = it.events.slice(1).map(({ event, data }) => (event === 'n' ? data : event))
      expect(names).to.deep.equal([...(it === client ? ['1'] : []), 'sse.reset', 'new'])
    }
  })

  it('replay nothing of a log that is restored twice from one backup', async () => {
    await start()
    const one = await startProcess()
    const client = await open(one)
    for (const n of range(1, 30)) await one.multiplexer.publish('log', { event: 'n', data: n })
    await client.messagesUntil(30)
    const restore = await snapshot(admin, 'log')
    for (const n of range(31, 35)) await one.multiplexer.publish('log', { event: 'n', data: n })
    await client.messagesUntil(35)
    for (const turn of ['first', 'second']) {
      await restore()
      await one.multiplexer.publish('log', { event: 'n', data: turn })
      await client.until(({ messages }) => messages.at(-1)?.data === turn)
    }
    const names = client.events.slice(1).map(({ event, data }) => (event === 'n' ? data : event))
    expect(names).to.deep.equal([...range(1, 35).map(String), 'sse.reset', 'first', 'sse.reset', 'second'])
  })

  it('accept acknowledgements of events that were sent before the log changed its epoch', async () => {
    await start()
    const { multiplexer } = await startProcess()
    const app = express()
    app.post('/ack', multiplexer.ack())
    app.get(
      '/',
      multiplexer.stream(() => 'log'),
    )
    const server = await serve(app)
    stops.push(() => server.stop())
    const client = await SseClient.open(`${server.url}/?window=2`)
    stops.push(() => client.close())
    const { stream } = JSON.parse((await client.control('sse.open')).data)
    for (const n of range(1, 3)) await multiplexer.publish('log', { event: 'n', data: n })
    await client.messagesUntil(2)
    const cursor = client.lastEventId
    await admin.hset('sse:{log}:m', 'r', 'of another server')
    const { epoch } = await multiplexer.publish('log', { event: 'n', data: 4 })
    expect(cursor).to.match(/-2$/).and.not.include(epoch)
    await eventually(async () => multiplexer.inspect()[0]?.lag === 2)
    const body = JSON.stringify({ stream, cursor })
    const answer = await fetch(`${server.url}/ack`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    })
    expect(answer.status).to.equal(204)
    await client.messagesUntil(4)
    expect(numbersOf(client)).to.deep.equal(range(1, 4))
    expect(client.lastEventId).to.equal(`${epoch}-4`)
  })

  it('announce a reset when Redis restarts empty, and continue', async () => {
    await start()
    const one = await startProcess()
    const client = await open(one)
    await one.multiplexer.publish('log', { event: 'n', data: 1 })
    await client.messagesUntil(1)
    const before = client.lastEventId
    await redis.kill()
    await redis.up()
    expect(JSON.parse((await client.control('sse.reset')).data)).to.deep.equal({
      channel: 'log',
      reason: 'log_replaced',
    })
    await publishSurely(one.multiplexer, 2)
    await client.messagesUntil(2)
    expect(client.lastEventId).to.match(/-1$/).and.not.equal(before)
    const late = await open(one, before)
    await late.control('sse.reset')
  })

  it('announce a reset after FLUSHALL with the next event', async () => {
    await start()
    const one = await startProcess()
    const client = await open(one)
    await one.multiplexer.publish('log', { event: 'n', data: 1 })
    await client.messagesUntil(1)
    await admin.flushall()
    await one.multiplexer.publish('log', { event: 'n', data: 2 })
    await client.messagesUntil(2)
    expect(client.events.map(({ event }) => event)).to.deep.equal(['sse.open', 'n', 'sse.reset', 'n'])
  })

  it('receive the events that a dead connection swallowed, once the connection is known to be dead', async () => {
    await start()
    const proxy = await TcpProxy.start(redis.port)
    stops.push(() => proxy.stop())
    const [one, two] = [await startProcess(), await startProcess(`redis://127.0.0.1:${proxy.port}`)]
    const client = await open(two)
    await one.multiplexer.publish('log', { event: 'n', data: 1 })
    await client.messagesUntil(1)
    proxy.freeze()
    for (const n of range(2, 300)) await one.multiplexer.publish('log', { event: 'n', data: n })
    await client.messagesUntil(300)
    expect(numbersOf(client)).to.deep.equal(range(1, 300))
  })

  it('survive Redis hanging for a while', async () => {
    await start()
    const [one, two] = [await startProcess(), await startProcess()]
    const client = await open(two)
    const publishing = publishUntilStopped(one)
    await client.messagesUntil(20)
    redis.pause()
    await new Promise((resolve) => setTimeout(resolve, 2000))
    redis.resume()
    const seen = client.messages.length
    await client.messagesUntil(seen + 20)
    const last = await publishing.stop()
    await client.messagesUntil(last)
    expect(numbersOf(client)).to.deep.equal(range(1, last))
  })

  it('continue from the log after Redis disconnected a slow subscriber', async () => {
    await start(['--client-output-buffer-limit', 'pubsub 100kb 0 0'])
    // All events must be published within the time-out, also on a busy machine.
    const [one, two] = [await startProcess(redis.url, 15_000), await startProcess()]
    const client = await open(two)
    const padding = 'x'.repeat(20_000)
    // More bytes at once than Redis's limit for the output buffer of a subscriber.
    await Promise.all(range(1, 500).map((n) => one.multiplexer.publish('log', { event: 'n', data: `${n} ${padding}` })))
    await client.messagesUntil(500)
    expect(numbersOf(client)).to.deep.equal(range(1, 500))
  })

  it('open on followed channels while Redis is unavailable, and are refused with 503 on others', async () => {
    await start()
    const one = await startProcess()
    const client = await open(one)
    await one.multiplexer.publish('log', { event: 'n', data: 1 })
    await client.messagesUntil(1)
    await redis.kill()
    const second = await open(one, client.lastEventId)
    const refused = await SseClient.open(`${one.server.url}/?channel=other`)
    await refused.ended()
    expect([refused.status, refused.headers['retry-after']]).to.deep.equal([503, '1'])
    expect(one.multiplexer.status().state).to.equal('degraded')
    await redis.up()
    await publishSurely(one.multiplexer, 2)
    await Promise.all([client.messagesUntil(2), second.messagesUntil(1)])
    expect(one.multiplexer.status()).to.deep.include({ state: 'ready', streams: 2, channels: 1 })
  })
})
