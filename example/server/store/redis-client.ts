/**
 * The application's own Redis connection, shared by its store and the kit's cache and de-duplication. Nothing waits
 * without bound: no offline queue, a time-out on every command and on the wait for the connection.
 */
import { Cluster, Redis, type RedisOptions } from 'ioredis'

const TIMEOUT_MS = 2000
const OPTIONS: RedisOptions = {
  connectionName: 'inbox',
  commandTimeout: TIMEOUT_MS,
  connectTimeout: TIMEOUT_MS,
  enableOfflineQueue: false,
  // What was under way when the connection broke fails at once: whether it ran is for the caller to sort out.
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  retryStrategy: pauseBefore,
}

/** @param redis a server's URL, or those of some nodes of a cluster; what the first says of user and password holds for all */
export function connect(redis: string | readonly string[]): Redis | Cluster {
  const client = typeof redis === 'string' ? new Redis(redis, OPTIONS) : connectCluster(redis)
  // Each command reports its own failure; without a listener ioredis prints every attempt to connect.
  client.on('error', () => undefined)
  client.setMaxListeners(0)
  return client
}

function connectCluster(urls: readonly string[]): Cluster {
  const { username, password, protocol } = new URL(urls[0] ?? '')
  const redisOptions: RedisOptions = {
    ...OPTIONS,
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) }),
    ...(protocol === 'rediss:' && { tls: {} }),
  }
  return new Cluster([...urls], { redisOptions, retryDelayOnFailover: 0, clusterRetryStrategy: pauseBefore })
}

function pauseBefore(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt, 6), 2000) * (0.5 + Math.random() / 2)
}

/** Resolves when the connection can be used; rejects after a bounded time. */
export function whenReady(client: Redis | Cluster): Promise<void> {
  if (client.status === 'ready') return Promise.resolve()
  if (client.status === 'end') return Promise.reject(new StoreUnavailableError('The store was closed'))
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => settle(new StoreUnavailableError('Redis is not reachable')), TIMEOUT_MS)
    const onReady = (): void => settle()
    const onEnd = (): void => settle(new StoreUnavailableError('The store was closed'))
    function settle(error?: Error): void {
      clearTimeout(timer)
      client.off('ready', onReady).off('end', onEnd)
      if (error === undefined) resolve()
      else reject(error)
    }
    client.once('ready', onReady).once('end', onEnd)
  })
}

/** Redis does not serve: worth another try, so it is answered with 503. */
export class StoreUnavailableError extends Error {
  override readonly name = 'StoreUnavailableError'
}
