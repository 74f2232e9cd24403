/** A process that holds stream leases until it is killed: `holder.ts <redis url> <count> <leaseMs>`. */
import { createStreamLimits } from '../../helpers/internals.js'

const [redis = '', count, leaseMs] = process.argv.slice(2)
const limits = createStreamLimits({ redis, perTenant: Number(count), leaseMs: Number(leaseMs), opensPerMinute: 0 })
await Promise.all(
  Array.from({ length: Number(count) }, (_, index) =>
    limits.acquire(
      { auth: { user: `user${index % 100}`, tenant: 'acme', expiresAt: 0, claims: {} } },
      { id: `held${index}`, close: () => undefined },
    ),
  ),
)
process.stdout.write('held\n')
// The connection to Redis keeps the process alive.
