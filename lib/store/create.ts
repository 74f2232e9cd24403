import type { Clock } from '../core/clock.js'
import type { RedisSource } from '../redis/connect.js'
import { givenRedis } from '../redis/source.js'
import { MemoryStore } from './memory.js'
import { RedisStore } from './redis.js'
import type { KeyValueStore } from './store.js'

export interface StoreOptions {
  /**
   * Where all processes meet: a URL, ioredis options (both: a connection of the store's own), or an ioredis client (used
   * as it is, not closed). Left out or empty: the store lives in this process alone.
   */
  readonly redis?: RedisSource | undefined
  /** Comes before every key in Redis. @defaultValue 'sse:' */
  readonly prefix?: string | undefined
  /** The clock of the store in this process; Redis keeps its own time. @defaultValue the process's clock */
  readonly clock?: Clock | undefined
}

/** The store for where the kit runs: shared through Redis, or in this process. @throws InvalidOptionError */
export function createStore({ redis: given, prefix, clock }: StoreOptions = {}): KeyValueStore {
  const redis = givenRedis(given)
  if (redis === undefined) return new MemoryStore(clock === undefined ? {} : { clock })
  return new RedisStore(prefix === undefined ? { redis } : { redis, prefix })
}
