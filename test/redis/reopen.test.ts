import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { expect } from 'chai'
import type { Redis } from 'ioredis'
import { systemClock } from '../../lib/core/system-clock.js'
import { connectLike, connectRedis, disconnect, hasEnded } from '../../lib/redis/connect.js'
import { RedisHandle } from '../../lib/redis/handle.js'
import { eventually } from '../helpers/eventually.js'
import { RedisSentinel } from '../helpers/redis-sentinel.js'
import { RedisServer } from '../helpers/redis-server.js'

const OPTIONS = { connectionName: 'test', commandTimeoutMs: 5000 }

describe('a connection that ioredis ends', () => {
  let server: RedisServer
  const clients: Redis[] = []

  before(async () => {
    server = await RedisServer.start()
  })

  after(async () => {
    await server.stop()
  })

  afterEach(() => {
    for (const client of clients.splice(0)) disconnect(client)
  })

  /** Both ways in which the kit opens a connection. */
  async function open(): Promise<readonly Redis[]> {
    const first = connectRedis(server.url, OPTIONS) as Redis
    clients.push(first, connectLike(first, OPTIONS))
    await eventually(() => clients.every(({ status }) => status === 'ready'))
    return clients
  }

  it('is opened again', async () => {
    for (const client of await open()) {
      let ended = false
      client.once('end', () => {
        ended = true
      })
      client.disconnect()
      await eventually(() => ended && client.status === 'ready')
      expect(hasEnded(client)).to.equal(false)
    }
  })

  it('is opened again if a new master is announced while the client looks for one', async () => {
    for (const client of await open()) {
      const { connector } = client as unknown as { connector: { connect(): unknown } }
      const { connect } = connector
      // As SentinelConnector then fails.
      connector.connect = () => {
        connector.connect = connect
        return Promise.reject(new Error('Connection is closed.'))
      }
      let ended = false
      client.once('end', () => {
        ended = true
      })
      client.disconnect(true)
      await eventually(() => ended && client.status === 'ready')
    }
  })

  it('stays closed once the kit has closed it', async () => {
    const [client] = (await open()) as [Redis]
    const ended = once(client, 'end')
    client.disconnect()
    // Seldom seen by looking at the status again and again: the next attempt may begin at once.
    await ended
    disconnect(client)
    expect(hasEnded(client)).to.equal(true)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(client.status).to.equal('end')
  })

  it('delays commands until it is open again', async () => {
    const redis = new RedisHandle<Redis>(server.url, { ...OPTIONS, clock: systemClock })
    try {
      await redis.whenReady(5000)
      redis.client.disconnect()
      await eventually(() => redis.client.status !== 'ready')
      expect(await redis.run((client) => client.ping())).to.equal('PONG')
      const ended = once(redis.client, 'end')
      redis.client.disconnect()
      await ended
      await redis.whenReady(5000)
    } finally {
      redis.close()
    }
  })
})

describe('a sentinel that accepts connections and never answers', function () {
  this.timeout(60_000)

  let sentinel: RedisSentinel
  let silent: SilentServer
  const clients: Redis[] = []

  before(async () => {
    sentinel = await RedisSentinel.start()
  })

  after(() => sentinel.stop())

  beforeEach(async () => {
    silent = await SilentServer.start()
  })

  afterEach(async () => {
    for (const client of clients.splice(0)) disconnect(client)
    await silent.stop()
  })

  it('is skipped: the client queries the next one', async () => {
    const sentinels = [silent, sentinel].map(({ port }) => ({ host: '127.0.0.1', port }))
    const options = { connectionName: 'test', commandTimeoutMs: 500 }
    const first = connectRedis({ sentinels, name: 'inbox' }, options) as Redis
    clients.push(first, connectLike(first, options))
    await eventually(() => clients.every(({ status }) => status === 'ready'))
    expect(silent.connections).to.be.at.least(2)
  })

  it('is not printed when it resets the connection of a client that listens for failovers', async () => {
    const { error: consoleError } = console
    const printed: string[] = []
    console.error = (...values) => void printed.push(values.join(' '))
    try {
      const sentinels = [sentinel, silent].map(({ port }) => ({ host: '127.0.0.1', port }))
      const options = { connectionName: 'test', commandTimeoutMs: 500 }
      const first = connectRedis({ sentinels, name: 'inbox' }, options) as Redis
      clients.push(first, connectLike(first, options))
      await eventually(() => clients.every(({ status }) => status === 'ready'))
      await eventually(() => silent.connections >= 2)
      silent.reset()
      // The resets arrive before these answers.
      for (const client of clients) await client.ping()
      expect(printed).to.deep.equal([])
    } finally {
      console.error = consoleError
    }
  })
})

/** Like a process that was stopped or a host behind a lost route: connections open, and nothing is ever sent. */
class SilentServer {
  readonly #server: Server
  readonly #sockets: Socket[] = []

  private constructor(server: Server) {
    this.#server = server
    server.on('connection', (socket) => this.#sockets.push(socket.on('error', () => undefined)))
  }

  static async start(): Promise<SilentServer> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new SilentServer(server)
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get connections(): number {
    return this.#sockets.length
  }

  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}
