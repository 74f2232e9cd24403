/**
 * Failovers under a steady rate of events: how long clients receive nothing, and what is lost.
 * `failover.ts [--topology sentinel|cluster] [--kinds failover,crashMaster] [--rounds N] [--rate EVENTS_PER_SECOND]`.
 * Exits with 1 if a promise was broken: an event that Redis had acknowledged is missing without an announcement.
 */
import { parseArgs } from 'node:util'
import { History } from '../proof/checker/history.js'
import { Random } from '../proof/random.js'
import { type App, end, startApp } from './apps.js'
import { startCluster } from './cluster.js'
import { Follower } from './follower.js'
import { Publishers } from './publishers.js'
import { startSentinel } from './sentinel.js'
import { sleep, type Topology } from './topology.js'

const START = { sentinel: startSentinel, cluster: startCluster }
const CHANNELS = ['a', 'b', 'c', 'd']
/** How many clients follow each channel. Half of them are connected to each process. */
const CLIENTS = 4
/** The time before each failover and after each recovery, in ms. */
const STEADY_MS = 3000
const ARRIVAL_MS = 30_000
/** How often arrivals are looked at, in ms. */
const SAMPLE_MS = 5

/** The longest time without an event of each client, in ms. */
function watchSilences(followers: readonly Follower[]): { stop(): readonly number[] } {
  const clients = followers.map(({ session }) => ({
    session,
    events: session.events,
    at: performance.now(),
    longest: 0,
  }))
  const sample = (): void => {
    const now = performance.now()
    for (const client of clients) {
      if (client.session.events === client.events) continue
      client.longest = Math.max(client.longest, now - client.at)
      Object.assign(client, { events: client.session.events, at: now })
    }
  }
  const timer = setInterval(sample, SAMPLE_MS)
  return {
    stop: () => {
      clearInterval(timer)
      return clients.map(({ at, longest }) => Math.max(longest, performance.now() - at))
    },
  }
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] as number)
}

/** Every client must receive an event that is published now. */
async function awaitArrival(
  apps: readonly App[],
  followers: readonly Follower[],
  publishers: Publishers,
  history: History,
): Promise<void> {
  for (const channel of CHANNELS) {
    const token = await publishers.publishSurely(apps[0] as App, channel, ARRIVAL_MS)
    for (const follower of followers) {
      if (follower.channels.includes(channel) && !follower.session.hadEver(token)) follower.finals.add(token)
    }
  }
  const deadline = Date.now() + ARRIVAL_MS
  while (followers.some(({ finals }) => finals.size > 0) && Date.now() < deadline) await sleep(20)
  for (const { session, finals } of followers) {
    if (finals.size > 0) history.violate(`${session.client} did not get ${[...finals]} within ${ARRIVAL_MS} ms`)
  }
}

async function openStreams(apps: readonly App[]): Promise<number> {
  const statuses = await Promise.all(apps.map(async ({ url }) => (await fetch(`${url}/status`)).json()))
  return (statuses as { readonly streams: number }[]).reduce((sum, { streams }) => sum + streams, 0)
}

/** @returns how many pairs of a client and an acknowledged event there are that the client never received */
function lost(history: History, followers: readonly Follower[]): number {
  let count = 0
  for (const { channel, token } of history.done) {
    for (const { session } of followers) if (session.channels.includes(channel) && !session.hadEver(token)) count++
  }
  return count
}

async function measure(topology: Topology, kind: string, rounds: number, rate: number): Promise<boolean> {
  const history = new History(() => performance.now())
  const apps: App[] = []
  const followers: Follower[] = []
  try {
    for (const [number, source] of topology.sources.entries()) apps.push(await startApp(number, source))
    const urls = apps.map(({ url }) => url)
    for (let i = 0; i < CHANNELS.length * CLIENTS; i++) {
      followers.push(
        new Follower({
          name: `client ${i}`,
          channels: [CHANNELS[i % CHANNELS.length] as string],
          urls: [urls[Math.floor(i / CHANNELS.length) % urls.length] as string],
          history,
          random: new Random(i),
          earliest: false,
          polls: 0,
          roams: false,
          restless: false,
        }),
      )
    }
    const following = followers.map((follower) => follower.run())
    const publishers = new Publishers(history, new Random(1), 1)
    // A stream begins at the head of its channel.
    while ((await openStreams(apps)) < followers.length) await sleep(20)
    const pairs = apps.flatMap((app) => CHANNELS.map((channel) => ({ app, channel })))
    const publishing = pairs.map(({ app, channel }) => publishers.steady(app, channel, rate / pairs.length))
    const usual: number[] = []
    const silences: number[] = []
    for (let i = 0; i < rounds; i++) {
      const before = watchSilences(followers)
      await sleep(STEADY_MS)
      usual.push(...before.stop())
      const during = watchSilences(followers)
      await topology.faults[kind]?.strike()
      await topology.calm()
      await sleep(STEADY_MS)
      silences.push(...during.stop())
    }
    publishers.stop()
    await Promise.all(publishing)
    await awaitArrival(apps, followers, publishers, history)
    await Promise.all(apps.map((app) => end(app, history)))
    for (const follower of followers) follower.stop()
    await Promise.all(following)
    history.conclude()
    const { done, ...calls } = history.counts
    console.log(
      JSON.stringify({
        kind,
        rounds,
        rate,
        clients: followers.length,
        usualSilenceMs: { p50: quantile(usual, 0.5), max: quantile(usual, 1) },
        silenceMs: { p50: quantile(silences, 0.5), max: quantile(silences, 1) },
        deliveries: followers.reduce((sum, { session }) => sum + session.events, 0),
        announcements: followers.reduce((sum, { session }) => sum + session.announcements.length, 0),
        announcedLosses: lost(history, followers),
        silentLosses: history.violations.length,
        calls: { done, ...calls },
      }),
    )
    for (const violation of history.violations) console.log(`  ${violation}`)
    return history.violations.length === 0
  } finally {
    for (const follower of followers) follower.stop()
    for (const { child } of apps) child.kill('SIGKILL')
  }
}

const { values } = parseArgs({
  options: {
    topology: { type: 'string', default: 'sentinel' },
    kinds: { type: 'string', default: '' },
    rounds: { type: 'string', default: '5' },
    rate: { type: 'string', default: '1000' },
  },
})
const start = START[values.topology as keyof typeof START]
if (start === undefined) throw new Error(`--topology must be one of ${Object.keys(START).join(', ')}`)
const standard = values.topology === 'sentinel' ? 'failover,crashMaster,loseWrites' : 'failover,crash,loseWrites'
let kept = true
for (const kind of (values.kinds || standard).split(',')) {
  const topology = await start({ random: new Random(1), channels: CHANNELS })
  try {
    if (topology.faults[kind] === undefined) throw new Error(`--kinds: there is no ${kind}`)
    kept = (await measure(topology, kind, Number(values.rounds), Number(values.rate))) && kept
  } finally {
    await topology.stop()
  }
}
process.exit(kept ? 0 : 1)
