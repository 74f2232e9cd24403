/**
 * Random faults on real processes and a real Redis:
 * `run.ts [--runs N] [--seed S] [--topology single|sentinel|cluster] [--ms MS] [--kinds A,B]`.
 * Prints one line for each run. Exits with 1 if a promise was broken.
 */
import { parseArgs } from 'node:util'
import { History } from '../proof/checker/history.js'
import { Random } from '../proof/random.js'
import { type App, awaitIdle, end, startApp, watchMemory } from './apps.js'
import { startCluster } from './cluster.js'
import { Follower } from './follower.js'
import { Publishers } from './publishers.js'
import { startSentinel } from './sentinel.js'
import { startSingle } from './single.js'
import { sleep, type Topology } from './topology.js'

const START = { single: startSingle, sentinel: startSentinel, cluster: startCluster }

const CHANNELS = ['a', 'b', 'c', 'd']
/** After the faults have ended. */
const RECOVERY_MS = 30_000
const ROUND_MS = 4000
const MOST_RSS = 500_000_000

interface Options {
  readonly start: (typeof START)[keyof typeof START]
  /** How long faults are injected, in ms. */
  readonly ms: number
  /** Only these kinds of faults. Empty: chosen by the seed. */
  readonly kinds: readonly string[]
}

async function strike(
  { faults }: Topology,
  random: Random,
  kinds: readonly string[],
  ms: number,
): Promise<readonly string[]> {
  const struck: string[] = []
  const beganAt = Date.now()
  const running: Promise<void>[] = []
  let exclusive = Promise.resolve()
  while (Date.now() - beganAt < ms) {
    const kind = random.pick(kinds)
    const fault = faults[kind]
    if (fault === undefined) throw new Error(`--kinds: there is no ${kind}, only ${Object.keys(faults).join()}`)
    const at = `${(performance.now() / 1000).toFixed(3)} ${kind}`
    const done = fault.exclusive === true ? exclusive.then(() => fault.strike()) : fault.strike()
    if (fault.exclusive === true) exclusive = done
    running.push(done.then(() => void struck.push(`${at} until ${(performance.now() / 1000).toFixed(3)}`)))
    if (random.chance(0.7)) await done
    await sleep(random.below(1500))
  }
  await Promise.all(running)
  return struck
}

/** Runs one seed. @returns whether no promise was violated */
async function run(seed: number, { start, ms, kinds }: Options): Promise<boolean> {
  const random = new Random(seed)
  const history = new History(() => performance.now())
  const topology = await start({ random, channels: CHANNELS })
  const apps: App[] = []
  const followers: Follower[] = []
  try {
    for (const [number, source] of topology.sources.entries()) apps.push(await startApp(number, source))
    followers.push(...startFollowers(apps, history, seed))
    const following = followers.map((follower) => follower.run())
    const publishers = new Publishers(history, new Random(seed + 100), seed)
    const publishing = apps.flatMap((app) => CHANNELS.map((channel) => publishers.run(app, channel)))
    const memory = watchMemory(apps)
    const struck = await strike(topology, random, kindsOf(topology, random, kinds), ms)
    await topology.calm()
    const calmAt = performance.now()
    publishers.stop()
    await Promise.all(publishing)
    await recover(apps, followers, publishers, history)
    const recoveredMs = Math.round(performance.now() - calmAt)
    const rss = memory.stop()
    if (rss > MOST_RSS) history.violate(`a process took ${Math.round(rss / 1e6)} MB`)
    await readLogs(topology, history)
    if (random.chance(0.5)) {
      for (const follower of followers) follower.stop()
      await Promise.all(apps.map((app) => awaitIdle(app, history)))
    }
    // Otherwise streams are still open, and the process must end them.
    if (random.chance(0.4)) topology.hang()
    const ends = await Promise.all(apps.map((app) => end(app, history)))
    for (const follower of followers) follower.stop()
    await Promise.all(following)
    history.conclude()
    for (const { number, errors } of apps) {
      // The kit warns once if a connection fails or Redis refuses a command.
      const unexpected = errors
        .replace(/\(node:\d+\) \[SSE_REDIS_(?:UNREACHABLE|REFUSED)\].*\n(?: +at .*\n)*/g, '')
        // ioredis prints this if Redis refuses INFO.
        .replace(/Skipping the ready check because INFO command fails: .*\n?/g, '')
        .trim()
      if (unexpected !== '') history.violate(`process ${number} printed: ${unexpected}`)
    }
    report({ seed, recoveredMs, ends, rssMb: Math.round(rss / 1e6) }, struck, followers, history)
    return history.violations.length === 0
  } finally {
    for (const follower of followers) follower.stop()
    for (const { child } of apps) child.kill('SIGKILL')
    await topology.stop()
  }
}

function startFollowers(apps: readonly App[], history: History, seed: number): Follower[] {
  const urls = apps.map(({ url }) => url)
  return Array.from({ length: 16 }, (_, i) => {
    const channels = i % 4 === 3 ? [CHANNELS[i % 3] as string, 'd'] : [CHANNELS[i % 4] as string]
    return new Follower({
      name: `client ${i}`,
      channels,
      urls,
      history,
      random: new Random(seed + i),
      earliest: i % 5 === 4,
      polls: [0, 0, 0.3, 1][(i >> 1) % 4] as number,
      roams: i >= 8,
      restless: i % 3 === 1,
    })
  })
}

/** A few kinds at a time find more than all of them. */
function kindsOf({ faults }: Topology, random: Random, wanted: readonly string[]): readonly string[] {
  if (wanted.length > 0) return wanted
  const all = Object.keys(faults)
  const some = all.filter(() => random.chance(0.4))
  return some.length > 1 ? some : all
}

/**
 * After the faults every process publishes on every channel in several rounds, and every client must receive the events
 * of at least one round: a client that reconnects with a cursor from before a reset begins at the head.
 */
async function recover(
  apps: readonly App[],
  followers: readonly Follower[],
  publishers: Publishers,
  history: History,
): Promise<void> {
  const deadline = Date.now() + RECOVERY_MS
  const waiting = () => followers.filter(({ finals }) => finals.size > 0)
  for (const follower of followers) follower.calm = true
  do {
    await publishRound(apps, followers, publishers)
    for (const end = Date.now() + ROUND_MS; waiting().length > 0 && Date.now() < end; ) await sleep(50)
  } while (waiting().length > 0 && Date.now() < deadline)
  for (const { session, finals } of waiting()) {
    history.violate(`${session.client} did not get ${[...finals].join()}, nor any before, within ${RECOVERY_MS} ms`)
  }
}

async function publishRound(
  apps: readonly App[],
  followers: readonly Follower[],
  publishers: Publishers,
): Promise<void> {
  for (const { finals } of followers) finals.clear()
  for (const app of apps) {
    for (const channel of CHANNELS) {
      const token = await publishers.publishSurely(app, channel, RECOVERY_MS)
      // The event may have arrived before the answer.
      for (const follower of followers) {
        if (follower.channels.includes(channel) && !follower.session.hadEver(token)) follower.finals.add(token)
      }
    }
  }
}

async function readLogs(topology: Topology, history: History): Promise<void> {
  for (const channel of CHANNELS) {
    const entries = await topology.entries(`sse:{${channel}}:s`)
    for (const [id, [, payload = '']] of entries) {
      for (const [, token = ''] of payload.matchAll(/"t":"([^"]+)"/g))
        history.saw(channel, token, undefined, undefined, `the log as ${id}`)
    }
  }
}

function report(
  run: Readonly<Record<string, unknown>>,
  struck: readonly string[],
  followers: readonly Follower[],
  history: History,
): void {
  const sum = (of: (follower: Follower) => number) => followers.reduce((total, follower) => total + of(follower), 0)
  const line = {
    ...run,
    violations: history.violations.length,
    faults: struck.length,
    events: sum(({ session }) => session.events),
    announcements: sum(({ session }) => session.announcements.length),
    connections: sum(({ connections }) => connections),
    ...history.counts,
  }
  const lines = [JSON.stringify(line)]
  if (history.violations.length > 0) {
    lines.push(...history.violations.map((violation) => `  ${violation}`), `  faults: ${struck.join('; ')}`)
    for (const follower of followers) lines.push(...traceOf(follower))
  }
  process.stdout.write(`${lines.join('\n')}\n`)
}

/** The events before the first violation that the follower found, or before the current wait. */
function traceOf({ session, channels, finals }: Follower): readonly string[] {
  const { client, trace } = session
  const found = trace.findIndex((text) => text.includes('VIOLATION'))
  const at = found === -1 && finals.size > 0 ? trace.length : found
  if (at === -1) return []
  return [`  ${client} ${channels}:`, ...trace.slice(Math.max(0, at - 25), at + 5).map((text) => `    ${text}`)]
}

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    topology: { type: 'string', default: 'single' },
    ms: { type: 'string', default: '20000' },
    kinds: { type: 'string', default: '' },
  },
})
const start = START[values.topology as keyof typeof START]
if (start === undefined) throw new Error(`--topology must be one of ${Object.keys(START).join(', ')}`)
const kinds = values.kinds === '' ? [] : values.kinds.split(',')
let failed = 0
for (let i = 0; i < Number(values.runs); i++) {
  if (!(await run(Number(values.seed) + i, { start, ms: Number(values.ms), kinds }))) failed++
}
process.exit(failed > 0 ? 1 : 0)
