import { isCluster, type RedisClient } from '../../redis/connect.js'

/** What keeps the names of several environments in one Redis apart. */
export interface Namespace {
  readonly keyPrefix: string
  readonly db: number
}

/**
 * Reads a client's namespace and clears the client's `keyPrefix`. ioredis's `keyPrefix` and Redis's databases separate
 * keys but not pub/sub channels, so the kit itself adds the namespace to all names.
 */
export function takeNamespace(client: RedisClient): Namespace {
  const nodes = isCluster(client) ? (client.options.redisOptions ?? {}) : client.options
  const keyPrefix = client.options.keyPrefix ?? nodes.keyPrefix ?? ''
  client.options.keyPrefix = ''
  return { keyPrefix, db: isCluster(client) ? 0 : Number(nodes.db ?? 0) }
}

/**
 * The names of a channel in Redis; see open-log.ts. A channel name contains no braces, so the hash tag is always the
 * one that is added here.
 */
export class Keys {
  readonly #prefix: string
  /** The suffix of pub/sub channels in a database other than 0, because all databases share pub/sub. */
  readonly pubSubSuffix: string

  constructor(prefix: string, db: number) {
    // As Redis stores and returns it.
    this.#prefix = prefix.toWellFormed()
    this.pubSubSuffix = db === 0 ? '' : `@${db}`
  }

  /** The pub/sub channel. */
  pubSub(channel: string): string {
    return this.#key(channel) + this.pubSubSuffix
  }

  meta(channel: string): string {
    return `${this.#key(channel)}:m`
  }

  stream(channel: string): string {
    return `${this.#key(channel)}:s`
  }

  idempotency(channel: string, key: string): string {
    return `${this.#key(channel)}:i:${key}`
  }

  /** The pub/sub channel of the signals to one process, or to all. */
  signals(processId?: string): string {
    return `${this.#prefix}signal${processId === undefined ? '' : `:${processId}`}${this.pubSubSuffix}`
  }

  /** A pub/sub channel without subscribers. */
  ping(): string {
    return `${this.#prefix}signal:ping${this.pubSubSuffix}`
  }

  #key(channel: string): string {
    return `${this.#prefix}{${channel}}`
  }
}
