/**
 * A reconnect storm: disconnected clients reconnect all at once, each some events behind, to a server process that has
 * just started. Each contestant uses its own way to replay. The kit on Redis has nothing in memory.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { chosen, wayOf } from '../harness/contestants.mjs'
import { ask, cpuMicros, LOAD_CORE, message, start, startRedis, stop } from '../harness/processes.mjs'
import { HISTORY, log } from '../harness/replay.mjs'
import { inTurn } from '../harness/stats.mjs'

const BEHIND = 100
/** Long enough for the start to be over, and to detect superfluous events. */
const SETTLE_MS = 300

const sameCursor = () => BEHIND
const CONTESTANTS = {
  kit: { way: wayOf('replay-kit'), onRedis: true },
  'kit, spread cursors': {
    way: wayOf('replay-kit'),
    onRedis: true,
    behind: (client) => BEHIND + (client % (BEHIND + 1)),
  },
  'kit, embedded': { way: wayOf('replay-kit') },
  'kit, past Express': { way: wayOf('replay-kit'), onRedis: true, options: { pastExpress: true } },
  floor: { way: wayOf('replay-floor') },
  'better-sse': { way: wayOf('replay-better-sse') },
  'express-sse': { way: wayOf('replay-express-sse') },
  'sse-channel': { way: wayOf('replay-sse-channel') },
  nchan: { way: wayOf('nchan'), options: { history: HISTORY } },
}

export const join = {
  title: (streams) => `${streams.toLocaleString('en')} clients at once, each ${BEHIND} events of 250 bytes behind`,
  defaults: { streams: 1000, runs: 5 },
  columns: [
    { key: 'ms', title: 'until all have all, ms', digits: 0, ratio: true },
    { key: 'cpu', title: 'server CPU, ms', digits: 0 },
    { key: 'reads', title: 'history reads', digits: 0 },
  ],
  goals: [
    { of: 'kit', figure: 'reads', atMost: 10 },
    ...['kit', 'kit, past Express'].flatMap((of) =>
      ['better-sse', 'express-sse', 'sse-channel', 'nchan'].map((to) => ({ of, to, figure: 'ms', atMost: 1 })),
    ),
  ],
  run: ({ streams, runs, only }) =>
    inTurn(chosen(Object.keys(CONTESTANTS), only), runs, (name) => {
      const { onRedis, ...contestant } = CONTESTANTS[name]
      return onRedis ? measureOnRedis(contestant, streams) : measure(contestant, streams)
    }),
}

async function measureOnRedis(contestant, streams) {
  const { Redis } = await import('ioredis')
  const redis = await startRedis()
  const cursors = await fill(redis.url)
  const client = new Redis(redis.url)
  const readsBefore = await readsOf(client)
  const options = { ...contestant.options, redis: redis.url }
  const figures = await measure({ ...contestant, options }, streams, cursors)
  const reads = (await readsOf(client)) - readsBefore
  client.disconnect()
  await stop(redis.child)
  return { ...figures, reads }
}

/** Fills the log from another process. @returns its cursors */
async function fill(url) {
  // Does not exist before the build.
  const { createMultiplexer } = await import('../../dist/index.js')
  const multiplexer = createMultiplexer({ redis: url })
  const positions = await Promise.all(log.map(({ data }) => multiplexer.publish('bench', { event: 'message', data })))
  await multiplexer.close()
  return positions.map(({ epoch, offset }) => `${epoch}-${offset}`)
}

/** The number of history reads so far, also within scripts. */
async function readsOf(client) {
  return Number(/^cmdstat_xrange:calls=(\d+)/m.exec(await client.info('commandstats'))?.[1] ?? 0)
}

async function measure({ way, options, behind = sameCursor }, streams, cursorsOnRedis) {
  const child = start(way.server, way.core, options)
  const { port, pids, cursors: ownCursors } = await message(child, 'listening')
  const cursors = cursorsOnRedis ?? ownCursors
  const missed = Array.from({ length: streams }, (_, client) => behind(client))
  const load = start('load/join.mjs', LOAD_CORE, {
    port,
    missed,
    cursors: missed.map((events) => cursors[HISTORY - events - 1]),
  })
  await message(load, 'ready')
  await sleep(SETTLE_MS)
  const before = cpuMicros(pids)
  const { ms } = await ask(load, { type: 'storm' }, 'done')
  const cpu = (cpuMicros(pids) - before) / 1000
  await sleep(SETTLE_MS)
  const { events } = await ask(load, { type: 'total' }, 'total')
  const expected = missed.reduce((sum, each) => sum + each)
  if (events !== expected) throw new Error(`${events} events arrived, expected ${expected}`)
  await stop(load)
  await stop(child)
  return { ms, cpu }
}
