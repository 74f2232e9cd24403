/**
 * How every part of the kit connects to Redis: nothing waits without bound, nothing is resent or resubscribed behind our
 * back. (ioredis's own resubscription can fail half-way and leave a "ready" connection without subscriptions, and its
 * offline queue has no bound.)
 */
import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis'
import { BrokerError, InvalidOptionError } from '../core/errors.js'

/**
 * - A URL (`redis://…`, `rediss://…`), ioredis options, or an ioredis client, whose options are taken over.
 * - For a Redis Cluster (Redis 7 or later): URLs of some of its nodes, or an ioredis `Cluster` client, whose options are
 *   taken over. User, password and TLS of the first URL hold for all nodes.
 */
export type RedisSource = string | readonly string[] | RedisOptions | Redis | Cluster

/** One server, or all masters of a cluster. */
export type RedisClient = Redis | Cluster

export interface ConnectOptions {
  /** Shown by Redis in CLIENT LIST. */
  readonly connectionName: string
  /** After this a command fails, in ms; whether Redis carried it out is then unknown. */
  readonly commandTimeoutMs: number
}

/** @defaultValue for every command time-out, in ms */
export const COMMAND_TIMEOUT_MS = 2000

const RECONNECT_BASE_MS = 50
const RECONNECT_CAP_MS = 2000
/** How often it is asked which node of a cluster serves what. What turns out to have moved is asked for at once. */
const SLOTS_REFRESH_MS = 5000

/** Whether it is a client of the caller's own. */
export function isRedisClient(source: RedisSource): source is RedisClient {
  return source instanceof Redis || source instanceof Cluster
}

/** Opens a connection of its own. The caller closes it. @throws InvalidOptionError */
export function connectRedis(source: RedisSource, options: ConnectOptions): RedisClient {
  const client = open(source, owned(options), options)
  // Without a listener ioredis prints every failed connection attempt; the owner reports states, so this one is silent.
  client.on('error', ignore)
  if (client instanceof Cluster) keepLooking(client)
  return client
}

/** Asks now and then which node serves what. */
function keepLooking(cluster: Cluster): void {
  const timer = setInterval(() => {
    if (cluster.status === 'ready') cluster.refreshSlotsCache()
  }, SLOTS_REFRESH_MS)
  timer.unref()
  cluster.once('end', () => clearInterval(timer))
}

/** Opens a connection of its own to the server at the other end of one. The caller closes it. */
export function connectLike(client: Redis, options: ConnectOptions): Redis {
  const connection = client.duplicate({ ...owned(options), readOnly: false })
  connection.on('error', ignore)
  return connection
}

function owned({ connectionName, commandTimeoutMs }: ConnectOptions): RedisOptions {
  return {
    connectionName,
    commandTimeout: commandTimeoutMs,
    connectTimeout: commandTimeoutMs,
    disconnectTimeout: 500,
    keepAlive: 10_000,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: false,
    // Commands under way when the connection breaks fail at once instead of waiting for the next connection.
    maxRetriesPerRequest: 0,
    lazyConnect: false,
    retryStrategy: reconnectDelay,
    // After a failover the old master answers READONLY: only a new connection finds the new one.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  }
}

function ownedByCluster(redisOptions: RedisOptions, { commandTimeoutMs }: ConnectOptions): ClusterOptions {
  return {
    redisOptions,
    clusterRetryStrategy: reconnectDelay,
    scaleReads: 'master',
    // Commands under way when a connection breaks may have run: only their sender knows whether to send them again.
    retryDelayOnFailover: 0,
    // Not ioredis's own: where it disconnects while it asks, its timer goes on for ever, and keeps the process alive.
    slotsRefreshInterval: 0,
    slotsRefreshTimeout: commandTimeoutMs,
    // Bounded by the command time-out, and by our never sending before it is ready.
    enableOfflineQueue: true,
    lazyConnect: false,
  }
}

function open(source: RedisSource, owned: RedisOptions, options: ConnectOptions): RedisClient {
  if (source instanceof Redis) return source.duplicate(owned)
  if (source instanceof Cluster) {
    return source.duplicate([], ownedByCluster({ ...source.options.redisOptions, ...owned }, options))
  }
  if (typeof source === 'string') return new Redis(checkedUrl(source), owned)
  if (Array.isArray(source)) return openCluster(source, owned, options)
  if (source !== null && typeof source === 'object') return new Redis({ ...(source as RedisOptions), ...owned })
  throw new InvalidOptionError('redis must be a URL, URLs of a cluster, ioredis options or an ioredis client')
}

function openCluster(urls: readonly string[], owned: RedisOptions, options: ConnectOptions): Cluster {
  const [first] = urls.map((url) => new URL(checkedUrl(url)))
  if (first === undefined) throw new InvalidOptionError('redis must name at least one node of the cluster')
  const shared: RedisOptions = {
    ...owned,
    ...(first.username !== '' && { username: decodeURIComponent(first.username) }),
    ...(first.password !== '' && { password: decodeURIComponent(first.password) }),
    ...(first.protocol === 'rediss:' && { tls: {} }),
  }
  return new Cluster([...urls], ownedByCluster(shared, options))
}

function checkedUrl(url: unknown): string {
  if (typeof url === 'string' && (/^(rediss?|unix):\/\//.test(url) || url.startsWith('/'))) return url
  throw new InvalidOptionError('redis must be a URL that starts with redis:// or rediss://')
}

/** Exponential with full jitter, so that the processes of a fleet do not return in step. */
function reconnectDelay(attempt: number): number {
  return Math.round(Math.random() * Math.min(RECONNECT_CAP_MS, RECONNECT_BASE_MS * 2 ** Math.min(attempt, 10)))
}

function ignore(): void {
  // Deliberately nothing; see where it is registered.
}

/** What ioredis rejects with, as the kit's own error: did it not get there, is it unknown, or was it refused? */
export function toBrokerError(error: unknown): BrokerError {
  if (error instanceof BrokerError) return error
  const message = error instanceof Error ? error.message : String(error)
  const name = error instanceof Error ? error.name : ''
  if (message === 'Command timed out') {
    return new BrokerError('ERR_SSE_BROKER_TIMEOUT', 'Redis did not answer in time; the command may have run', error)
  }
  if (name === 'ReplyError') return new BrokerError('ERR_SSE_BROKER_REFUSED', `Redis refused: ${message}`, error)
  return new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `Redis is not reachable: ${message}`, error)
}

/** Resolves when the connection is usable. @throws BrokerError `ERR_SSE_BROKER_UNAVAILABLE` after `timeoutMs` */
export function whenReady(client: RedisClient, timeoutMs: number): Promise<void> {
  if (client.status === 'ready') return Promise.resolve()
  return new Promise((resolve, reject) => {
    const settle = (error?: BrokerError): void => {
      clearTimeout(timer)
      client.off('ready', onReady)
      client.off('end', onEnd)
      if (error) reject(error)
      else resolve()
    }
    const onReady = (): void => settle()
    const onEnd = (): void => settle(new BrokerError('ERR_SSE_CLOSED', 'The Redis connection was closed'))
    const timer = setTimeout(
      () => settle(new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `Redis was not reachable within ${timeoutMs} ms`)),
      timeoutMs,
    )
    client.once('ready', onReady)
    client.once('end', onEnd)
  })
}
