import type { Clock } from '../core/clock.js'
import { InvalidOptionError } from '../core/errors.js'
import { givenRedis, type RedisSource } from '../redis/source.js'
import { boundedStore } from './bounded.js'
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

/**
 * The store of a part that takes `redis` or `store`. Call it after all other checks: it may open a connection, which
 * would stay open if a later check failed. The part closes the store only if it was not given one.
 * @param part the function that takes the options, for the message
 * @throws InvalidOptionError if both are given
 */
export function storeOption(
  part: string,
  { redis, store }: Pick<StoreOptions, 'redis'> & { readonly store?: KeyValueStore | undefined },
  clock: Clock,
): KeyValueStore {
  if (store === undefined) return createStore({ redis, clock })
  if (givenRedis(redis) !== undefined) throw new InvalidOptionError(`${part}() takes either redis or store, not both`)
  return boundedStore(store, clock)
}
