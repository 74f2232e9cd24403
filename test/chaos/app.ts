/** A process under test: `app.ts SOURCE`. Prints its port; serves streams, polls and publishing; ends at SIGTERM. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { Cluster, type ClusterOptions, type RedisOptions } from 'ioredis'
import { createMultiplexer, createRedis, type SseEvent, shutdown, sseErrors } from '../../lib/index.js'

interface ClusterSource {
  readonly cluster: string[]
  readonly options: ClusterOptions
}

const source = JSON.parse(process.argv[2] as string) as string | RedisOptions | ClusterSource
const isCluster = typeof source === 'object' && 'cluster' in source
// The kit uses the options of the client, not its connection.
const redis = createRedis(isCluster ? new Cluster(source.cluster, { ...source.options, lazyConnect: true }) : source)
const multiplexer = createMultiplexer({ redis })
const app = express()
const channelsOf = (req: { readonly url: string }): string[] =>
  new URL(req.url, 'http://localhost').searchParams.getAll('channel')
app.get('/stream', multiplexer.stream(channelsOf))
app.get('/poll', multiplexer.poll(channelsOf))
app.get('/status', (_req, res) => {
  res.json({ ...multiplexer.status(), rss: process.memoryUsage().rss })
})
app.post('/publish', express.json({ limit: '10mb' }), async (req, res) => {
  const { channel, events, key } = req.body as { channel: string; events: SseEvent[]; key?: string }
  try {
    const options = key === undefined ? {} : { idempotencyKey: key }
    res.json({ positions: await multiplexer.publishMany(channel, events, options) })
  } catch (error) {
    res.json({ code: (error as { code?: string }).code, message: (error as Error).message })
  }
})
app.use(sseErrors())

const server = app.listen(0, '127.0.0.1')
await once(server, 'listening')
process.once('SIGTERM', () => {
  void shutdown({ server, streams: [multiplexer], parts: [redis], windowMs: 200 })
})
process.stdout.write(`${(server.address() as AddressInfo).port}\n`)
