/**
 * A process that prints `ready`, and closes all parts when its input ends, in any state of Redis: `cut-off.ts <redis
 * url>…`.
 */
import { once } from 'node:events'
import { createMultiplexer, createRedis, createStore } from '../../lib/index.js'

const urls = process.argv.slice(2)
const source = urls.length > 1 ? urls : urls[0]
const redis = createRedis(source)
const multiplexer = createMultiplexer({ redis, commandTimeoutMs: 500 })
const store = createStore({ redis: source })
// The outcomes do not matter. The calls only open the connections.
await Promise.allSettled([multiplexer.publish('orders', { event: 'n', data: 1 }), store.get(['key'])])
const inputEnd = once(process.stdin.resume(), 'end')
process.stdout.write('ready ')
await inputEnd
await multiplexer.close()
await store.close()
redis.close()
process.stdout.write('closed')
