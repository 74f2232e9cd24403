/** The services of the app, embedded or on Redis: opened together, closed together. */
import {
  createMetrics,
  createMultiplexer,
  createRedis,
  createRevocations,
  createStore,
  type KeyValueStore,
  type Metrics,
  type Multiplexer,
  type Revocations,
} from 'express-sse-kit'
import { Traffic } from './compare/traffic.js'
import type { Config } from './config.js'
import { type Limits, openLimits } from './limits.js'
import { type LogLine, logToStderr } from './log.js'
import { seed } from './seed.js'
import type { InboxStore } from './store/inbox-store.js'
import { MemoryInboxStore } from './store/memory.js'
import { RedisInboxStore } from './store/redis.js'
import { connect } from './store/redis-client.js'
import { tenantIds } from './tenants.js'
import { Workbench } from './workbench/workbench.js'

export interface Services {
  readonly multiplexer: Multiplexer
  readonly store: InboxStore
  readonly keyValues: KeyValueStore
  readonly revocations: Revocations
  readonly limits: Limits
  /** The metrics that `/metrics` serves. They count from the start of the process. */
  readonly metrics: Metrics
  /** Uses no resources until its page is used. */
  readonly workbench: Workbench
  /** Idle until a page starts it. */
  readonly traffic: Traffic
  /** The services in the order in which `shutdown` closes them: what uses Redis before the connections to Redis. */
  readonly parts: readonly { close(): unknown }[]
  /** Closes all parts, without waiting for requests. Idempotent. */
  close(): Promise<void>
}

/**
 * Opens the services. With Redis a process has three connections (in a cluster, to each node): two for all parts of the
 * kit, and one for the inbox's own data.
 */
export function openServices(redis: Config['redis']): Services {
  const shared = createRedis(redis)
  const store = redis === undefined ? new MemoryInboxStore() : new RedisInboxStore(connect(redis))
  const keyValues = createStore({ redis: shared })
  // The processes of the example issue the tokens themselves, so only the clocks of these hosts can differ.
  const revocations = createRevocations({ store: keyValues, clockToleranceMs: 1000 })
  const limits = openLimits(shared)
  const multiplexer = createMultiplexer({ redis: shared, streamLimits: limits.streams, stream: { revocations } })
  const metrics = createMetrics({ multiplexer, streamLimits: limits.streams })
  const workbench = new Workbench()
  const traffic = new Traffic({ store, multiplexer, log: logToStderr })
  const parts = [traffic, workbench, multiplexer, limits, keyValues, store, metrics, shared]
  return {
    multiplexer,
    store,
    keyValues,
    revocations,
    limits,
    metrics,
    workbench,
    traffic,
    parts,
    async close() {
      for (const part of parts) await part.close()
    },
  }
}

const SEED_RETRY_MS = 2000

/**
 * Writes the demo conversations. Retries until it succeeds, because Redis may start after the app, or `signal` aborts.
 */
export async function seedTenants(store: InboxStore, log: LogLine, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      for (const tenant of tenantIds()) await seed(store, tenant)
      return
    } catch (error) {
      if (signal.aborted) return
      log('warn', 'seed.failed', { error, retryMs: SEED_RETRY_MS })
      await new Promise((resolve) => setTimeout(resolve, SEED_RETRY_MS).unref())
    }
  }
}
