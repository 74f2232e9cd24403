import type { Clock } from '../core/clock.js'
import { givenRedis, type RedisSource } from '../redis/source.js'
import { MemoryStore } from './memory.js'
import { RedisStore } from './redis.js'
import type { KeyValueStore } from './store.js'

/** Options of `createStore`. */
export interface StoreOptions {
  /**
   * The Redis that all processes share: a URL or ioredis options (the store opens and closes its own connection), an
   * ioredis client or a `createRedis()` handle (the store uses it and does not close it). Absent or empty: the store
   * keeps its values in this process only.
   */
  readonly redis?: RedisSource | undefined
  /** Prefix of every key in Redis. @defaultValue 'sse:' */
  readonly prefix?: string | undefined
  /** The clock of a store in this process, for tests. Redis uses its own time. @defaultValue the system clock */
  readonly clock?: Clock | undefined
}

/**
 * Creates a key-value store: shared through Redis, or in this process.
 * @throws InvalidOptionError
 */
export function createStore({ redis: given, prefix, clock }: StoreOptions = {}): KeyValueStore {
  const redis = givenRedis(given)
  if (redis === undefined) return new MemoryStore(clock === undefined ? {} : { clock })
  return new RedisStore(prefix === undefined ? { redis } : { redis, prefix })
}
