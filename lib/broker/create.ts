/**
 * options ─► **create** ─► the broker of a multiplexer: in this process, or in Redis. Owns the choice, so that no
 * other code imports one of the two brokers.
 */
import cluster from 'node:cluster'
import type { Clock } from '../core/clock.js'
import { givenRedis, type RedisSource } from '../redis/source.js'
import type { Broker } from './broker.js'
import { MemoryBroker } from './memory.js'
import { RedisBroker, type RedisBrokerOptions } from './redis/broker.js'

/** The `code` of the warning (`process.emitWarning`) if one of several workers has an embedded broker. */
const EMBEDDED_WARNING = 'SSE_EMBEDDED_IN_CLUSTER'

/** The options of both brokers. The embedded broker ignores those that only concern Redis. */
export type BrokerOptions = Omit<RedisBrokerOptions, 'redis'> & { readonly redis?: RedisSource | undefined }

/**
 * Creates the broker: in Redis, or embedded in this process if `redis` is absent or empty.
 * @throws InvalidOptionError
 */
export function createBroker(options: BrokerOptions, clock: Clock): Broker {
  const redis = givenRedis(options.redis)
  if (redis !== undefined) return new RedisBroker({ ...options, redis }, clock)
  if (isOneOfSeveralWorkers()) {
    process.emitWarning(
      'express-sse-kit: this process is one of several workers, and its multiplexer is embedded: its streams ' +
        'only get events that this worker publishes. Use createMultiplexer({ redis }) to share events between workers.',
      { type: 'ExpressSseKitWarning', code: EMBEDDED_WARNING },
    )
  }
  return new MemoryBroker(options, clock)
}

function isOneOfSeveralWorkers(): boolean {
  // PM2 numbers its processes in both of its modes, even a single one.
  const { NODE_APP_INSTANCE: number, instances } = process.env
  return cluster.isWorker || (number !== undefined && instances !== '1')
}
