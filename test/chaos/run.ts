/** Random faults from a seed: `run.ts [first seed] [how many] [ms of faults] [kinds of faults …]`. Exits with 1 at a violation. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { History, type Position, type PublishedEvent } from '../proof/checker/history.js'
import { publishRecorded } from '../proof/checker/publish.js'
import { Random } from '../proof/random.js'
import { Faults } from './faults.js'
import { Follower } from './follower.js'

const CHANNELS = ['a', 'b', 'c', 'd']
/** After the faults have ended. */
const RECOVERY_MS = 30_000
const ROUND_MS = 4000
const END_MS = 8000
const MOST_RSS = 500_000_000

interface App {
  readonly number: number
  readonly child: ChildProcess
  readonly url: string
  errors: string
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

async function startApp(number: number, redisUrl: string): Promise<App> {
  const file = fileURLToPath(new URL('app.ts', import.meta.url))
  const child = spawn(process.execPath, ['--trace-warnings', '--import', 'tsx', file, redisUrl], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  process.once('exit', () => child.kill('SIGKILL'))
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-4000)
  })
  const [port] = (await once(createInterface(child.stdout), 'line')) as [string]
  return {
    number,
    child,
    url: `http://127.0.0.1:${port}`,
    get errors() {
      return errors
    },
  }
}

class Publishers {
  readonly #history: History
  readonly #random: Random
  readonly #seed: number
  #count = 0
  #stopped = false

  constructor(history: History, random: Random, seed: number) {
    this.#history = history
    this.#random = random
    this.#seed = seed
  }

  /** Publishes on a channel through a process, until stopped. */
  async run(app: App, channel: string): Promise<void> {
    const random = this.#random
    while (!this.#stopped) {
      const calls = random.chance(0.1) ? 10 : 1
      await Promise.all(
        Array.from({ length: calls }, () =>
          this.#publish(app, channel, 1 + (random.chance(0.2) ? random.below(8) : 0)),
        ),
      )
      await sleep(random.below(60))
    }
  }

  stop(): void {
    this.#stopped = true
  }

  /** @returns a token that is in the log */
  async publishSurely(app: App, channel: string, withinMs: number): Promise<string> {
    const deadline = Date.now() + withinMs
    while (Date.now() < deadline) {
      const event = this.#event(app, channel)
      if ((await this.#call(app, channel, [event], undefined)).length > 0) return event.token
      await sleep(100)
    }
    this.#history.violate(`process ${app.number} could not publish on ${channel} within ${withinMs} ms`)
    return ''
  }

  async #publish(app: App, channel: string, count: number): Promise<void> {
    const events = Array.from({ length: count }, () => this.#event(app, channel))
    await this.#call(app, channel, events, this.#random.chance(0.3) ? events[0]?.token : undefined)
  }

  #event(app: App, channel: string): PublishedEvent {
    const token = `${this.#seed}/${channel}${app.number}/${++this.#count}`
    const pad = 'x'.repeat(this.#random.chance(0.1) ? this.#random.below(20_000) : this.#random.below(100))
    return { token, event: 'n', data: JSON.stringify({ c: channel, t: token, pad }) }
  }

  #call(
    app: App,
    channel: string,
    events: readonly PublishedEvent[],
    key: string | undefined,
  ): Promise<readonly Position[]> {
    const messages = events.map(({ event, data }) => ({ event, data }))
    const body = JSON.stringify({ channel, events: messages, ...(key !== undefined && { key }) })
    const headers = { 'content-type': 'application/json' }
    const attempt = async (): Promise<readonly Position[]> => {
      const response = await fetch(`${app.url}/publish`, { method: 'POST', headers, body })
      const { positions, code, message } = (await response.json()) as {
        readonly positions?: readonly Position[]
        readonly code?: string
        readonly message?: string
      }
      if (positions === undefined) throw Object.assign(new Error(message), { code })
      return positions
    }
    // Concurrent requests may overtake one another.
    const publication = { by: `process ${app.number}`, channel, events, idempotencyKey: key, unordered: true }
    return publishRecorded(this.#history, publication, attempt, () => sleep(200))
  }
}

async function strike(
  faults: Faults,
  random: Random,
  kinds: readonly string[],
  ms: number,
): Promise<readonly string[]> {
  const struck: string[] = []
  const beganAt = Date.now()
  const running: Promise<void>[] = []
  // Those that end and start the server, one at a time.
  let exclusive = Promise.resolve()
  while (Date.now() - beganAt < ms) {
    const kind = random.pick(kinds)
    const at = `${(performance.now() / 1000).toFixed(3)} ${kind}`
    const fault = faults.kinds[kind] as () => Promise<void>
    const ends = /^(stop|restart|restartEmpty|restore|snapshot)$/.test(kind)
    const done = ends ? exclusive.then(fault) : fault()
    if (ends) exclusive = done
    running.push(done.then(() => void struck.push(`${at} until ${(performance.now() / 1000).toFixed(3)}`)))
    if (random.chance(0.7)) await done
    await sleep(random.below(1500))
  }
  await Promise.all(running)
  return struck
}

async function end(app: App, history: History): Promise<number> {
  const beganAt = performance.now()
  if (app.child.exitCode !== null || app.child.signalCode !== null) {
    history.violate(`process ${app.number} ended by itself: ${app.errors}`)
    return 0
  }
  const ended = once(app.child, 'exit')
  app.child.kill('SIGTERM')
  const late = setTimeout(() => {
    history.violate(`process ${app.number} did not end within ${END_MS} ms`)
    app.child.kill('SIGKILL')
  }, END_MS)
  const [code] = await ended
  clearTimeout(late)
  if (code !== 0 && code !== null) history.violate(`process ${app.number} ended with ${code}: ${app.errors}`)
  return Math.round(performance.now() - beganAt)
}

/** One seed. @returns whether nothing was violated */
async function run(seed: number, ms: number, kindsWanted: readonly string[]): Promise<boolean> {
  const random = new Random(seed)
  const history = new History()
  const faults = await Faults.start(random, CHANNELS)
  const apps: App[] = []
  const followers: Follower[] = []
  try {
    for (const [number, url] of faults.urls.entries()) apps.push(await startApp(number, url))
    followers.push(...startFollowers(apps, history, seed))
    const following = followers.map((follower) => follower.run())
    const publishers = new Publishers(history, new Random(seed + 100), seed)
    const publishing = apps.flatMap((app) => CHANNELS.map((channel) => publishers.run(app, channel)))
    const memory = watchMemory(apps)
    const struck = await strike(faults, random, kindsOf(faults, random, kindsWanted), ms)
    await faults.calm()
    const calmAt = performance.now()
    publishers.stop()
    await Promise.all(publishing)
    await recover(apps, followers, publishers, history)
    const recoveredMs = Math.round(performance.now() - calmAt)
    const rss = memory.stop()
    if (rss > MOST_RSS) history.violate(`a process took ${Math.round(rss / 1e6)} MB`)
    await readLogs(faults, history)
    if (random.chance(0.4)) faults.pause()
    // Streams are still open: the server is to end them.
    const ends = await Promise.all(apps.map((app) => end(app, history)))
    for (const follower of followers) follower.stop()
    await Promise.all(following)
    history.conclude()
    for (const { number, errors } of apps) {
      // The kit warns once where a connection fails or Redis refuses.
      const unexpected = errors
        .replace(/\(node:\d+\) \[SSE_REDIS_(?:UNREACHABLE|REFUSED)\].*\n(?: +at .*\n)*/g, '')
        // ioredis prints this where Redis refuses INFO.
        .replace(/Skipping the ready check because INFO command fails: .*\n?/g, '')
        .trim()
      if (unexpected !== '') history.violate(`process ${number} printed: ${unexpected}`)
    }
    report({ seed, recoveredMs, ends, rssMb: Math.round(rss / 1e6) }, struck, followers, history)
    return history.violations.length === 0
  } finally {
    for (const follower of followers) follower.stop()
    for (const { child } of apps) child.kill('SIGKILL')
    await faults.stop()
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
function kindsOf(faults: Faults, random: Random, wanted: readonly string[]): readonly string[] {
  if (wanted.length > 0) return wanted
  const all = Object.keys(faults.kinds)
  const some = all.filter(() => random.chance(0.4))
  return some.length > 1 ? some : all
}

/** @returns when stopped, the most that a process has taken */
function watchMemory(apps: readonly App[]): { stop(): number } {
  let most = 0
  const look = async ({ url }: App): Promise<void> => {
    const { rss } = (await (await fetch(`${url}/status`)).json()) as { rss: number }
    most = Math.max(most, rss)
  }
  const watching = setInterval(() => void Promise.allSettled(apps.map(look)), 1000)
  return {
    stop: () => {
      clearInterval(watching)
      return most
    },
  }
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
      // It may have come before the answer.
      for (const follower of followers) {
        if (follower.channels.includes(channel) && !follower.session.hadEver(token)) follower.finals.add(token)
      }
    }
  }
}

async function readLogs({ admin }: Faults, history: History): Promise<void> {
  for (const channel of CHANNELS) {
    const entries = (await admin.xrange(`sse:{${channel}}:s`, '-', '+')) as [string, string[]][]
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

/** What led to the first violation that the follower found, or to where it waits. */
function traceOf({ session, channels, finals }: Follower): readonly string[] {
  const { client, trace } = session
  const found = trace.findIndex((text) => text.includes('VIOLATION'))
  const at = found === -1 && finals.size > 0 ? trace.length : found
  if (at === -1) return []
  return [`  ${client} ${channels}:`, ...trace.slice(Math.max(0, at - 25), at + 5).map((text) => `    ${text}`)]
}

const [first = '1', count = '1', ms = '20000', ...kinds] = process.argv.slice(2)
let failed = 0
for (let i = 0; i < Number(count); i++) if (!(await run(Number(first) + i, Number(ms), kinds))) failed++
process.exit(failed > 0 ? 1 : 0)
