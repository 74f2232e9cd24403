/** What all servers share: Express, one route, and ticks that publish when the bench says so. */
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'

/** About 250 bytes on the wire, with one `@` for the load client to count. */
export const DATA = { id: 12_345, conversation_id: 'wa-106540352242922-4915112345678', text: 'x'.repeat(150), at: '@' }

/**
 * @param handler opens a stream
 * @param publish sends one event to all streams
 */
export function serve(handler, publish) {
  const server = express()
    .get('/', handler)
    .listen(0, '127.0.0.1', () => process.send({ type: 'listening', port: server.address().port }))
  server.maxConnections = 100_000
  globalThis.gc?.()
  const before = process.memoryUsage()
  process.on('message', async ({ type, ...shape }) => {
    const measured = type === 'idle' ? await watch(before, shape) : await drive(publish, shape)
    process.send({ type: 'measured', ...measured })
  })
}

async function drive(publish, { perTick, ticks, intervalMs }) {
  const before = process.cpuUsage()
  for (let tick = 0; tick < ticks; tick++) {
    for (let i = 0; i < perTick; i++) publish()
    await sleep(intervalMs)
  }
  const { user, system } = process.cpuUsage(before)
  return { cpuMicros: user + system }
}

async function watch(before, { watchMs }) {
  await sleep(1000)
  globalThis.gc()
  globalThis.gc()
  const after = process.memoryUsage()
  const cpuBefore = process.cpuUsage()
  await sleep(watchMs)
  const { user, system } = process.cpuUsage(cpuBefore)
  return {
    heapBytes: after.heapUsed - before.heapUsed,
    rssBytes: after.rss - before.rss,
    cpuPercent: (user + system) / (watchMs * 10),
  }
}
