/** Server CPU per delivered event when every event goes to every stream. */
import { ask, cpuMicros, LOAD_CORE, message, SERVER_CORE, start, stop } from '../harness/processes.mjs'
import { inTurn } from '../harness/stats.mjs'

const CONTESTANTS = ['kit', 'floor', 'res-write', 'better-sse']
const INTERVAL_MS = 40
const COLUMNS = [{ key: 'cpu', title: 'CPU per delivered event, µs', digits: 2, ratio: true }]

export const fanout = {
  title: (streams) => `${streams.toLocaleString('en')} streams, one event of 250 bytes a tick`,
  defaults: { streams: 1000, runs: 5 },
  columns: COLUMNS,
  goals: [
    { of: 'kit', to: 'floor', figure: 'cpu', atMost: 1.15 },
    { of: 'kit', to: 'better-sse', figure: 'cpu', atMost: 0.5 },
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
  ],
  run: (parameters) => compare({ perTick: 20, ticks: 30 }, parameters),
}

function compare(shape, { streams, runs }) {
  return inTurn(CONTESTANTS, runs, (server) => measure(server, streams, shape))
}

async function measure(server, streams, { perTick, ticks }) {
  const child = start(`servers/${server}.mjs`, SERVER_CORE)
  const { port, pids } = await message(child, 'listening')
  const load = start('load/count.mjs', LOAD_CORE, { port, streams })
  await message(load, 'ready')
  const events = streams * perTick * ticks
  const before = cpuMicros(pids)
  child.send({ type: 'go', perTick, ticks, intervalMs: INTERVAL_MS })
  await ask(load, { events }, 'done')
  const cpu = (cpuMicros(pids) - before) / events
  await stop(load, child)
  return { cpu }
}
