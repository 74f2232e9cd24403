/** Shared by all servers: Express, one route, and ticks that publish on request of the bench. */
import { setTimeout as sleep, setImmediate as yieldToSockets } from 'node:timers/promises'
import express from 'express'
import { nowMicros } from '../load/pace.mjs'

/** About 250 bytes on the wire, with one `@` for the load client to count. */
export const DATA = { id: 12_345, conversation_id: 'wa-106540352242922-4915112345678', text: 'x'.repeat(150), at: '@' }

/** The events of 10 ms at the rate of `slow`. */
const MAX_AT_ONCE = 15

/**
 * Serves `GET /` and reports the URL to the parent.
 * @param handler opens a stream
 * @param publish sends one event to all streams; called with a counter and the event's data
 */
export function serve(handler, publish) {
  const server = express()
    .get('/', handler)
    .listen(0, '127.0.0.1', () => listening(server.address().port, publish))
  server.maxConnections = 100_000
}

/**
 * For servers without Express.
 * @param pids whose CPU and memory count
 * @param more further values for the bench
 */
export function listening(port, publish, pids = [process.pid], more = {}) {
  const heapBefore = heapBytes()
  process.on('message', async ({ type, ...shape }) => {
    if (type === 'go') await publishTicks(publish, shape)
    if (type === 'pace') process.send({ type: 'paced', events: await publishPaced(publish, shape) })
    if (type === 'heap') process.send({ type: 'heap', bytes: heapBytes() - heapBefore })
  })
  // Also ends the server if the bench was killed.
  process.on('disconnect', () => process.exit())
  process.send({ type: 'listening', port, pids, ...more })
}

async function publishTicks(publish, { perTick, ticks, intervalMs }) {
  let number = 0
  for (let tick = 0; tick < ticks; tick++) {
    for (let i = 0; i < perTick; i++) await publish(number++, DATA)
    await sleep(intervalMs)
  }
}

/**
 * Publishes `rate` events a second, each with its time of publication. Overdue events, after the server was busy, are
 * published in small portions, because with external publishers sockets are served between events too.
 * @returns how many events were published in time
 */
async function publishPaced(publish, { rate, seconds, textLength }) {
  const text = 'x'.repeat(textLength)
  const begin = performance.now()
  let number = 0
  for (let elapsed = 0; elapsed < seconds * 1000; elapsed = performance.now() - begin) {
    const due = Math.floor((elapsed * rate) / 1000)
    const until = Math.min(due, number + MAX_AT_ONCE)
    while (number < until) await publish(number++, { text, at: `@${nowMicros()};` })
    await (number < due ? yieldToSockets() : sleep(1))
  }
  return number
}

function heapBytes() {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}
