/**
 * What the option `redis` accepts in every part of the kit, what it means, and its checks. Must not know how a
 * connection is opened.
 */
import type { Cluster, Redis, RedisOptions } from 'ioredis'
import { InvalidOptionError } from '../core/errors.js'

/**
 * - A URL (`redis://…`, `rediss://…`), ioredis options, or an ioredis client, whose options are used.
 * - For a Redis Cluster (Redis 7 or later): URLs of some of its nodes, or an ioredis `Cluster` client, whose options
 *   are used. The user, password and TLS of the first URL apply to all nodes.
 * - The result of `createRedis`: one connection that all parts share.
 */
export type RedisSource = string | readonly string[] | RedisOptions | Redis | Cluster | SharedRedis

/** One connection for commands that all parts of the kit share; see `createRedis`. */
export interface SharedRedis {
  /** `true`: there is no Redis. A part that gets this handle keeps its state in this process. */
  readonly embedded: boolean
  /** Closes the connection. Close the parts that use it first. Idempotent. */
  close(): void
}

/** The clients behind the handles that `createRedis` returned; `undefined`: embedded. */
const sharedClients = new WeakMap<object, Redis | Cluster | undefined>()

/** Registers the client behind a handle that `createRedis` returns. */
export function registerShared(handle: SharedRedis, client: Redis | Cluster | undefined): void {
  sharedClients.set(handle, client)
}

/** The client behind a `createRedis` handle; `undefined` for any other source. */
export function sharedClientOf(source: RedisSource): Redis | Cluster | undefined {
  return typeof source === 'object' ? sharedClients.get(source) : undefined
}

/**
 * Returns the source that a `redis` option names, or `undefined` for "embedded in this process": an absent option, an
 * embedded `createRedis` handle, or an empty string, which is what an environment variable without a value yields.
 */
export function givenRedis(redis: RedisSource | null | undefined): RedisSource | undefined {
  if (redis === '' || redis === null || redis === undefined) return undefined
  const isEmbedded = typeof redis === 'object' && sharedClients.has(redis) && sharedClients.get(redis) === undefined
  return isEmbedded ? undefined : redis
}

/**
 * Checks a URL of a Redis server. ioredis connects to localhost if it does not understand a value, so every form that
 * would end there is rejected.
 * @throws InvalidOptionError
 */
export function checkedUrl(url: unknown): string {
  if (typeof url !== 'string') {
    throw new InvalidOptionError('redis must be a URL that starts with redis:// or rediss://')
  }
  if (/^unix:\/\/\/./.test(url) || /^\/[^/]/.test(url)) return url
  const parsed = /^rediss?:\/\/./.test(url) && URL.canParse(url) ? new URL(url) : undefined
  if (parsed === undefined || parsed.hostname === '') {
    throw new InvalidOptionError('redis must be a URL that starts with redis:// or rediss:// and names a host')
  }
  if (!/^\/?\d*$/.test(parsed.pathname)) {
    throw new InvalidOptionError(`The path of a redis URL must be a database number, got ${parsed.pathname}`)
  }
  return url
}

/**
 * Checks ioredis options: they must name a server, because ioredis's default is localhost.
 * @throws InvalidOptionError
 */
export function checkedOptions(source: unknown): RedisOptions {
  const prototype: unknown = typeof source === 'object' && source !== null ? Object.getPrototypeOf(source) : undefined
  if (prototype !== Object.prototype && prototype !== null) {
    throw new InvalidOptionError('redis must be a URL, URLs of a cluster, ioredis options or an ioredis client')
  }
  const options = source as RedisOptions
  const places = [options.host, options.port, options.path, options.sentinels, options.Connector]
  if (places.every((place) => place === undefined || place === null)) {
    throw new InvalidOptionError('redis options must name the server: set host, port, path or sentinels')
  }
  return options
}
