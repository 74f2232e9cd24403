/** Server CPU per delivered event when every event goes to every stream. */
import { setTimeout as sleep } from 'node:timers/promises'
import { chosen, wayOf } from '../harness/contestants.mjs'
import { ask, cpuMicros, LOAD_CORE, message, start, stop } from '../harness/processes.mjs'
import { inTurn } from '../harness/stats.mjs'

const CONTESTANTS = [
  'kit',
  'floor',
  'res-write',
  'better-sse',
  'express-sse',
  'sse-channel',
  '@fastify/sse',
  'socket.io',
  'nchan',
]
const INTERVAL_MS = 40
/** Until V8 has optimized the path of an event, as in a server that runs for weeks. */
const WARM_UP_TICKS = 50
/** Long enough to detect superfluous events. */
const SETTLE_MS = 200
/** Until the work of opening is over: the kit releases requests a second after it, and leaves garbage. */
const OPENED_MS = 1500
const COLUMNS = [{ key: 'cpu', title: 'CPU per delivered event, µs', digits: 2, ratio: true }]

export const fanout = {
  title: (streams) => `${streams.toLocaleString('en')} streams, one event of 250 bytes a tick`,
  defaults: { streams: 1000, runs: 5 },
  columns: COLUMNS,
  goals: ({ streams }) => [
    { of: 'kit', to: 'floor', figure: 'cpu', atMost: 1.15 },
    { of: 'kit', to: 'better-sse', figure: 'cpu', atMost: streams < 10_000 ? 0.5 : 0.6 },
    { of: 'kit', to: 'nchan', figure: 'cpu', atMost: 0.95 },
  ],
  run: (parameters) => compare({ perTick: 1, ticks: 100 }, parameters),
}

export const burst = {
  title: (streams) => `${streams.toLocaleString('en')} streams, 20 events of 250 bytes a tick`,
  defaults: { streams: 1000, runs: 5 },
  columns: COLUMNS,
  goals: [
    { of: 'kit', to: 'floor', figure: 'cpu', atMost: 1.5 },
    { of: 'kit', to: 'better-sse', figure: 'cpu', atMost: 1 / 6 },
    { of: 'kit', to: 'nchan', figure: 'cpu', atMost: 1 / 6 },
  ],
  run: (parameters) => compare({ perTick: 20, ticks: 30 }, parameters),
}

function compare(shape, { streams, runs, only }) {
  return inTurn(chosen(CONTESTANTS, only), runs, (name) => measureFanout(wayOf(name), streams, shape))
}

/**
 * @param way how to run the server, see `wayOf`
 * @param options of the server
 */
export async function measureFanout({ server, core, load: loadScript }, streams, { perTick, ticks }, options = {}) {
  const child = start(server, core, options)
  const { port, pids } = await message(child, 'listening')
  const load = start(loadScript, LOAD_CORE, { port, streams })
  await message(load, 'ready')
  await sleep(OPENED_MS)
  const publish = (count, expectedInAll) => {
    const done = ask(load, { events: expectedInAll }, 'done')
    child.send({ type: 'go', perTick, ticks: count, intervalMs: INTERVAL_MS })
    return done
  }
  const warmUp = streams * perTick * WARM_UP_TICKS
  const expected = warmUp + streams * perTick * ticks
  await publish(WARM_UP_TICKS, warmUp)
  const before = cpuMicros(pids)
  await publish(ticks, expected)
  const cpu = (cpuMicros(pids) - before) / (expected - warmUp)
  await sleep(SETTLE_MS)
  const { events } = await ask(load, { type: 'total' }, 'total')
  if (events !== expected) throw new Error(`${events} events arrived, expected ${expected}`)
  await stop(load)
  await stop(child)
  return { cpu }
}
