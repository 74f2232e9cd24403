import { InvalidOptionError } from '../core/errors.js'
import { systemClock } from '../core/system-clock.js'
import { COMMAND_TIMEOUT_MS, isCluster, type RedisClient } from './connect.js'
import { RedisHandle } from './handle.js'
import { givenRedis, type RedisSource, registerShared, type SharedRedis } from './source.js'

/**
 * Creates one connection to Redis that all parts of the kit share: pass it to each part as `redis`. The process then
 * has two connections, this one for commands and one for subscriptions (in a cluster, two for each master). Close it
 * after the parts, for example as the last of `shutdown`'s `parts`; it keeps the process alive until then.
 * @param source like the `redis` option of any part; absent or empty: embedded in this process
 * @throws InvalidOptionError also for a client or options with a `keyPrefix`: give each part its `prefix` instead
 */
export function createRedis(source?: RedisSource | null): SharedRedis {
  const given = givenRedis(source)
  const redis = given === undefined ? undefined : open(given)
  const handle: SharedRedis = Object.freeze({
    embedded: redis === undefined,
    close: () => redis?.close(),
  })
  registerShared(handle, redis?.client)
  return handle
}

function open(source: RedisSource): RedisHandle {
  const redis = new RedisHandle(source, {
    connectionName: 'express-sse-kit',
    commandTimeoutMs: COMMAND_TIMEOUT_MS,
    clock: systemClock,
    use: 'own',
  })
  if (keyPrefixOf(redis.client) === '') return redis
  redis.close()
  throw new InvalidOptionError('createRedis does not support a keyPrefix: give each part its own `prefix`')
}

function keyPrefixOf(client: RedisClient): string {
  const ofNodes = isCluster(client) ? client.options.redisOptions?.keyPrefix : undefined
  return client.options.keyPrefix || ofNodes || ''
}
