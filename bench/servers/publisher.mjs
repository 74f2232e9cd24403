/** Publishes as fast as Redis accepts events, in one of several ways, without HTTP. */
import { Redis } from 'ioredis'
import { createMultiplexer } from '../../dist/index.js'
import { DATA } from '../harness/driver.mjs'
import { optionsOf } from '../harness/processes.mjs'

const BATCH = 100
const UNDER_WAY = 4
const { url, way } = optionsOf()
const multiplexer = createMultiplexer({ redis: url })
const client = new Redis(url)
const event = () => ({ event: 'message', data: DATA })
let number = 0

/** Each sends `BATCH` events and resolves when Redis has answered. */
const WAYS = {
  'kit, publish': () => Promise.all(times(() => multiplexer.publish('bench', event()))),
  'kit, publishMany': () => multiplexer.publishMany('bench', times(event)),
  'kit, offer': async () => {
    for (const each of times(event)) while (!multiplexer.offer('bench', each)) await multiplexer.ping()
    // So that as much is under way as with the others.
    await multiplexer.ping()
  },
  'kit, publish on 100 channels': () =>
    Promise.all(times(() => multiplexer.publish(`bench:${number++ % 100}`, event()))),
  'bare PUBLISH, pipelined': () => {
    const pipeline = client.pipeline()
    for (let i = 0; i < BATCH; i++) {
      pipeline.publish('bench', `event: message\ndata: ${JSON.stringify(event().data)}\n\n`)
    }
    return pipeline.exec()
  },
}

process.on('message', async ({ events }) => {
  const startedAt = performance.now()
  await send(events)
  process.send({ type: 'published', ms: performance.now() - startedAt })
})
await send(20_000)
process.send({ type: 'listening', pids: [process.pid] })

async function send(events) {
  let batches = events / BATCH
  await Promise.all(
    Array.from({ length: UNDER_WAY }, async () => {
      while (batches-- > 0) await WAYS[way]()
    }),
  )
}

function times(make) {
  return Array.from({ length: BATCH }, make)
}
