/**
 * How every part of the kit connects to Redis: nothing waits without bound, nothing is resent or resubscribed behind our
 * back. (ioredis's own resubscription can fail half-way and leave a "ready" connection without subscriptions, and its
 * offline queue has no bound.)
 */
import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis'
import { outsideContext } from '../core/async-context.js'
import { BrokerError, InvalidOptionError, SseError } from '../core/errors.js'
import { warnOnce } from './warnings.js'

/**
 * - A URL (`redis://…`, `rediss://…`), ioredis options, or an ioredis client, whose options are taken over.
 * - For a Redis Cluster (Redis 7 or later): URLs of some of its nodes, or an ioredis `Cluster` client, whose options are
 *   taken over. User, password and TLS of the first URL hold for all nodes.
 * - What `createRedis` made: the one connection that all parts share.
 */
export type RedisSource = string | readonly string[] | RedisOptions | Redis | Cluster | SharedRedis

/** One connection for commands that all parts of the kit share; see `createRedis`. */
export interface SharedRedis {
  /** There is no Redis: the parts that are given this live in this process. */
  readonly embedded: boolean
  /** Closes the connection, after the parts that use it. Idempotent. */
  close(): void
}

/** One server, or all masters of a cluster. */
export type RedisClient = Redis | Cluster

export interface ConnectOptions {
  /** Shown by Redis in CLIENT LIST. */
  readonly connectionName: string
  /** How long one attempt to connect may take, in ms. */
  readonly commandTimeoutMs: number
}

/** @defaultValue for every command time-out, in ms */
export const COMMAND_TIMEOUT_MS = 2000

const RECONNECT_BASE_MS = 50
const RECONNECT_CAP_MS = 2000
/** What a connection that is being closed has to do so. */
const CLOSE_MS = 1000
/** How often it is asked which node of a cluster serves what. What turns out to have moved is asked for at once. */
const SLOTS_REFRESH_MS = 5000

interface ClientShape {
  readonly status: unknown
  readonly options: unknown
  readonly isCluster?: unknown
}

const CLIENT_METHODS = ['duplicate', 'sendCommand', 'defineCommand', 'disconnect', 'connect', 'on'] as const

/** Whether it is a client of the caller's own: told by its shape, since it may come from another copy of ioredis. */
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

/** As `instanceof Cluster`, for clients from any copy of ioredis. */
export function isCluster(client: RedisClient): client is Cluster {
  return (client as ClientShape).isCluster === true
}

/** Opens a connection of its own. The caller closes it with `disconnect`. @throws InvalidOptionError */
export function connectRedis(source: RedisSource, options: ConnectOptions): RedisClient {
  // A connection outlives the request that happens to need it first.
  return outsideContext(() => connect(source, options))
}

function connect(source: RedisSource, options: ConnectOptions): RedisClient {
  const client = open(source, owned(options), options)
  // Without a listener ioredis prints every failed connection attempt; the owner reports states, so this one is silent.
  client.on('error', ignore)
  if (isCluster(client)) {
    client.on('+node', reconnectWhenReadOnly)
    noteConnections(client)
    keepLooking(client)
  } else {
    reconnectWhenReadOnly(client)
  }
  return client
}

/**
 * After a failover the old master answers READONLY: only a new connection finds the new one. Once for each connection, since all
 * commands under way are answered so, and each `disconnect` leaves a listener and a timer on the socket.
 */
function reconnectWhenReadOnly(client: Redis): void {
  let given: unknown
  client.options.reconnectOnError = ({ message }) => {
    if (!message.includes('READONLY') || client.stream === given) return false
    given = client.stream
    return true
  }
}

/** Every connection of a cluster's, of nodes and of those that only ask which node serves what, until it has ended. */
const connectionsOf = new WeakMap<RedisClient, Set<Redis>>()

function noteConnections(cluster: Cluster): void {
  const connections = new Set<Redis>()
  connectionsOf.set(cluster, connections)
  const note = (connection: Redis): void => {
    connections.add(connection)
    connection.once('end', () => connections.delete(connection))
  }
  cluster.on('+node', (node: Redis) => {
    note(node)
    const duplicate = node.duplicate.bind(node)
    node.duplicate = (override) => {
      const connection = duplicate(override)
      note(connection)
      return connection
    }
  })
}

/** Asks now and then which node serves what. */
function keepLooking(cluster: Cluster): void {
  const timer = setInterval(() => {
    if (cluster.status === 'ready') cluster.refreshSlotsCache()
  }, SLOTS_REFRESH_MS)
  timer.unref()
  cluster.once('end', () => clearInterval(timer))
}

/**
 * Opens a connection of its own to the server at the other end of one. The caller closes it with `disconnect`. Its commands have
 * ioredis's time-out.
 */
export function connectLike(client: Redis, options: ConnectOptions): Redis {
  const changes = { ...owned(options), commandTimeout: options.commandTimeoutMs, readOnly: false, keyPrefix: '' }
  const connection = outsideContext(() => client.duplicate(changes))
  connection.on('error', ignore)
  return connection
}

/** Closes a client for good. Sockets that are still open after a bound are destroyed, whatever holds them. */
export function disconnect(client: RedisClient): void {
  // An answer that was under way may name nodes yet.
  if (isCluster(client)) client.on('+node', (node: Redis) => node.disconnect())
  client.disconnect()
  setTimeout(() => {
    const connections = isCluster(client) ? (connectionsOf.get(client) ?? []) : [client]
    for (const connection of connections) {
      if (connection.status === 'end') continue
      connection.disconnect()
      connection.stream?.destroy()
    }
  }, CLOSE_MS).unref()
}

function owned({ connectionName, commandTimeoutMs }: ConnectOptions): RedisOptions {
  return {
    connectionName,
    connectTimeout: commandTimeoutMs,
    disconnectTimeout: 500,
    keepAlive: 10_000,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: false,
    enableAutoPipelining: false,
    // Commands under way when the connection breaks fail at once instead of waiting for the next connection.
    maxRetriesPerRequest: 0,
    lazyConnect: false,
    retryStrategy: reconnectDelay,
    // See `reconnectWhenReadOnly`.
    reconnectOnError: null,
    // The old master takes writes, which are lost, until it is told to stop; the sentinels say sooner who is the new one.
    failoverDetector: true,
  }
}

function ownedByCluster(redisOptions: RedisOptions, { commandTimeoutMs }: ConnectOptions): ClusterOptions {
  return {
    redisOptions,
    clusterRetryStrategy: reconnectDelay,
    scaleReads: 'master',
    enableAutoPipelining: false,
    // Commands under way when a connection breaks may have run: only their sender knows whether to send them again.
    retryDelayOnFailover: 0,
    // Not ioredis's own: where it disconnects while it asks, its timer goes on for ever, and keeps the process alive.
    slotsRefreshInterval: 0,
    slotsRefreshTimeout: commandTimeoutMs,
    // Bounded by the deadlines of our own, and by our never sending before it is ready.
    enableOfflineQueue: true,
    lazyConnect: false,
  }
}

function open(source: RedisSource, owned: RedisOptions, options: ConnectOptions): RedisClient {
  if (isRedisClient(source)) {
    if (!isCluster(source)) return source.duplicate({ ...owned, commandTimeout: undefined })
    const redisOptions = { ...source.options.redisOptions, ...owned, commandTimeout: undefined }
    return source.duplicate([], ownedByCluster(redisOptions, options))
  }
  if (typeof source === 'string') return new Redis(checkedUrl(source), owned)
  if (Array.isArray(source)) return openCluster(source, owned, options)
  return new Redis({ ...checkedOptions(source), ...owned, commandTimeout: undefined })
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

/** What ioredis does not understand it takes for localhost: so each shape is checked that could slide there. */
function checkedUrl(url: unknown): string {
  if (typeof url !== 'string')
    throw new InvalidOptionError('redis must be a URL that starts with redis:// or rediss://')
  if (/^unix:\/\/\/./.test(url) || /^\/[^/]/.test(url)) return url
  const parsed = /^rediss?:\/\/./.test(url) && URL.canParse(url) ? new URL(url) : undefined
  if (parsed === undefined || parsed.hostname === '') {
    throw new InvalidOptionError('redis must be a URL that starts with redis:// or rediss:// and names a host')
  }
  if (!/^\/?\d*$/.test(parsed.pathname)) {
    throw new InvalidOptionError(`The path of a redis URL must be the number of a database, got ${parsed.pathname}`)
  }
  return url
}

/** ioredis options that say where the server is. */
function checkedOptions(source: unknown): RedisOptions {
  const prototype: unknown = typeof source === 'object' && source !== null ? Object.getPrototypeOf(source) : undefined
  if (prototype !== Object.prototype && prototype !== null) {
    throw new InvalidOptionError('redis must be a URL, URLs of a cluster, ioredis options or an ioredis client')
  }
  const options = source as RedisOptions
  const places = [options.host, options.port, options.path, options.sentinels, options.Connector]
  if (places.every((place) => place === undefined || place === null)) {
    throw new InvalidOptionError('redis options must say where the server is: host, port, path or sentinels')
  }
  return options
}

/** Exponential with full jitter, so that the processes of a fleet do not return in step. */
function reconnectDelay(attempt: number): number {
  return Math.round(Math.random() * Math.min(RECONNECT_CAP_MS, RECONNECT_BASE_MS * 2 ** Math.min(attempt, 10)))
}

function ignore(): void {
  // Deliberately nothing; see where it is registered.
}

/** What ioredis rejects with, as the kit's own error, where it is not known whether a command was written; else see run.ts. */
export function toBrokerError(error: unknown): SseError {
  if (error instanceof SseError) return error
  const message = error instanceof Error ? reasonOf(error) : String(error)
  if (message === 'Command timed out') {
    return new BrokerError('ERR_SSE_BROKER_TIMEOUT', 'Redis did not answer in time; the command may have run', error)
  }
  if (isRefusal(error)) return refused(message, error)
  return new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `Redis is not reachable: ${message}`, error)
}

/**
 * The error for a command that Redis answered with an error. What is wrong is seldom the client's or the moment's (`NOPERM`, `WRONGTYPE`),
 * and limits may go on without Redis: so it is warned of once.
 */
export function refused(reason: string, cause: unknown): BrokerError {
  const error = new BrokerError('ERR_SSE_BROKER_REFUSED', `Redis refused: ${reason}`, cause)
  warnOnce('SSE_REDIS_REFUSED', error.message)
  return error
}

/** Redis answered, and did not do it. */
export function isRefusal(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError'
}

/** Where a name has several addresses, the error has no message of its own. */
export function reasonOf(error: Error): string {
  if (error.message !== '') return error.message
  const [first] = (error as { errors?: readonly Error[] }).errors ?? []
  return first?.message ?? (error as { code?: string }).code ?? error.name
}

/** @param timeoutMs how long was waited, if somebody has */
export function unavailable(timeoutMs: number | undefined, cause: Error | undefined): BrokerError {
  const within = timeoutMs === undefined ? '' : ` within ${Math.round(timeoutMs)} ms`
  const reason = cause === undefined ? '' : `: ${reasonOf(cause)}`
  return new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `Redis is not reachable${within}${reason}`, cause)
}
