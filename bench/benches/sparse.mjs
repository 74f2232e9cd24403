/**
 * Many channels with one viewer each, as in an inbox: the CPU that an event costs the publisher, Redis and the server
 * of the streams, and its delay. The work cannot be shared between streams.
 */
import { chosen, wayOf } from '../harness/contestants.mjs'
import { ask, cpuMicros, LOAD_CORE, message, SERVER_CORE, start, startRedis, stop } from '../harness/processes.mjs'
import { inTurn } from '../harness/stats.mjs'

const RATE = 5000
const SECONDS = 6
/** Until V8 has optimized the path. */
const WARM_UP_SECONDS = 3
/** Streams on which each event is checked and timed. */
const SAMPLED = 200
const SOCKETS = 32

/** `publisher`: how events reach the server; without one the kit publishes. */
const CONTESTANTS = {
  kit: { server: 'servers/redis-kit.mjs' },
  'res.write, XADD and PUBLISH': { server: 'servers/sparse-res-write.mjs', publisher: 'log' },
  'res.write, PUBLISH': { server: 'servers/sparse-res-write.mjs', publisher: 'plain' },
  'better-sse, PUBLISH': { server: 'servers/sparse-better-sse.mjs', publisher: 'plain' },
  // Events in its own memory. The script only starts nginx, on the server's core.
  nchan: { ...wayOf('nchan'), publisher: 'post', embedded: true },
}
const LOGGED = 'res.write, XADD and PUBLISH'

export const sparse = {
  title: (channels) =>
    `${channels.toLocaleString('en')} channels with one stream each, ${RATE.toLocaleString('en')} events/s of 250 bytes`,
  defaults: { streams: 1000, runs: 3 },
  columns: [
    { key: 'cpu', title: 'server CPU per event, µs', digits: 1, ratio: true },
    { key: 'publisherCpu', title: 'publisher CPU per event, µs', digits: 1 },
    { key: 'redisCpu', title: 'Redis CPU per event, µs', digits: 1 },
    { key: 'p50', title: 'delay p50, ms', digits: 2 },
    { key: 'p99', title: 'delay p99, ms', digits: 2 },
  ],
  goals: [
    { of: 'kit', to: LOGGED, figure: 'redisCpu', atMost: 1.3 },
    { of: 'kit', to: LOGGED, figure: 'publisherCpu', atMost: 0.8 },
    { of: 'kit', to: LOGGED, figure: 'cpu', atMost: 0.95 },
    { of: 'kit', to: LOGGED, figure: 'p50', atMost: 1.25 },
    { of: 'kit', to: LOGGED, figure: 'p99', atMost: 1.25 },
  ],
  run: ({ streams, runs, only }) =>
    inTurn(chosen(Object.keys(CONTESTANTS), only), runs, (name) => measure(CONTESTANTS[name], streams)),
}

async function measure({ server: script, core = SERVER_CORE, publisher: way, embedded = false }, channels) {
  const { child: redisServer, url } = await startRedis()
  const server = start(script, core, { redis: embedded ? undefined : url })
  const { port, pids } = await message(server, 'listening')
  const publisher =
    way === undefined
      ? start('servers/redis-kit.mjs', LOAD_CORE, { redis: url, channels })
      : start('servers/sparse-publisher.mjs', LOAD_CORE, { redis: url, channels, way, port, sockets: SOCKETS })
  await message(publisher, 'listening')
  const load = start('load/delivery.mjs', LOAD_CORE, { ports: [port], streams: channels, channels, sampled: SAMPLED })
  await message(load, 'ready')

  /** @returns the events so far, after all streams have them */
  const publish = async (seconds) => {
    const rounds = Math.ceil((RATE * seconds) / channels)
    const order = { type: 'publish', rate: RATE, events: rounds * channels }
    const { events } = await ask(publisher, order, 'published')
    await ask(load, { type: 'expect', events: events / channels }, 'done')
    return events
  }
  const warmedUp = await publish(WARM_UP_SECONDS)
  load.send({ type: 'record' })
  const measured = { cpu: pids, publisherCpu: [publisher.pid], redisCpu: [redisServer.pid] }
  const before = Object.entries(measured).map(([key, those]) => [key, cpuMicros(those)])
  const events = (await publish(SECONDS)) - warmedUp
  const used = before.map(([key, micros]) => [key, (cpuMicros(measured[key]) - micros) / events])
  const { missing, doubled, p50, p99 } = await ask(load, { type: 'verify' }, 'verified')
  await stop(load)
  await stop(publisher, server)
  await stop(redisServer)
  if (missing + doubled > 0) throw new Error(`${missing} events missing, ${doubled} doubled`)
  return { ...Object.fromEntries(used), p50, p99 }
}
