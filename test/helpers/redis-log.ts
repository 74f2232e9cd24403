import type { Cluster, Redis } from 'ioredis'
import { eventually } from './eventually.js'

/**
 * Saves the state of a channel's log in Redis.
 * @returns restores the state, as after a failover to a replica that lagged
 */
export async function snapshot(redis: Redis, channel: string): Promise<() => Promise<void>> {
  const keys = [`sse:{${channel}}:m`, `sse:{${channel}}:s`]
  const dumps = await Promise.all(keys.map((key) => redis.dumpBuffer(key)))
  return async () => {
    const transaction = redis.multi()
    for (const [i, key] of keys.entries()) {
      const dump = dumps[i] as Buffer | null
      // An empty log has no entries.
      if (dump === null) transaction.del(key)
      else transaction.restore(key, 0, dump, 'REPLACE')
    }
    await transaction.exec()
  }
}

/** Lets the log of a channel that nobody uses expire. Closes the connection that it is given. */
export async function expireLog(admin: Redis | Cluster, channel: string): Promise<void> {
  const meta = `sse:{${channel}}:m`
  await admin.pexpire(meta, 1)
  await eventually(async () => (await admin.exists(meta)) === 0)
  admin.disconnect()
}
