/**
 * How many events does a client get when connections are cut and servers restart? Clients on one channel, a publisher
 * that knows the outcome of each event, and these faults:
 *
 *   each client is cut off the network for 2 s, twice, at random times
 *   one server is killed (SIGKILL) and started again
 *   all servers are deployed again: SIGTERM, and a new process, one server after the other
 *
 * Each contestant has the configuration that its documentation recommends for recovery, and its own client, or else an
 * EventSource with Last-Event-ID. Those with Redis run as two servers, all others as one. Events whose publication is
 * done are to be delivered. An event that no server accepted, or whose outcome is unknown, counts for nobody.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { chosen } from '../harness/contestants.mjs'
import { ANY_CORE, deploy } from '../harness/deployment.mjs'
import { ask, message, start, startRedis, stop } from '../harness/processes.mjs'
import { inTurn } from '../harness/stats.mjs'

/** Without a script: nchan. */
const CONTESTANTS = {
  kit: { script: 'servers/drops-kit.mjs', client: 'kit', onRedis: true },
  'kit, embedded': { script: 'servers/drops-kit.mjs', client: 'kit' },
  nchan: { client: 'eventsource', onRedis: true },
  'nchan, embedded': { client: 'eventsource' },
  'socket.io, Redis Streams': { script: 'servers/drops-socket.io.mjs', client: 'socket.io', onRedis: true },
  'socket.io, embedded': { script: 'servers/drops-socket.io.mjs', client: 'socket.io' },
  'sse-channel': { script: 'servers/drops-sse-channel.mjs', client: 'eventsource' },
  'better-sse': { script: 'servers/drops-better-sse.mjs', client: 'eventsource' },
  'express-sse': { script: 'servers/drops-express-sse.mjs', client: 'eventsource' },
}
const RATE = 50
/** When the faults begin, as parts of the time. Cuts are spread over `CUTS_LAST`. */
const CUTS_AT = [0, 0.5]
const CUTS_LAST = 0.4
const CRASH_AT = 0.25
const DEPLOY_AT = 0.6
/** Clients whose silent losses are printed. */
const EXAMPLES = 3

export const drops = {
  title: (streams) =>
    `${streams.toLocaleString('en')} clients on a channel with ${RATE} events/s; each is cut off twice for 2 s, ` +
    'a server is killed, and all servers are deployed again',
  defaults: { streams: 1000, runs: 1, seconds: 30 },
  columns: [
    { key: 'due', title: 'events to deliver', digits: 0 },
    { key: 'delivered', title: 'delivered, %', digits: 2 },
    { key: 'silent', title: 'lost silently', digits: 0 },
    { key: 'announced', title: 'lost, announced', digits: 0 },
    { key: 'doubled', title: 'doubled', digits: 0 },
    { key: 'reconnects', title: 'reconnects', digits: 0 },
    { key: 'peak', title: 'connections in the busiest second', digits: 0 },
    { key: 'recoveryMedian', title: 'new event after a cut, p50, ms', digits: 0 },
    { key: 'recoveryMax', title: 'max, ms', digits: 0 },
    { key: 'refused', title: 'events that no server accepted', digits: 0 },
    { key: 'unknown', title: 'outcome unknown', digits: 0 },
  ],
  goals: ['kit', 'kit, embedded'].flatMap((of) =>
    ['silent', 'doubled'].map((figure) => ({ of, figure, atMost: 0, mandatory: true })),
  ),
  run: ({ streams, runs, seconds, only }) =>
    inTurn(chosen(Object.keys(CONTESTANTS), only), runs, (name) => measure(name, streams, seconds)),
}

async function measure(name, streams, seconds) {
  const { script, client, onRedis = false } = CONTESTANTS[name]
  const redis = onRedis ? await startRedis(ANY_CORE) : undefined
  const deployment = await deploy({ script, redis: redis?.url, processes: onRedis ? 2 : 1 })
  const { ports } = deployment
  const publisher = start('load/drop-publisher.mjs', ANY_CORE, { ports })
  await message(publisher, 'ready')
  const load = start('load/drops.mjs', ANY_CORE, { ports, streams, client, capacity: RATE * seconds + 1 })
  await message(load, 'ready')
  // The first event shows that all clients are subscribed.
  await ask(publisher, { type: 'publish', rate: RATE, events: 1 }, 'published')
  await ask(load, { type: 'first' }, 'received')

  const published = ask(publisher, { type: 'publish', rate: RATE, events: RATE * seconds }, 'published')
  const faults = Promise.all([
    ...CUTS_AT.map((at) => after(at * seconds, () => load.send({ type: 'cut', seconds: CUTS_LAST * seconds }))),
    after(CRASH_AT * seconds, deployment.crash),
    after(DEPLOY_AT * seconds, deployment.redeploy),
  ])
  const [{ due, notDone, unknown }] = await Promise.all([published, faults])
  const { examples, ...counted } = await ask(load, { type: 'verify', due }, 'verified')
  if (examples.length > 0)
    console.error(`${name} lost silently, for example: ${examples.slice(0, EXAMPLES).join('; ')}`)
  await stop(load, publisher)
  await deployment.stop()
  if (redis) await stop(redis.child)
  return { due: due.length * streams, ...counted, refused: notDone, unknown }
}

async function after(seconds, cause) {
  await sleep(seconds * 1000)
  await cause()
}
