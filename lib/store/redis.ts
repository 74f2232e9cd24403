/**
 * The key-value store that several processes share through Redis. Owns its connection, unless it was given a client,
 * and the time limit of each command. Must not know what the values mean.
 */

import { diagnostics } from '../core/diagnostics.js'
import { BrokerError, InvalidOptionError, SseError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { wholeNumber } from '../core/validation.js'
import { COMMAND_TIMEOUT_MS, isCluster, type RedisClient } from '../redis/connect.js'
import { RedisHandle } from '../redis/handle.js'
import type { RedisSource } from '../redis/source.js'
import type { KeyValueStore } from './store.js'

const STORE_PREFIX = 'sse:'

export interface RedisStoreOptions {
  /**
   * A URL or ioredis options: the store opens and closes its own connection. An ioredis client: the store uses this
   * client and does not close it.
   */
  readonly redis: RedisSource
  /** Prefix of every key. `''`: no prefix. @defaultValue 'sse:' */
  readonly prefix?: string
  /**
   * The time limit of a command, in ms, including the wait for the connection. After it the command fails with
   * `ERR_SSE_BROKER_UNAVAILABLE` if it was not written, and with `ERR_SSE_BROKER_TIMEOUT` if it may have run.
   * @defaultValue 2000
   */
  readonly commandTimeoutMs?: number
}

/**
 * `claim` is one `SET NX PX`, `get` one `MGET`, `take` one `GETDEL`. Redis expires the keys, so none remain after all
 * processes have exited.
 */
export class RedisStore implements KeyValueStore {
  readonly #redis: RedisHandle
  readonly #prefix: string
  #closed = false

  constructor({ redis, prefix = STORE_PREFIX, commandTimeoutMs = COMMAND_TIMEOUT_MS }: RedisStoreOptions) {
    if (typeof prefix !== 'string') throw new InvalidOptionError('prefix must be a string')
    this.#prefix = prefix
    wholeNumber('commandTimeoutMs', commandTimeoutMs, 1, 60_000)
    this.#redis = new RedisHandle(redis, { connectionName: 'sse-store', commandTimeoutMs, clock: systemClock })
  }

  async get(keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    if (keys.length === 0) return []
    const names = keys.map((key) => this.#prefix + key)
    // In a cluster the keys may be on different nodes, which MGET does not support.
    const values = await this.#run(
      (client) => (isCluster(client) ? Promise.all(names.map((name) => client.get(name))) : client.mget(names)),
      true,
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

  /** After one command has waited for the connection until its time limit, others fail immediately until it is back. */
  async #run<T>(command: (client: RedisClient) => Promise<T>, readOnly = false): Promise<T> {
    if (this.#closed) throw closed()
    try {
      return await this.#redis.run(command, {
        readOnly,
        failsFast: true,
        report: { to: diagnostics.redisCommand, command: 'store' },
      })
    } catch (error) {
      throw error instanceof SseError && error.code === 'ERR_SSE_CLOSED' ? closed(error) : error
    }
  }
}

function closed(cause?: unknown): BrokerError {
  return new BrokerError('ERR_SSE_CLOSED', 'The store was closed', cause)
}
