/** A process that uses and closes all connections and timers: `whole-kit.ts <redis url>…`. No URL: embedded. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import express from 'express'
import {
  authenticate,
  createMetrics,
  createMultiplexer,
  createPacing,
  createRevocations,
  createStore,
  createStreamLimits,
  logDrops,
  rateLimit,
} from '../../lib/index.js'
import { SseClient } from '../helpers/sse-client.js'

const urls = process.argv.slice(2)
const redis = urls.length > 1 ? urls : urls[0]

const store = createStore({ redis })
const revocations = createRevocations({ store })
const streamLimits = createStreamLimits({ redis, perIp: 20 })
const pacing = createPacing({ stream: 'dashboard' })
const multiplexer = createMultiplexer({ redis, streamLimits, stream: { pacing, revocations } })
const limit = rateLimit({ redis, by: 'ip', points: 1000, duration: 60 })
const metrics = createMetrics({ multiplexer })
const stopLogging = logDrops()
const app = express()
  .use(authenticate({ secret: 'a secret of at least 32 bytes, please', tickets: store, revocations, optional: true }))
  .use(limit)
  .get(
    '/',
    multiplexer.stream(() => ['orders']),
  )
const server = app.listen(0, '127.0.0.1')
await once(server, 'listening')

const client = await SseClient.open(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
await client.control('sse.open')
await store.set('key', 'value', 60_000)
await revocations.revoke({ user: 'ada', tenant: 'acme' })
await multiplexer.publish('orders', { event: 'n', data: 1 })
await client.messagesUntil(1)

server.close()
await multiplexer.close()
await Promise.all([streamLimits.close(), limit.close(), store.close()])
metrics.close()
stopLogging()
process.stdout.write('closed')
