/**
 * The connection to Redis for the inbox's own data. (The parts of the kit share the one of `createRedis`.) Every wait
 * is bounded: there is no offline queue, and commands and the wait for the connection have a time-out.
 */
import { Cluster, Redis, type RedisOptions } from 'ioredis'

const TIMEOUT_MS = 2000
const OPTIONS: RedisOptions = {
  connectionName: 'inbox',
  commandTimeout: TIMEOUT_MS,
  connectTimeout: TIMEOUT_MS,
  enableOfflineQueue: false,
  // Commands that are under way when the connection breaks fail immediately. Their outcome is unknown to the caller.
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  retryStrategy: pauseBefore,
}

/**
 * @param redis the URL of a server, or URLs of some nodes of a cluster. User, password and TLS of the first apply to
 * all.
 */
export function connect(redis: string | readonly string[]): Redis | Cluster {
  const client = typeof redis === 'string' ? new Redis(redis, OPTIONS) : connectCluster(redis)
  // Each command reports its own failure. Without a listener ioredis prints every failed attempt to connect.
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

/** Resolves when the connection is ready. @throws StoreUnavailableError after 2 s, or if it was closed */
export function whenReady(client: Redis | Cluster): Promise<void> {
  if (client.status === 'ready') return Promise.resolve()
  if (client.status === 'end') return Promise.reject(new StoreUnavailableError('The store was closed'))
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => settle(new StoreUnavailableError(`Redis did not become reachable within ${TIMEOUT_MS} ms`)),
      TIMEOUT_MS,
    )
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

/** Redis is unavailable. A retry may succeed, so the answer is 503. */
export class StoreUnavailableError extends Error {
  override readonly name = 'StoreUnavailableError'
}
