/** `idle`: what an open stream without events costs: heap, RSS, and CPU with heartbeats every 25 s. */
import { median, message, start, stop } from './processes.mjs'

const SERVERS = ['express', 'kit', 'better-sse']
/** Longer than one heartbeat interval, so that every stream beats at least once. */
const WATCH_MS = 30_000

export async function idle({ streams, runs }) {
  const results = Object.fromEntries(SERVERS.map((server) => [server, []]))
  for (let run = 0; run < runs; run++) {
    for (const server of SERVERS) results[server].push(await measure(server, streams))
  }
  const of = (server, figure) => median(results[server].map((result) => result[figure]))
  const table = SERVERS.map((server) => ({
    server,
    'heap a stream, bytes': Math.round(of(server, 'heapBytes')),
    'above Express': Math.round(of(server, 'heapBytes') - of('express', 'heapBytes')),
    'RSS a stream, bytes': Math.round(of(server, 'rssBytes')),
    'CPU, % of a core': of(server, 'cpuPercent').toFixed(2),
  }))
  return { results, table }
}

async function measure(server, streams) {
  const child = start(`servers/${server}.mjs`, 0, [], ['--expose-gc'])
  const { port } = await message(child, 'listening')
  const load = start('load.mjs', 1, [String(port), String(streams)])
  await message(load, 'ready')
  child.send({ type: 'idle', watchMs: WATCH_MS })
  const { heapBytes, rssBytes, cpuPercent } = await message(child, 'measured')
  await stop(load, child)
  return { heapBytes: heapBytes / streams, rssBytes: rssBytes / streams, cpuPercent }
}
