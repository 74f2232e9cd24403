import type { RedisSource } from './connect.js'

/**
 * What a `redis` option means, in every part of the kit: left out or an empty string, which is what an environment variable
 * without a value gives, is embedded in this process. @returns `undefined`: embedded
 */
export function givenRedis(redis: RedisSource | null | undefined): RedisSource | undefined {
  return redis === '' || redis === null ? undefined : redis
}
