/**
 * How every part of the kit connects to Redis. Owns the ioredis options: nothing waits without bound, and ioredis
 * itself neither resends a command nor resubscribes. (Its resubscription can fail half-way and yield a "ready"
 * connection without subscriptions, and its offline queue has no bound.)
 */
import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis'
import { outsideContext } from '../core/async-context.js'
import { InvalidOptionError } from '../core/errors.js'
import { checkedOptions, checkedUrl, type RedisSource } from './source.js'

/** One server, or all masters of a cluster. */
export type RedisClient = Redis | Cluster

export interface ConnectOptions {
  /** The name that Redis shows in CLIENT LIST. */
  readonly connectionName: string
  /** The time limit of one connection attempt and of each reply of a sentinel, in ms. */
  readonly commandTimeoutMs: number
}

/** The default of every command time-out, in ms. */
export const COMMAND_TIMEOUT_MS = 2000

const RECONNECT_BASE_MS = 50
const RECONNECT_CAP_MS = 2000
/** The time that a closing connection has before its socket is destroyed. */
const FORCE_CLOSE_AFTER_MS = 1000
/** The interval at which a cluster's slot map is reloaded. A slot that has moved triggers a reload immediately. */
const SLOTS_REFRESH_MS = 5000

interface ClientShape {
  readonly status: unknown
  readonly options: unknown
  readonly isCluster?: unknown
}

const CLIENT_METHODS = ['duplicate', 'sendCommand', 'defineCommand', 'disconnect', 'connect', 'on'] as const

/** Whether the value is an ioredis client. Compares its shape, because it may be from another copy of ioredis. */
export function isRedisClient(source: unknown): source is RedisClient {
  if (typeof source !== 'object' || source === null) return false
  const { status, options } = source as ClientShape
  const methods = source as Readonly<Record<string, unknown>>
  return (
    typeof status === 'string' &&
    typeof options === 'object' &&
    options !== null &&
    CLIENT_METHODS.every((name) => typeof methods[name] === 'function')
  )
}

/** Like `instanceof Cluster`, for clients from any copy of ioredis. */
export function isCluster(client: RedisClient): client is Cluster {
  return (client as ClientShape).isCluster === true
}

/** Opens a connection. The caller closes it with `disconnect`. @throws InvalidOptionError */
export function connectRedis(source: RedisSource, options: ConnectOptions): RedisClient {
  // The connection outlives the request that needs it first.
  return outsideContext(() => connect(source, options))
}

function connect(source: RedisSource, options: ConnectOptions): RedisClient {
  const client = open(source, connectionOptions(options), options)
  // Without an `error` listener ioredis prints each failed connection attempt. RedisConnection reports failures.
  client.on('error', ignore)
  if (isCluster(client)) {
    client.on('+node', reconnectWhenReadOnly)
    trackConnections(client)
    refreshSlotsPeriodically(client)
  } else {
    reconnectWhenReadOnly(client)
    keepOpen(client)
    silenceSentinels(client)
  }
  return client
}

/** ioredis subscribes to the sentinels without an `error` listener, so it prints each failed connection to one. */
function silenceSentinels(client: Redis): void {
  const { connector } = client as unknown as { readonly connector: { connectToSentinel?(...args: unknown[]): Redis } }
  const connectToSentinel = connector.connectToSentinel?.bind(connector)
  if (connectToSentinel === undefined) return
  connector.connectToSentinel = (...args) => connectToSentinel(...args).on('error', ignore)
}

/** The clients of `keepOpen`, each with the timer of its next attempt, if one is pending. */
const keptOpen = new WeakMap<RedisClient, { timer: NodeJS.Timeout | undefined }>()
/** The clients that `disconnect` has closed. */
const closedClients = new WeakSet<RedisClient>()

/**
 * Connects again whenever ioredis stops reconnecting, until `disconnect` closes the client. With sentinels ioredis
 * stops, and reports only the event `end`, if a new master is announced during the search for the master, or if the
 * application's `sentinelRetryStrategy` ends its attempts. Without this the process would have no Redis until it is
 * restarted.
 */
function keepOpen(client: Redis): void {
  const reopening: { timer: NodeJS.Timeout | undefined } = { timer: undefined }
  let attempts = 0
  keptOpen.set(client, reopening)
  client.on('ready', () => {
    attempts = 0
  })
  client.on('end', () => {
    if (closedClients.has(client)) return
    reopening.timer = setTimeout(() => client.connect().catch(ignore), reconnectDelay(++attempts))
  })
}

/** Whether a client will not connect again: the kit has closed it, or the application has closed its own. */
export function hasEnded(client: RedisClient): boolean {
  return keptOpen.has(client) ? closedClients.has(client) : client.status === 'end'
}

/**
 * After a failover the old master replies READONLY, and only a new connection reaches the new master. Reconnects once
 * per connection, because every command in flight gets this reply, and each `disconnect` adds a listener and a timer to
 * the socket.
 */
function reconnectWhenReadOnly(client: Redis): void {
  let reset: unknown
  client.options.reconnectOnError = ({ message }) => {
    if (!message.includes('READONLY') || client.stream === reset) return false
    reset = client.stream
    return true
  }
}

/** The open connections of each cluster: those to nodes, and those that ioredis opens to load the slot map. */
const connectionsOf = new WeakMap<RedisClient, Set<Redis>>()

function trackConnections(cluster: Cluster): void {
  const connections = new Set<Redis>()
  connectionsOf.set(cluster, connections)
  const track = (connection: Redis): void => {
    connections.add(connection)
    connection.once('end', () => connections.delete(connection))
  }
  cluster.on('+node', (node: Redis) => {
    track(node)
    const duplicate = node.duplicate.bind(node)
    node.duplicate = (override) => {
      const connection = duplicate(override)
      track(connection)
      return connection
    }
  })
}

function refreshSlotsPeriodically(cluster: Cluster): void {
  const timer = setInterval(() => {
    if (cluster.status === 'ready') cluster.refreshSlotsCache()
  }, SLOTS_REFRESH_MS)
  timer.unref()
  cluster.once('end', () => clearInterval(timer))
}

/**
 * Opens another connection to the server that `client` is connected to. The caller closes it with `disconnect`. Its
 * commands have ioredis's own time-out.
 */
export function connectLike(client: Redis, options: ConnectOptions): Redis {
  const own = connectionOptions(options)
  const changes = { ...own, commandTimeout: options.commandTimeoutMs, readOnly: false, keyPrefix: '' }
  const connection = outsideContext(() => client.duplicate(changes))
  connection.on('error', ignore)
  keepOpen(connection)
  silenceSentinels(connection)
  return connection
}

/** Closes a client. Its sockets that are still open after a second are destroyed. */
export function disconnect(client: RedisClient): void {
  // A reply to a pending CLUSTER SLOTS may still add nodes.
  if (isCluster(client)) client.on('+node', (node: Redis) => node.disconnect())
  closedClients.add(client)
  clearTimeout(keptOpen.get(client)?.timer)
  client.disconnect()
  setTimeout(() => {
    const connections = isCluster(client) ? (connectionsOf.get(client) ?? []) : [client]
    for (const connection of connections) {
      if (connection.status === 'end') continue
      connection.disconnect()
      connection.stream?.destroy()
    }
  }, FORCE_CLOSE_AFTER_MS).unref()
}

/** The options of every connection that the kit opens. They override those of the application. */
function connectionOptions({ connectionName, commandTimeoutMs }: ConnectOptions): RedisOptions {
  return {
    connectionName,
    connectTimeout: commandTimeoutMs,
    // Without it a sentinel that accepts connections and never answers is waited for without end.
    sentinelCommandTimeout: commandTimeoutMs,
    disconnectTimeout: 500,
    keepAlive: 10_000,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: false,
    enableAutoPipelining: false,
    // Commands in flight fail when the connection breaks. Otherwise ioredis would resend them on the next connection.
    maxRetriesPerRequest: 0,
    lazyConnect: false,
    retryStrategy: reconnectDelay,
    // Set by `reconnectWhenReadOnly`.
    reconnectOnError: null,
    // Until the old master is demoted, it accepts writes that are lost. The sentinels announce the new master earlier.
    failoverDetector: true,
  }
}

function clusterOptions(redisOptions: RedisOptions, { commandTimeoutMs }: ConnectOptions): ClusterOptions {
  return {
    redisOptions,
    clusterRetryStrategy: reconnectDelay,
    scaleReads: 'master',
    enableAutoPipelining: false,
    // Commands in flight when a connection breaks may have run. Only the sender knows whether it may resend them.
    retryDelayOnFailover: 0,
    // Replaced by `refreshSlotsPeriodically`: if ioredis disconnects during its own refresh, its timer is never cleared
    // and keeps the process alive.
    slotsRefreshInterval: 0,
    slotsRefreshTimeout: commandTimeoutMs,
    // The queue stays bounded: run.ts sends nothing before the cluster is ready, and each command has a deadline.
    enableOfflineQueue: true,
    lazyConnect: false,
  }
}

function open(source: RedisSource, own: RedisOptions, options: ConnectOptions): RedisClient {
  if (isRedisClient(source)) {
    if (!isCluster(source)) return source.duplicate({ ...own, commandTimeout: undefined })
    const redisOptions = { ...source.options.redisOptions, ...own, commandTimeout: undefined }
    return source.duplicate([], clusterOptions(redisOptions, options))
  }
  if (typeof source === 'string') return openUrl(source, own)
  if (Array.isArray(source)) return openCluster(source, own, options)
  return new Redis({ ...checkedOptions(source), ...own, commandTimeout: undefined })
}

/** Options in the query of a URL would override those of the kit, and have text as values. */
function openUrl(source: string, own: RedisOptions): Redis {
  const client = new Redis(checkedUrl(source), own)
  Object.assign(client.options, own)
  // With `lazyConnect` in the query.
  if (client.status === 'wait') client.connect().catch(ignore)
  return client
}

function openCluster(urls: readonly string[], own: RedisOptions, options: ConnectOptions): Cluster {
  const [first] = urls.map((url) => new URL(checkedUrl(url)))
  if (first === undefined) throw new InvalidOptionError('redis must name at least one node of the cluster')
  const shared: RedisOptions = {
    ...own,
    ...(first.username !== '' && { username: decodeURIComponent(first.username) }),
    ...(first.password !== '' && { password: decodeURIComponent(first.password) }),
    ...(first.protocol === 'rediss:' && { tls: {} }),
  }
  return new Cluster([...urls], clusterOptions(shared, options))
}

/** Exponential with full jitter, so that the processes of a fleet do not reconnect at the same time. */
function reconnectDelay(attempt: number): number {
  return Math.round(Math.random() * Math.min(RECONNECT_CAP_MS, RECONNECT_BASE_MS * 2 ** Math.min(attempt, 10)))
}

function ignore(): void {
  // Deliberately empty; see where it is registered.
}
