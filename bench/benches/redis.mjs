/** From publishing through Redis to the streams: the delay of an event, and the throughput. */
import { chosen } from '../harness/contestants.mjs'
import { ask, cpuMicros, LOAD_CORE, message, SERVER_CORE, start, startRedis, stop } from '../harness/processes.mjs'
import { inTurn } from '../harness/stats.mjs'

/** Unless noted otherwise, the load client publishes over HTTP, through Express except for one contestant. */
const CONTESTANTS = {
  kit: { server: 'servers/redis-kit.mjs', core: SERVER_CORE },
  'kit, posts read past Express': {
    server: 'servers/redis-kit.mjs',
    core: SERVER_CORE,
    options: { pastExpress: true },
  },
  'kit, published in the process': { server: 'servers/redis-kit.mjs', core: SERVER_CORE, within: true },
  // As many events kept as the kit keeps. The script only starts nginx, on the server's core.
  nchan: { server: 'servers/nchan.mjs', core: LOAD_CORE, options: { buffer: 2000 } },
}
const RATE = 200
const RATE_SECONDS = 10
const IN_FLIGHT = 32
const LOOP_SECONDS = 5
const LOOP_STREAMS = 10
/** Long, because of the p99, and because V8 optimizes for some seconds. */
const WARM_UP = { inFlight: 8, seconds: 5 }
/** After the warm-up, so that its garbage is not collected in the next phase. */
const SETTLE = { rate: RATE, events: 2 * RATE }
/** Streams on which each event is checked. */
const SAMPLED = 10

export const redis = {
  title: (streams) =>
    `${RATE} events/s of 250 bytes to ${streams} streams; ` +
    `then ${IN_FLIGHT} under way at once to ${LOOP_STREAMS} streams`,
  defaults: { streams: 100, runs: 3 },
  columns: [
    { key: 'p50', title: 'delay p50, ms', digits: 2 },
    { key: 'p99', title: 'delay p99, ms', digits: 2 },
    { key: 'perSecond', title: 'events/s that all streams got', digits: 0 },
    { key: 'cpu', title: 'server CPU per published event, µs', digits: 1 },
    { key: 'redisCpu', title: 'Redis CPU per published event, µs', digits: 1 },
    { key: 'loadCore', title: 'core of Redis and load busy meanwhile, %', digits: 0 },
  ],
  goals: ['kit', 'kit, posts read past Express', 'kit, published in the process'].flatMap((of) => [
    { of, to: 'nchan', figure: 'p99', atMost: 1 },
    { of, to: 'nchan', figure: 'perSecond', atLeast: 1 },
  ]),
  run: ({ streams, runs, only }) =>
    inTurn(chosen(Object.keys(CONTESTANTS), only), runs, async (name) => ({
      ...(await measureDelay(CONTESTANTS[name], streams)),
      ...(await measureThroughput(CONTESTANTS[name])),
    })),
}

async function measureDelay(contestant, streams) {
  const bench = await open(contestant, { streams, sampled: SAMPLED })
  bench.load.send({ type: 'record' })
  await bench.publish({ rate: RATE, events: RATE * RATE_SECONDS })
  const { p50, p99 } = await bench.close()
  return { p50, p99 }
}

async function measureThroughput(contestant) {
  const bench = await open(contestant, { streams: LOOP_STREAMS, sampled: 1 })
  const pids = { cpu: bench.pids, redisCpu: [bench.redisPid], loadCore: [bench.load.pid, bench.redisPid] }
  const before = Object.entries(pids).map(([key, those]) => [key, cpuMicros(those)])
  const { events, took } = await bench.publish({ inFlight: IN_FLIGHT, seconds: LOOP_SECONDS })
  const used = Object.fromEntries(before.map(([key, micros]) => [key, cpuMicros(pids[key]) - micros]))
  await bench.close()
  return {
    perSecond: events / (took / 1e6),
    cpu: used.cpu / events,
    redisCpu: used.redisCpu / events,
    loadCore: (100 * used.loadCore) / took,
  }
}

/** Starts all processes, opens the streams and warms up. */
async function open({ server: script, core, within = false, options = {} }, { streams, sampled }) {
  const { child: redisServer, url } = await startRedis()
  const server = start(script, core, { redis: url, ...options })
  const { port, pids } = await message(server, 'listening')
  const posts = within ? undefined : { port, path: '/pub', sockets: IN_FLIGHT }
  const load = start('load/delivery.mjs', LOAD_CORE, { ports: [port], streams, sampled, posts })
  await message(load, 'ready')
  const publisher = within ? server : load
  let total = 0

  /** @returns how many were published, and the µs until all streams had them */
  const publish = async (order) => {
    const before = total
    const { events, begin } = await ask(publisher, { type: 'publish', ...order }, 'published')
    total = events
    const { lastAt } = await ask(load, { type: 'expect', events }, 'done')
    return { events: events - before, took: lastAt - begin }
  }
  const close = async () => {
    const { missing, doubled, ...delays } = await ask(load, { type: 'verify' }, 'verified')
    await stop(load)
    await stop(server)
    await stop(redisServer)
    if (missing + doubled > 0) throw new Error(`${missing} events missing, ${doubled} doubled`)
    return delays
  }
  await publish(WARM_UP)
  await publish(SETTLE)
  return { load, pids, redisPid: redisServer.pid, publish, close }
}
