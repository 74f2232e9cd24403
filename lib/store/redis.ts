/**
 * The key-value store that the processes of a fleet share. Owns its connection, unless it was given a client, and the
 * bound on how long a command may take; must not know what the values mean.
 */
import { Cluster } from 'ioredis'
import { systemClock } from '../core/clock.js'
import { BrokerError, InvalidOptionError } from '../core/errors.js'
import { wholeNumber } from '../core/options.js'
import type { KeyValueStore } from '../core/ports.js'
import { COMMAND_TIMEOUT_MS, type RedisClient, type RedisSource, toBrokerError } from '../redis/connect.js'
import { RedisHandle } from '../redis/handle.js'
import { observed } from '../redis/observed.js'

/** @defaultValue of `prefix` */
const STORE_PREFIX = 'sse:'

export interface RedisStoreOptions {
  /**
   * A URL or ioredis options: the store opens a connection of its own and closes it. An ioredis client: the store uses
   * that very client and leaves it open.
   */
  readonly redis: RedisSource
  /** Comes before every key. `''`: nothing does. @defaultValue 'sse:' */
  readonly prefix?: string
  /**
   * How long a command may take, the wait for the connection included, in ms. After that it fails with
   * `ERR_SSE_BROKER_UNAVAILABLE` if it was not sent, with `ERR_SSE_BROKER_TIMEOUT` if it may have run.
   * @defaultValue 2000
   */
  readonly commandTimeoutMs?: number
}

/** `claim` is one `SET NX PX`, `get` one `MGET`, `take` one `GETDEL`. Keys expire in Redis, so nothing is left when all processes are gone. */
export class RedisStore implements KeyValueStore {
  readonly #redis: RedisHandle
  readonly #prefix: string
  readonly #timeoutMs: number
  #closed = false
  /** A command waited for the connection in vain; until it is back no other does. */
  #unreachable = false

  constructor({ redis, prefix = STORE_PREFIX, commandTimeoutMs = COMMAND_TIMEOUT_MS }: RedisStoreOptions) {
    if (typeof prefix !== 'string') throw new InvalidOptionError('prefix must be a string')
    this.#prefix = prefix
    this.#timeoutMs = wholeNumber('commandTimeoutMs', commandTimeoutMs, 1, 60_000)
    this.#redis = new RedisHandle(redis, { connectionName: 'sse-store', commandTimeoutMs })
  }

  async get(keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    if (keys.length === 0) return []
    const names = keys.map((key) => this.#prefix + key)
    // In a cluster the keys lie on different nodes, for all that MGET may know.
    const values = await this.#run((client) =>
      client instanceof Cluster ? Promise.all(names.map((name) => client.get(name))) : client.mget(names),
    )
    return values.map((value) => value ?? undefined)
  }

  async set(key: string, value: string, ttlMs: number): Promise<void> {
    wholeNumber('ttlMs', ttlMs, 1)
    await this.#run((client) => client.set(this.#prefix + key, value, 'PX', ttlMs))
  }

  async claim(key: string, value: string, ttlMs: number): Promise<boolean> {
    wholeNumber('ttlMs', ttlMs, 1)
    const answer = await this.#run((client) => client.set(this.#prefix + key, value, 'PX', ttlMs, 'NX'))
    return answer === 'OK'
  }

  async take(key: string): Promise<string | undefined> {
    const value = await this.#run((client) => client.getdel(this.#prefix + key))
    return value ?? undefined
  }

  async delete(key: string): Promise<void> {
    await this.#run((client) => client.del(this.#prefix + key))
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#redis.close()
  }

  /**
   * One deadline over the wait for the connection and the command. It is the store's own, since a client that was handed
   * in may have no command time-out and an unbounded offline queue.
   */
  #run<T>(command: (client: RedisClient) => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      let sent = false
      const deadline = setTimeout(() => {
        reject(
          sent
            ? new BrokerError('ERR_SSE_BROKER_TIMEOUT', 'Redis did not answer in time; the command may have run')
            : this.#notReachable(),
        )
      }, this.#timeoutMs)
      this.#connected()
        .then(() => {
          sent = true
          return observed('store', systemClock, () => command(this.#redis.client))
        })
        .then(resolve, (error: unknown) => reject(this.#closed ? closed(error) : toBrokerError(error)))
        .finally(() => clearTimeout(deadline))
    })
  }

  async #connected(): Promise<void> {
    const { status } = this.#redis.client
    if (this.#closed || status === 'end') throw closed()
    if (this.#unreachable && status !== 'ready') throw this.#notReachable()
    try {
      await this.#redis.connected(this.#timeoutMs)
      this.#unreachable = false
    } catch (error) {
      this.#unreachable = true
      throw error
    }
  }

  #notReachable(): BrokerError {
    return new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `Redis was not reachable within ${this.#timeoutMs} ms`)
  }
}

function closed(cause?: unknown): BrokerError {
  return new BrokerError('ERR_SSE_CLOSED', 'The store was closed', cause)
}
