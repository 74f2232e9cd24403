/** What all servers share: Express, one route, and ticks that publish when the bench says so. */
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'

/** About 250 bytes on the wire, with one `@` for the load client to count. */
export const DATA = { id: 12_345, conversation_id: 'wa-106540352242922-4915112345678', text: 'x'.repeat(150), at: '@' }

/**
 * Serves `GET /` and tells the parent where.
 * @param handler opens a stream
 * @param publish sends one event to all streams; its argument counts up
 */
export function serve(handler, publish) {
  const server = express()
    .get('/', handler)
    .listen(0, '127.0.0.1', () => listening(server.address().port, publish))
  server.maxConnections = 100_000
}

/** For servers that are not Express. @param pids whose CPU and memory count */
export function listening(port, publish, pids = [process.pid]) {
  const heapBefore = heapBytes()
  process.on('message', async ({ type, ...shape }) => {
    if (type === 'go') await publishTicks(publish, shape)
    if (type === 'heap') process.send({ type: 'heap', bytes: heapBytes() - heapBefore })
  })
  process.send({ type: 'listening', port, pids })
}

async function publishTicks(publish, { perTick, ticks, intervalMs }) {
  let number = 0
  for (let tick = 0; tick < ticks; tick++) {
    for (let i = 0; i < perTick; i++) await publish(number++)
    await sleep(intervalMs)
  }
}

function heapBytes() {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}
