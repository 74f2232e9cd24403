import { expect } from 'chai'
import { Cluster, type Redis } from 'ioredis'
import { diagnostics } from '../../lib/core/diagnostics.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { RedisHandle } from '../../lib/redis/handle.js'
import type { RedisSource } from '../../lib/redis/source.js'
import { eventually } from '../helpers/eventually.js'
import type { TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { RedisCluster } from '../helpers/redis-cluster.js'
import { SseClient } from '../helpers/sse-client.js'
import { TcpProxy } from '../helpers/tcp-proxy.js'
import { numbersOf, serveChannels } from '../suites/multiplexer.js'

interface Process {
  readonly multiplexer: Multiplexer
  readonly server: TestServer
}

/** So many channels that each master serves some of them. */
const CHANNELS = range(1, 12).map((n) => `log:${n}`)
const HANDLE_OPTIONS = { connectionName: 'test', commandTimeoutMs: 500, probeMs: 100 }
const nameOf = (channel: string) => `sse:{${channel}}`

describe('streams while a Redis Cluster changes', function () {
  this.timeout(60_000)

  let cluster: RedisCluster
  let stops: (() => unknown)[]

  beforeEach(async () => {
    cluster = await RedisCluster.start(['--cluster-node-timeout', '2000'])
    stops = [() => cluster.stop()]
  })
  afterEach(async () => {
    for (const stop of stops.reverse()) await stop()
  })

  async function startProcess(redis: RedisSource = cluster.urls): Promise<Process> {
    const multiplexer = createMultiplexer({ redis, commandTimeoutMs: 500, probeMs: 200, lingerMs: 300 })
    const server = await serveChannels(multiplexer)
    stops.push(
      () => server.stop(),
      () => multiplexer.close(),
    )
    // Before the connection is open, commands only wait for the time-out, which is short in these tests.
    await eventually(() => multiplexer.status().state === 'ready')
    return { multiplexer, server }
  }

  async function open({ server }: Process, channels: readonly string[], query = ''): Promise<SseClient> {
    const client = await SseClient.open(`${server.url}/?${channels.map((it) => `channel=${it}&`).join('')}${query}`)
    await client.control('sse.open')
    stops.push(() => client.close())
    return client
  }

  async function publishWithRetries({ multiplexer }: Process, channel: string, n: number): Promise<void> {
    for (;;) {
      try {
        await multiplexer.publish(channel, { event: 'n', data: n }, { idempotencyKey: String(n) })
        return
      } catch {
        // Unavailable or unknown. The idempotency key makes a retry safe.
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
  }

  /** Publishes 1, 2, 3 … on a channel until `stop` is called, and retries each event until it succeeds. */
  function publishContinuously(
    process: Process,
    channel: string,
  ): { readonly count: () => number; stop(): Promise<number> } {
    let stopped = false
    let n = 0
    const done = (async () => {
      while (!stopped) {
        await publishWithRetries(process, channel, n + 1)
        n++
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
      return n
    })()
    return {
      count: () => n,
      stop: () => {
        stopped = true
        return done
      },
    }
  }

  /** Publishes on all channels, with a stream for each channel in two processes, while `change` runs. */
  async function inTraffic(change: () => Promise<void>): Promise<readonly SseClient[]> {
    const [one, two] = [await startProcess(), await startProcess()]
    const clients = await Promise.all(CHANNELS.flatMap((channel) => [open(one, [channel]), open(two, [channel])]))
    const traffic = CHANNELS.map((channel) => publishContinuously(one, channel))
    const allProgress = async () => {
      const before = traffic.map(({ count }) => count())
      await eventually(() => traffic.every(({ count }, i) => count() > (before[i] ?? 0) + 20), 30_000)
    }
    await allProgress()
    await change()
    await allProgress()
    const counts = await Promise.all(traffic.map(({ stop }) => stop()))
    await Promise.all(clients.map((client, i) => client.until((it) => numbersOf(it).at(-1) === counts[i >> 1])))
    await eventually(() => [one, two].every(({ multiplexer }) => multiplexer.status().state === 'ready'))
    return clients
  }

  function expectComplete(clients: readonly SseClient[]): void {
    for (const client of clients) {
      expect(numbersOf(client)).to.deep.equal(range(1, client.messages.length))
      expect(client.events.filter(({ event }) => event?.startsWith('sse.'))).to.have.length(1)
      expect(client.closed).to.equal(false)
    }
  }

  async function subscribers(node: number, channel: string): Promise<number> {
    const [, count] = (await cluster.admin(node).call('PUBSUB', 'SHARDNUMSUB', nameOf(channel))) as [string, number]
    return count
  }

  it('follow slots that move one after the other', async () => {
    const moved = CHANNELS.slice(0, 4)
    const clients = await inTraffic(async () => {
      for (const channel of moved) {
        const from = await cluster.masterOf(nameOf(channel))
        await cluster.moveSlot(nameOf(channel), from, (from + 1) % 3)
      }
    })
    expectComplete(clients)
    for (const channel of moved) {
      const now = await cluster.masterOf(nameOf(channel))
      expect(await subscribers(now, channel), 'both processes subscribe at the right node').to.equal(2)
      expect(await subscribers((now + 2) % 3, channel), 'and not at the previous node').to.equal(0)
    }
  })

  it('subscribe again until a node accepts the subscription of a slot that it has taken over', async () => {
    const process = await startProcess()
    const [channel] = CHANNELS as [string]
    const client = await open(process, [channel])
    const from = await cluster.masterOf(nameOf(channel))
    const to = (from + 1) % 3
    const operations: string[] = []
    const note = (message: unknown) => operations.push((message as { operation: string }).operation)
    diagnostics.brokerError.subscribe(note)
    stops.push(() => diagnostics.brokerError.unsubscribe(note))
    await cluster.admin(to).acl('SETUSER', 'default', '-ssubscribe')
    await cluster.moveSlot(nameOf(channel), from, to)
    await eventually(() => operations.includes('resubscribe'))
    await cluster.admin(to).acl('SETUSER', 'default', '+ssubscribe')
    await eventually(async () => (await subscribers(to, channel)) === 1)
    await eventually(() => process.multiplexer.status().state === 'ready')
    await publishWithRetries(process, channel, 1)
    await client.messagesUntil(1)
    expectComplete([client])
    expect(operations).to.not.include('')
  })

  it('open on a channel whose slot has moved since the process read the slot map', async () => {
    const process = await startProcess()
    const [channel] = CHANNELS as [string]
    const from = await cluster.masterOf(nameOf(channel))
    await cluster.moveSlot(nameOf(channel), from, (from + 1) % 3)
    const client = await open(process, [channel])
    await publishWithRetries(process, channel, 1)
    await client.messagesUntil(1)
    expectComplete([client])
  })

  it('follow a failover from each master to its replica', async () => {
    const clients = await inTraffic(async () => {
      for (const master of [0, 1, 2]) await cluster.failover(master)
    })
    expectComplete(clients)
    for (const channel of CHANNELS) {
      const now = await cluster.masterOf(nameOf(channel))
      expect(now).to.be.above(2)
      await eventually(async () => (await subscribers(now, channel)) === 2)
    }
  })

  it('continue when a master crashes: every event in the log arrives, and none twice', async () => {
    const clients = await inTraffic(() => cluster.crash(0))
    const other = await startProcess()
    for (const [i, client] of clients.entries()) {
      const numbers = numbersOf(client)
      expect(numbers).to.deep.equal([...new Set(numbers)].sort((a, b) => a - b))
      expect(client.closed).to.equal(false)
      const replayed = await open(other, [CHANNELS[i >> 1] as string], 'from=earliest')
      await replayed.until((it) => numbersOf(it).at(-1) === numbers.at(-1))
      expect(numbers).to.include.members(numbersOf(replayed))
    }
  })

  it('reset every connection that gets no reply, also one to a replica, which held commands as a master', async () => {
    const proxies = await Promise.all(cluster.servers.map(({ port }) => TcpProxy.start(port)))
    const natMap = Object.fromEntries(
      cluster.servers.map(({ port }, i) => [
        `127.0.0.1:${port}`,
        { host: '127.0.0.1', port: (proxies[i] as TcpProxy).port },
      ]),
    )
    const given = new Cluster(cluster.urls, { natMap, lazyConnect: true })
    const handle = new RedisHandle<Cluster>(given, { ...HANDLE_OPTIONS, clock: systemClock, use: 'own' })
    stops.push(...proxies.map((proxy) => () => proxy.stop()), () => handle.close())
    await handle.whenReady(10_000)
    await cluster.failover(0)
    await eventually(() => handle.client.nodes('slave').length > 0)
    const [replica] = handle.client.nodes('slave') as [Redis]
    await replica.ping()
    for (const proxy of proxies) proxy.freeze()
    const reply = await replica.get('any').catch((error: Error) => error)
    expect(reply).to.be.instanceOf(Error)
  })

  it('work with an ioredis Cluster client, and with the URL of a single node', async () => {
    const given = new Cluster(cluster.urls.slice(1, 2))
    stops.push(() => given.disconnect())
    const [one, two] = [await startProcess(given), await startProcess(cluster.urls.slice(0, 1))]
    const client = await open(two, CHANNELS.slice(0, 8))
    for (const [i, channel] of CHANNELS.slice(0, 8).entries()) {
      await one.multiplexer.publish(channel, { event: 'n', data: i + 1 })
    }
    await client.messagesUntil(8)
    expect(numbersOf(client).sort()).to.deep.equal(range(1, 8))
  })
})
