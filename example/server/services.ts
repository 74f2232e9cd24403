/** What the app stands on, embedded or on Redis: opened together, closed together. */
import {
  createMetrics,
  createMultiplexer,
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
  /** Counts from the start, for whoever reads `/metrics`. */
  readonly metrics: Metrics
  /** Takes nothing until it is used. */
  readonly workbench: Workbench
  /** None until it is started. */
  readonly traffic: Traffic
  /** Streams first, so that their clients are told to come back while Redis is still there. Idempotent. */
  close(): Promise<void>
}

/** With Redis four connections: the multiplexer's two, that of the stream limits, and one for all else. (In a cluster, to each node.) */
export function openServices(redis: Config['redis']): Services {
  const client = redis === undefined ? undefined : connect(redis)
  const store = client === undefined ? new MemoryInboxStore() : new RedisInboxStore(client)
  const keyValues = createStore({ redis: client })
  // The processes themselves issue the tokens, so there is one clock for each host, and no other.
  const revocations = createRevocations({ store: keyValues, clockToleranceMs: 1000 })
  const limits = openLimits(client)
  const multiplexer = createMultiplexer({ redis, streamLimits: limits.streams, stream: { revocations } })
  const metrics = createMetrics({ multiplexer, streamLimits: limits.streams })
  const workbench = new Workbench()
  const traffic = new Traffic({ store, multiplexer, log: logToStderr })
  return {
    multiplexer,
    store,
    keyValues,
    revocations,
    limits,
    metrics,
    workbench,
    traffic,
    async close() {
      traffic.close()
      await workbench.close()
      await multiplexer.close()
      await limits.close()
      await keyValues.close()
      await store.close()
      metrics.close()
    },
  }
}

const SEED_RETRY_MS = 2000

/** Tries until it works: Redis may come up after the app. @param signal ends the trying */
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
