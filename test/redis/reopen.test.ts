import { expect } from 'chai'
import type { Redis } from 'ioredis'
import { systemClock } from '../../lib/core/system-clock.js'
import { connectLike, connectRedis, disconnect, hasEnded } from '../../lib/redis/connect.js'
import { RedisHandle } from '../../lib/redis/handle.js'
import { eventually } from '../helpers/eventually.js'
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
    client.disconnect()
    await eventually(() => client.status === 'end')
    disconnect(client)
    expect(hasEnded(client)).to.equal(true)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(client.status).to.equal('end')
  })

  it('is waited for by commands', async () => {
    const redis = new RedisHandle<Redis>(server.url, { ...OPTIONS, clock: systemClock })
    try {
      await redis.whenReady(5000)
      redis.client.disconnect()
      await eventually(() => redis.client.status !== 'ready')
      expect(await redis.run((client) => client.ping())).to.equal('PONG')
      redis.client.disconnect()
      await eventually(() => redis.client.status === 'end')
      await redis.whenReady(5000)
    } finally {
      redis.close()
    }
  })
})
