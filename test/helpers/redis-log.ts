import type { Redis } from 'ioredis'

/**
 * Saves the state of a channel's log in Redis.
 * @returns restores the state, as after a failover to a replica that lagged
 */
export async function snapshot(redis: Redis, channel: string): Promise<() => Promise<void>> {
  const keys = [`sse:{${channel}}:m`, `sse:{${channel}}:s`]
  const dumps = await Promise.all(keys.map((key) => redis.dumpBuffer(key)))
  return async () => {
    const transaction = redis.multi()
    for (const [i, key] of keys.entries()) transaction.restore(key, 0, dumps[i] as Buffer, 'REPLACE')
    await transaction.exec()
  }
}
