/** `fanout` and `burst`: server CPU per delivered event, for the kit and others, in turn. */
import { median, message, start, stop } from './processes.mjs'

const SERVERS = ['kit', 'floor', 'res-write', 'better-sse']
const INTERVAL_MS = 40

/** @param shape `perTick` events in each of `ticks` ticks */
export async function fanout({ perTick, ticks }, { streams, runs }) {
  const results = Object.fromEntries(SERVERS.map((server) => [server, []]))
  for (let run = 0; run < runs; run++) {
    for (const server of SERVERS) results[server].push(await measure(server, streams, perTick, ticks))
  }
  const kit = median(results.kit)
  const table = SERVERS.map((server) => ({
    server,
    'µs per event, median': median(results[server]).toFixed(2),
    range: `${Math.min(...results[server]).toFixed(2)}–${Math.max(...results[server]).toFixed(2)}`,
    'kit / this': (kit / median(results[server])).toFixed(2),
  }))
  return { results, table }
}

async function measure(server, streams, perTick, ticks) {
  const child = start(`servers/${server}.mjs`, 0)
  const { port } = await message(child, 'listening')
  const load = start('load.mjs', 1, [String(port), String(streams)])
  await message(load, 'ready')
  const received = message(load, 'done')
  load.send({ type: 'expect', events: streams * perTick * ticks })
  child.send({ type: 'go', perTick, ticks, intervalMs: INTERVAL_MS })
  const { cpuMicros } = await message(child, 'measured')
  await received
  await stop(load, child)
  return cpuMicros / (streams * perTick * ticks)
}
