/** Uses all parts with a Redis that refuses their commands, without subscribers to diagnostics. Argument: its URL. */

import { createMultiplexer, createStore } from '../../lib/index.js'
import { createStreamLimits } from '../helpers/internals.js'

const redis = process.argv[2]
const limits = createStreamLimits({ redis, timeoutMs: 10_000 })
const multiplexer = createMultiplexer({ redis })
const store = createStore({ redis })
const auth = { user: 'ada', tenant: 'acme', expiresAt: Number.POSITIVE_INFINITY, claims: {} }
for (let round = 0; round < 3; round++) {
  await limits.acquire({ auth }, { id: String(round), close: () => undefined })
  await multiplexer.publish('log', { data: 1 }).catch(() => undefined)
  await store.set('key', 'value', 1000).catch(() => undefined)
}
await Promise.all([multiplexer.close(), limits.close(), store.close()])
