import type { Clock } from '../core/clock.js'
import { diagnostics } from '../core/diagnostics.js'
import { toBrokerError } from './connect.js'

/** What runs several commands in one go, each of which is to be observed. */
type RedisUser = 'limit'

/** Has it done, and tells diagnostics of it where somebody listens. */
export async function observed<T>(command: RedisUser, clock: Clock, call: () => Promise<T>): Promise<T> {
  if (!diagnostics.redisCommand.hasSubscribers) return call()
  const beganAt = clock.now()
  let error: unknown
  try {
    return await call()
  } catch (cause) {
    error = toBrokerError(cause)
    throw cause
  } finally {
    diagnostics.redisCommand.publish({ command, ms: clock.now() - beganAt, error })
  }
}
