import { isCluster, type RedisClient } from '../../redis/connect.js'

/** What separates one environment from another on one Redis. */
export interface Namespace {
  readonly keyPrefix: string
  readonly db: number
}

/**
 * The namespace that a client was given. ioredis's `keyPrefix` and Redis's databases separate keys, but not pub/sub: so the kit puts the
 * prefix in front of all names by itself, and the client does not any more.
 */
export function takeNamespace(client: RedisClient): Namespace {
  const nodes = isCluster(client) ? (client.options.redisOptions ?? {}) : client.options
  const keyPrefix = client.options.keyPrefix ?? nodes.keyPrefix ?? ''
  client.options.keyPrefix = ''
  return { keyPrefix, db: isCluster(client) ? 0 : Number(nodes.db ?? 0) }
}

/** The names of a channel in Redis; see scripts.ts. Channel names hold no braces, so the hash tag is always the kit's. */
export class Keys {
  readonly #prefix: string
  /** Databases have pub/sub in common, so that all but the first are named there. */
  readonly #database: string

  constructor(prefix: string, db: number) {
    this.#prefix = prefix
    this.#database = db === 0 ? '' : `@${db}`
  }

  /** The pub/sub channel. */
  name(channel: string): string {
    return this.#key(channel) + this.#database
  }

  meta(channel: string): string {
    return `${this.#key(channel)}:m`
  }

  stream(channel: string): string {
    return `${this.#key(channel)}:s`
  }

  /** The last publication of a process. */
  attempts(channel: string, publisherId: string): string {
    return `${this.#key(channel)}:a:${publisherId}`
  }

  idempotency(channel: string, key: string): string {
    return `${this.#key(channel)}:i:${key}`
  }

  /** The pub/sub channel of signals to one process, or to all. */
  signals(processId?: string): string {
    return `${this.#prefix}signal${processId === undefined ? '' : `:${processId}`}${this.#database}`
  }

  /** A pub/sub channel to which nobody subscribes. */
  ping(): string {
    return `${this.#prefix}signal:ping${this.#database}`
  }

  #key(channel: string): string {
    return `${this.#prefix}{${channel}}`
  }
}
