import type { RedisClient, RedisSource } from './connect.js'

/** The clients behind what `createRedis` made; `undefined`: embedded. */
const shared = new WeakMap<object, RedisClient | undefined>()

/** Notes the client behind a `SharedRedis`. */
export function share(handle: object, client: RedisClient | undefined): void {
  shared.set(handle, client)
}

/** The client that `createRedis` made. */
export function sharedClientOf(source: RedisSource): RedisClient | undefined {
  return typeof source === 'object' ? shared.get(source) : undefined
}

/**
 * What a `redis` option means, in every part of the kit: left out or an empty string, which is what an environment variable
 * without a value gives, is embedded in this process. @returns `undefined`: embedded
 */
export function givenRedis(redis: RedisSource | null | undefined): RedisSource | undefined {
  if (redis === '' || redis === null || redis === undefined) return undefined
  const isEmbedded = typeof redis === 'object' && shared.has(redis) && shared.get(redis) === undefined
  return isEmbedded ? undefined : redis
}
