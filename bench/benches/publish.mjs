/** The publishing rate of one process through Redis: the kit with positions and history, and Redis's bare PUBLISH. */
import { chosen } from '../harness/contestants.mjs'
import { ask, cpuMicros, LOAD_CORE, message, SERVER_CORE, start, startRedis, stop } from '../harness/processes.mjs'
import { inTurn } from '../harness/stats.mjs'

const CONTESTANTS = [
  'kit, publish',
  'kit, publishMany',
  'kit, offer',
  'kit, publish on 100 channels',
  'bare PUBLISH, pipelined',
]
const EVENTS = 200_000

export const publish = {
  title: () =>
    `${EVENTS.toLocaleString('en')} events of 250 bytes, 100 at a time, 4 times 100 under way, one subscriber`,
  defaults: { runs: 5 },
  columns: [
    { key: 'perSecond', title: 'events/s', digits: 0, ratio: true },
    { key: 'cpu', title: 'publisher CPU an event, µs', digits: 1 },
    { key: 'redisCpu', title: 'Redis CPU an event, µs', digits: 1 },
  ],
  goals: ['kit, publish', 'kit, publishMany', 'kit, offer'].map((of) => ({
    of,
    to: 'bare PUBLISH, pipelined',
    figure: 'perSecond',
    atLeast: 0.75,
  })),
  run: ({ runs, only }) => inTurn(chosen(CONTESTANTS, only), runs, measure),
}

async function measure(way) {
  const redis = await startRedis()
  const subscriber = start('load/subscriber.mjs', LOAD_CORE, { port: redis.port })
  await message(subscriber, 'ready')
  const publisher = start('servers/publisher.mjs', SERVER_CORE, { url: redis.url, way })
  const { pids } = await message(publisher, 'listening')
  const before = { publisher: cpuMicros(pids), redis: cpuMicros([redis.child.pid]) }
  const { ms } = await ask(publisher, { type: 'publish', events: EVENTS }, 'published')
  const cpu = (cpuMicros(pids) - before.publisher) / EVENTS
  const redisCpu = (cpuMicros([redis.child.pid]) - before.redis) / EVENTS
  await ask(subscriber, { bytes: EVENTS * 200 }, 'received')
  await stop(publisher, subscriber, redis.child)
  return { perSecond: EVENTS / (ms / 1000), cpu, redisCpu }
}
