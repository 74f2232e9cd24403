/**
 * Two kit processes, Redis, and clients that come and go, for ten minutes: does anything grow that should not? Compares
 * the state after a fifth of the time with that at the end, each after a garbage collection.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { ask, LOAD_CORE, message, SERVER_CORE, start, startRedis, stop } from '../harness/processes.mjs'
import { inTurn } from '../harness/stats.mjs'

/** Few, so that the history that each process keeps of a channel is full after a fifth of the time. */
const CHANNELS = 20
/** Events that each process publishes in a second. */
const RATE = 250
const MOMENTS = 10

export const soak = {
  title: (streams) => `two processes on Redis, ${streams.toLocaleString('en')} clients that come and go`,
  defaults: { streams: 500, runs: 1, seconds: 600 },
  columns: [
    { key: 'rss', title: 'RSS at the end, after a fifth = 1', digits: 3 },
    { key: 'heap', title: 'heap at the end, after a fifth = 1', digits: 3 },
    { key: 'handles', title: 'handles for each stream at the end, after a fifth = 1', digits: 3 },
    { key: 'rssMegabytes', title: 'RSS at the end, MB', digits: 1 },
    { key: 'connections', title: 'streams opened', digits: 0 },
    { key: 'events', title: 'events received', digits: 0 },
    { key: 'missing', title: 'missing', digits: 0 },
    { key: 'doubled', title: 'doubled', digits: 0 },
    { key: 'refused', title: 'streams refused', digits: 0 },
    { key: 'failed', title: 'publications failed', digits: 0 },
  ],
  goals: [
    { of: 'kit', figure: 'rss', atMost: 1.03 },
    { of: 'kit', figure: 'handles', atMost: 1.03 },
    { of: 'kit', figure: 'missing', atMost: 0 },
    { of: 'kit', figure: 'doubled', atMost: 0 },
  ],
  run: ({ streams, runs, seconds }) => inTurn(['kit'], runs, () => measure(streams, seconds)),
}

async function measure(streams, seconds) {
  const { child: redis, url } = await startRedis()
  const options = { redis: url, channels: CHANNELS, rate: RATE }
  const servers = [0, 1].map(() => start('servers/soak-kit.mjs', SERVER_CORE, options, ['--expose-gc']))
  const ports = (await Promise.all(servers.map((server) => message(server, 'listening')))).map(({ port }) => port)
  const load = start('load/churn.mjs', LOAD_CORE, { ports, streams, channels: CHANNELS })
  await message(load, 'ready')
  await sleep(seconds * 200)
  const early = await stateOf(servers)
  await sleep(seconds * 800)
  const late = await stateOf(servers)
  const { connections, events, missing, doubled, refused } = await ask(load, { type: 'counts' }, 'counts')
  await stop(load)
  await stop(...servers)
  await stop(redis)
  return {
    rss: late.rss / early.rss,
    heap: late.heap / early.heap,
    handles: late.handles / late.streams / (early.handles / early.streams),
    rssMegabytes: late.rss / 1e6,
    connections,
    events,
    missing,
    doubled,
    refused,
    failed: late.failed,
  }
}

/** The sums over the servers, and over some moments, because connections come and go. */
async function stateOf(servers) {
  const states = []
  for (let moment = 0; moment < MOMENTS; moment++) {
    states.push(...(await Promise.all(servers.map((server) => ask(server, { type: 'state' }, 'state')))))
    await sleep(500)
  }
  const sum = (key) => states.reduce((total, state) => total + state[key], 0) / MOMENTS
  return { rss: sum('rss'), heap: sum('heap'), handles: sum('handles'), streams: sum('streams'), failed: sum('failed') }
}
