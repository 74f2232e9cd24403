/**
 * The cost of an open stream without events: heap, RSS, and CPU with default heartbeats (the kit every 25 s, better-sse
 * 10 s, sse-channel 20 s, Express and express-sse none). nchan has none by default either, and is configured to 25 s.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { chosen, wayOf } from '../harness/contestants.mjs'
import { ask, cpuMicros, LOAD_CORE, message, rssBytes, start, stop } from '../harness/processes.mjs'
import { inTurn } from '../harness/stats.mjs'

const CONTESTANTS = [
  'sockets',
  'express',
  'kit',
  'kit, keepRequest',
  'better-sse',
  'express-sse',
  'sse-channel',
  'nchan',
]
const OPTIONS = { nchan: { pingSeconds: 25 }, 'kit, keepRequest': { stream: { keepRequest: true } } }
/** Until the garbage of opening is collected: V8 collects an idle heap several times within about forty seconds. */
const SETTLE_MS = 45_000
/** One heartbeat interval of the kit, over which its beats are spread evenly. */
const WATCH_MS = 25_000

export const idle = {
  title: (streams) => `${streams.toLocaleString('en')} streams, no events but heartbeats`,
  defaults: { streams: 15_000, runs: 3 },
  columns: [
    { key: 'heap', title: 'heap a stream, bytes', digits: 0 },
    { key: 'rss', title: 'RSS a stream, bytes', digits: 0 },
    { key: 'cpu', title: 'CPU, % of a core', digits: 2 },
  ],
  goals: [
    { of: 'kit', figure: 'heap', atMost: 3072 },
    { of: 'kit', to: 'nchan', figure: 'rss', atMost: 0.8 },
    { of: 'kit', figure: 'cpu', atMost: 2 },
  ],
  run: ({ streams, runs, only }) => inTurn(chosen(CONTESTANTS, only), runs, (name) => measure(name, streams)),
}

async function measure(name, streams) {
  const { server, core, load: loadScript, hasHeap } = wayOf(name)
  const child = start(server, core, OPTIONS[name], ['--expose-gc'])
  const { port, pids } = await message(child, 'listening')
  const rssBefore = rssBytes(pids)
  const load = start(loadScript, LOAD_CORE, { port, streams })
  await message(load, 'ready')
  await sleep(SETTLE_MS)
  const before = cpuMicros(pids)
  await sleep(WATCH_MS)
  const cpu = (cpuMicros(pids) - before) / (WATCH_MS * 10)
  const rss = (rssBytes(pids) - rssBefore) / streams
  // Last, because it forces a garbage collection, which V8 continues for a while.
  const heap = hasHeap ? { heap: (await ask(child, { type: 'heap' }, 'heap')).bytes / streams } : {}
  await stop(load)
  await stop(child)
  return { ...heap, rss, cpu }
}
