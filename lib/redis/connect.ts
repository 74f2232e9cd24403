/**
 * How every part of the kit connects to Redis: nothing waits without bound, nothing is resent or resubscribed behind our
 * back. (ioredis's own resubscription can fail half-way and leave a "ready" connection without subscriptions, and its
 * offline queue has no bound.)
 */
import { Redis, type RedisOptions } from 'ioredis'
import { BrokerError, InvalidOptionError } from '../core/errors.js'

/** A URL (`redis://…`, `rediss://…`), ioredis options, or an ioredis client, whose options are taken over. */
export type RedisSource = string | RedisOptions | Redis

export type RedisClient = Redis

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

/** Opens a connection of its own. The caller closes it. @throws InvalidOptionError */
export function connectRedis(source: RedisSource, { connectionName, commandTimeoutMs }: ConnectOptions): Redis {
  const owned: RedisOptions = {
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
  const client = open(source, owned)
  // Without a listener ioredis prints every failed connection attempt; the owner reports states, so this one is silent.
  client.on('error', ignore)
  return client
}

function open(source: RedisSource, owned: RedisOptions): Redis {
  if (source instanceof Redis) return source.duplicate(owned)
  if (typeof source === 'string') {
    if (!/^(rediss?|unix):\/\//.test(source) && !source.startsWith('/')) {
      throw new InvalidOptionError('redis must be a URL that starts with redis:// or rediss://')
    }
    return new Redis(source, owned)
  }
  if (source !== null && typeof source === 'object') return new Redis({ ...source, ...owned })
  throw new InvalidOptionError('redis must be a URL, ioredis options or an ioredis client')
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
export function whenReady(client: Redis, timeoutMs: number): Promise<void> {
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
