import { Redis } from 'ioredis'
import { RedisServer } from './redis-server.js'

/** A Redis server, and a connection of the tests to it. */
export interface SuiteRedis {
  readonly server: RedisServer
  readonly admin: Redis
}

/** Starts a Redis server before the tests of a suite, and stops it after them. @param onStarted called before them */
export function startSuiteRedis(onStarted: (redis: SuiteRedis) => void): void {
  let redis: SuiteRedis | undefined

  before(async () => {
    const server = await RedisServer.start()
    redis = { server, admin: new Redis(server.url) }
    onStarted(redis)
  })

  after(async () => {
    redis?.admin.disconnect()
    await redis?.server.stop()
  })
}
