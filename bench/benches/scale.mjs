/**
 * What a delivered event costs the kit as the number of streams, of channels, and of events grows, with one process and
 * with two on one Redis. A separate process publishes.
 */
import { chosen } from '../harness/contestants.mjs'
import { ask, cpuMicros, LOAD_CORE, message, SERVER_CORE, start, startRedis, stop } from '../harness/processes.mjs'
import { inTurn } from '../harness/stats.mjs'

/** The second process shares its core with Redis, the publisher and the load client, so its delays differ. */
const CORES = [SERVER_CORE, LOAD_CORE]
const SECONDS = 6
/** Until V8 has optimized the path: a number of deliveries, or of events if each has few streams. */
const WARM_UP = { seconds: 2, deliveries: 50_000, maxEvents: 5000 }
/** Read in full a second, so that the load client's own work stays small. */
const MAX_SAMPLED_PER_SECOND = 5000
const MAX_SAMPLED_STREAMS = 50

export const scale = {
  title: () => 'as streams, channels and events grow; one process or two on one Redis',
  defaults: { streams: 1000, runs: 3 },
  columns: [
    { key: 'cpu', title: 'CPU per delivered event, all processes, µs', digits: 2 },
    { key: 'delivered', title: 'delivered events/s', digits: 0 },
    { key: 'p50', title: 'delay p50, ms', digits: 2 },
    { key: 'p99', title: 'delay p99, ms', digits: 2 },
    { key: 'loadCore', title: 'core of the load client busy, %', digits: 0 },
    { key: 'missing', title: 'missing', digits: 0 },
    { key: 'doubled', title: 'doubled', digits: 0 },
  ],
  goals: [
    {
      of: '1000 streams, 10 events/s, 2 processes',
      to: '1000 streams, 10 events/s, 1 process',
      figure: 'cpu',
      atMost: 1.25,
    },
  ],
  run({ streams, runs, only }) {
    const shapes = new Map()
    for (const point of pointsOf(streams)) {
      for (const processes of [1, 2]) {
        shapes.set(`${nameOf(point)}, ${processes} process${processes === 1 ? '' : 'es'}`, { ...point, processes })
      }
    }
    return inTurn(chosen([...shapes.keys()], only), runs, (name) => measure(shapes.get(name)))
  },
}

/** One thing grows at a time. `rate`: events/s over all channels. */
function pointsOf(base) {
  return [
    // With a higher rate the load client could not keep up with five times the streams.
    ...[base / 10, base, base * 5].map((streams) => ({ streams, channels: 1, rate: 10 })),
    // 5 events/s a channel: the more events, the fewer streams each goes to. So the streams together always get 5 ·
    // base events/s. Only the share of the work that is done once per event grows.
    ...[1, base / 10, base].map((channels) => ({ streams: base, channels, rate: 5 * channels })),
    // 10 events/s is the first point above.
    ...[100, 1000].map((rate) => ({ streams: base / 10, channels: 1, rate })),
  ]
}

/** Without a comma between digits, because `--only` splits at commas. */
function nameOf({ streams, channels, rate }) {
  return [`${streams} streams`, ...(channels > 1 ? [`${channels} channels`] : []), `${rate} events/s`].join(', ')
}

async function measure({ streams, channels, rate, processes }) {
  const redis = await startRedis()
  const servers = CORES.slice(0, processes).map((core) => start('servers/redis-kit.mjs', core, { redis: redis.url }))
  const addresses = await Promise.all(servers.map((server) => message(server, 'listening')))
  const publisher = start('servers/redis-kit.mjs', LOAD_CORE, { redis: redis.url, channels })
  await message(publisher, 'listening')
  const sampled = Math.min(MAX_SAMPLED_STREAMS, Math.floor(MAX_SAMPLED_PER_SECOND / (rate / channels)))
  const load = start('load/delivery.mjs', LOAD_CORE, {
    ports: addresses.map(({ port }) => port),
    streams,
    channels,
    sampled,
  })
  await message(load, 'ready')

  const warmUp = await ask(publisher, { type: 'publish', ...warmUpOf(streams, channels) }, 'published')
  await ask(load, { type: 'expect', events: warmUp.events / channels }, 'done')
  load.send({ type: 'record' })
  const pids = addresses.flatMap((address) => address.pids)
  const loadPids = [load.pid, publisher.pid, redis.child.pid, ...servers.slice(1).map(({ pid }) => pid)]
  const before = cpuMicros(pids)
  const loadBefore = cpuMicros(loadPids)
  const { events, begin } = await ask(publisher, { type: 'publish', rate, events: rate * SECONDS }, 'published')
  const { lastAt } = await ask(load, { type: 'expect', events: events / channels }, 'done')
  const cpu = cpuMicros(pids) - before
  const loadCpu = cpuMicros(loadPids) - loadBefore
  const { missing, doubled, p50, p99 } = await ask(load, { type: 'verify' }, 'verified')
  await stop(load)
  await stop(publisher, ...servers)
  await stop(redis.child)
  if (missing + doubled > 0) throw new Error(`${missing} events missing, ${doubled} doubled`)

  const deliveries = ((events - warmUp.events) / channels) * streams
  // No pause follows the last event.
  const took = Math.max(lastAt - begin, SECONDS * 1e6)
  const delivered = deliveries / (took / 1e6)
  return { cpu: cpu / deliveries, delivered, p50, p99, loadCore: (100 * loadCpu) / took, missing, doubled }
}

/** The same number of events for each channel. */
function warmUpOf(streams, channels) {
  const { seconds, deliveries, maxEvents } = WARM_UP
  const rounds = Math.ceil(Math.min(deliveries / streams, maxEvents / channels))
  return { events: rounds * channels, rate: (rounds * channels) / seconds }
}
