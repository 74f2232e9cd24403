/** Runs the actions of a scenario on parts in virtual time, and checks the events that the clients received. */
import { createPacing, createPressure } from '../../../lib/index.js'
import { History, type Position, type PublishedEvent } from '../checker/history.js'
import { publishRecorded } from '../checker/publish.js'
import { Session } from '../checker/session.js'
import { Random } from '../random.js'
import { KitClient } from './kit-client.js'
import { KitProcess, REVOCATION_MS } from './kit-process.js'
import type { Link } from './network.js'
import { SimulatedRedis } from './redis-server.js'
import { ACTIVE_MS, type Action, createScenario, ENDING_MS, type Links, type Scenario } from './scenario.js'
import { type SignedIn, SimClient, type SimulatedClient } from './sim-client.js'
import { Tabs } from './sim-tabs.js'
import { TabClient } from './tab-client.js'
import { VirtualTime } from './virtual-time.js'

export interface RunResult {
  readonly violations: readonly string[]
  readonly events: number
  readonly announcements: number
  readonly connections: number
  /** Events of the virtual time. */
  readonly steps: number
  readonly clients: readonly Session[]
}

/** The time after the last fault within which every client must receive all events of a round, in ms. */
const RECOVERY_MS = 60_000
const ROUND_MS = 5000
/** The time after the last fault within which every client must have the events of the logs, in ms. */
const ARRIVAL_MS = 45_000
/** The time within which a process must end, in ms. */
const CLOSE_MS = 10_000
/** How long it may take until a process notices that its connection to the store is dead, in ms. */
const STORE_MS = 15_000
/** How much later than its deadline a publication may settle, in ms. */
const SETTLE_MS = 1000
/** How long a stream may outlive its client, in ms: if the connection is closed, and if it is lost without a sign. */
const LEAVE_MS = { closed: 3000, silent: 30_000 }
/** How long an unneeded subscription may stay, in ms. */
const UNSUBSCRIBED_MS = 15_000
/** How long the operating system waits for an answer on a silent connection to Redis, in ms: longer than a world's end. */
const SILENT_MS = 110_000
/** The time after which no timer may be pending, in ms. */
const IDLE_MS = 120_000

/** For its first connection ioredis reads a file, in real time. So the first world of a process is discarded. */
let warmUp: Promise<unknown> | undefined

export async function runScenario(scenario: Scenario): Promise<RunResult> {
  warmUp ??= runInVirtualTime(createScenario(2))
  await warmUp
  return runInVirtualTime(scenario)
}

async function runInVirtualTime(scenario: Scenario): Promise<RunResult> {
  const time = new VirtualTime()
  const uninstall = time.install()
  const mathRandom = Math.random
  const kitRandom = new Random(scenario.seed ^ 0x5eed)
  Math.random = () => kitRandom.next()
  const tabs = new Tabs(time, new Random(scenario.seed ^ 0x7ab5))
  const removeTabs = tabs.install()
  try {
    return await new World(scenario, time, tabs).run()
  } finally {
    Math.random = mathRandom
    removeTabs()
    uninstall()
  }
}

/** An event that every client must receive at the end. */
interface Final {
  readonly channel: string
  readonly token: string
  readonly position: Position
}

class World {
  readonly #scenario: Scenario
  readonly #time: VirtualTime
  readonly #history: History
  readonly #redis: SimulatedRedis | undefined
  readonly #processes: KitProcess[] = []
  /** All processes, including ended ones. */
  readonly #allProcesses: KitProcess[] = []
  readonly #clients: readonly SimulatedClient[]
  readonly #networkRandom: Random
  readonly #revoked: { readonly client: SimulatedClient; readonly signedIn: SignedIn }[] = []
  /** An embedded log ended with its process. */
  #lossy = false
  #tokens = 0
  #publishing = 0
  #closing = 0

  constructor(scenario: Scenario, time: VirtualTime, tabs: Tabs) {
    const { seed, processes, embedded } = scenario
    this.#scenario = scenario
    this.#time = time
    this.#history = new History(() => time.now())
    this.#networkRandom = new Random(seed ^ 0x0e7)
    this.#redis = embedded ? undefined : new SimulatedRedis(time, new Random(seed ^ 0x4ed15))
    if (scenario.refusesInfo) this.#redis?.refuse('info', 'NOPERM no permission for info')
    for (let i = 0; i < processes; i++) this.#startProcess(i)
    this.#clients = scenario.clients.map((plan, i) => {
      const { channels, earliest, window, polls, bufferBytes, delayMs, splitBytes, sessionMs, isKit, isTab } = plan
      const session = new Session({
        client: `client ${i}`,
        channels,
        earliest,
        history: this.#history,
        now: () => time.now(),
        shares: plan.isTab,
        drops: scenario.stream.queuePolicy !== 'replay' && scenario.stream.queuePolicy !== 'disconnect',
      })
      const options = {
        session,
        time,
        random: new Random(seed ^ (0xc11e << 3) ^ i),
        quality: { delayMs, bufferBytes, splitBytes },
        processes: () => this.#processes.filter(({ isRunning }) => isRunning),
        polls,
        window,
        earliest,
        sessions: scenario.sessions,
        sessionMs,
        silenceMs: 2 * scenario.heartbeatMs + 1000,
      }
      if (isTab) return new TabClient(options, tabs, 'browser')
      return isKit ? new KitClient(options) : new SimClient(options)
    })
  }

  async run(): Promise<RunResult> {
    const time = this.#time
    const running = this.#clients.map((client) => client.run())
    let failure: unknown
    for (const each of running)
      each.catch((error: unknown) => {
        failure ??= error
      })
    for (const action of this.#scenario.actions) time.after(action.at, () => this.#act(action))
    await time.run(() => failure !== undefined, ACTIVE_MS)
    if (failure === undefined) await this.#recover()
    if (failure === undefined && this.#history.violations.length === 0) await this.#endChannels()
    if (failure === undefined) await this.#end()
    if (failure !== undefined) this.#history.violate(`a client failed: ${(failure as Error).stack}`)
    this.#history.conclude()
    const sessions = this.#clients.map(({ session }) => session)
    return {
      violations: this.#history.violations,
      events: sessions.reduce((sum, { events }) => sum + events, 0),
      announcements: sessions.reduce((sum, { announcements }) => sum + announcements.length, 0),
      connections: this.#clients.reduce((sum, { connections }) => sum + connections, 0),
      steps: time.events,
      clients: sessions,
    }
  }

  #startProcess(index: number): void {
    const { historySize, tailEntries, tailBytes, lingerMs, probeMs, commandTimeoutMs, heartbeatMs, redisDelayMs } =
      this.#scenario
    const { queuePolicy, queueEvents, maxAgeMs, pacing, polling } = this.#scenario.stream
    const name = `process ${index}.${this.#allProcesses.length}`
    const process = new KitProcess({
      name,
      time: this.#time,
      random: this.#networkRandom,
      redis: this.#redis,
      redisQuality: { delayMs: redisDelayMs, bufferBytes: 200_000, splitBytes: 0 },
      violate: (text) => this.#history.violate(text),
      sessions: this.#scenario.sessions,
      multiplexer: {
        historySize,
        tailEntries,
        tailBytes,
        lingerMs,
        probeMs,
        commandTimeoutMs,
        stream: {
          heartbeatMs,
          stallMs: 10_000,
          pressure: createPressure({ maxLoopDelayMs: 0, clock: this.#time }),
          queuePolicy,
          queueEvents,
          maxAgeMs,
          ...(pacing && { pacing: createPacing({ stream: pacing }, { clock: this.#time }) }),
          ...(polling && { pollUrl: ({ url = '' }) => url.replace('/stream', '/poll'), saturatedMs: 1000 }),
        },
      },
    })
    this.#processes[index] = process
    this.#allProcesses.push(process)
  }

  #act(action: Action): void {
    const redis = this.#redis
    switch (action.do) {
      case 'publish':
        this.#publishFor(action)
        return
      case 'cutClient':
        this.#clients[action.client]?.cut()
        return
      case 'vanishClient':
        this.#clients[action.client]?.vanish()
        return
      case 'pauseClient':
        this.#clients[action.client]?.pause(action.ms)
        return
      case 'leaveClient':
        this.#clients[action.client]?.leave(action.ms)
        return
      case 'revoke':
        void this.#revoke(action.process, action.client)
        return
      case 'crash':
        this.#crash(action.process, action.ms)
        return
      case 'close':
        this.#close(action.process, action.windowMs, action.ms)
        return
      default:
        if (redis !== undefined) this.#actOnRedis(redis, action)
    }
  }

  #actOnRedis(redis: SimulatedRedis, action: Action): void {
    const time = this.#time
    switch (action.do) {
      case 'pauseRedis':
        redis.pause()
        time.after(action.ms, () => redis.resume())
        return
      case 'restartRedis':
      case 'emptyRedis':
      case 'restoreRedis':
        if (!redis.isUp) return
        redis.stop(action.do !== 'emptyRedis')
        if (action.do === 'restoreRedis') redis.restore()
        time.after(action.ms, () => redis.start())
        return
      case 'saveRedis':
        redis.save()
        return
      case 'flushScripts':
        redis.flushScripts()
        return
      case 'flushAll':
        redis.lossy = true
        redis.data.flush()
        return
      case 'cutRedis':
        for (const link of this.#linksOf(redis, action)) link.cut()
        return
      case 'killSubscribers':
        redis.cutConnections((isSubscriber) => isSubscriber)
        return
      case 'killCommands':
        redis.cutConnections((isSubscriber) => !isSubscriber)
        return
      case 'holdRedis':
        for (const link of this.#linksOf(redis, action)) link.hold(action.ms)
        return
      case 'vanishRedis':
        for (const link of this.#linksOf(redis, action)) link.blackHole(SILENT_MS)
        return
      case 'refuse':
        redis.refuse(action.command, `NOPERM no permission for ${action.command}`)
        time.after(action.ms, () => redis.allow())
        return
      case 'trim':
        redis.trimmed = true
        redis.data.trim(`sse:{${action.channel}}:s`, action.count)
        return
      case 'removeEntry': {
        const key = `sse:{${action.channel}}:s`
        const entry = redis.data.entries(key).at(-1 - action.back)
        redis.trimmed = true
        if (entry !== undefined) redis.data.removeEntry(key, entry.id)
        return
      }
      case 'deleteKey':
        redis.lossy = true
        redis.data.delete(`sse:{${action.channel}}:${action.key}`)
        return
    }
  }

  #linksOf(redis: SimulatedRedis, { process, links }: { process: number; links: Links }): readonly Link[] {
    const all = [...(this.#processes[process]?.redisLinks ?? [])]
    return links === 'all' ? all : all.filter((link) => redis.isSubscriber(link) === (links === 'subscribers'))
  }

  #publishFor(action: Extract<Action, { do: 'publish' }>): void {
    const process = this.#processes[action.process]
    if (process?.isRunning !== true) return
    for (const channel of action.everywhere === true ? this.#scenario.channels : [action.channel]) {
      const events = Array.from({ length: action.count }, () =>
        this.#event(channel, action.pad, action.ephemeral === true),
      )
      void this.#publish(process, channel, events, action.key === true ? events[0]?.token : undefined)
    }
  }

  #event(channel: string, pad: number, ephemeral: boolean): PublishedEvent {
    const token = `${channel}${++this.#tokens}`
    const data = JSON.stringify({ c: channel, t: token, ...(pad > 0 && { pad: 'x'.repeat(pad) }) })
    return { token, event: 'n', data, ephemeral }
  }

  async #publish(
    process: KitProcess,
    channel: string,
    events: readonly PublishedEvent[],
    idempotencyKey?: string,
  ): Promise<readonly Position[]> {
    const messages = events.map(({ event, data, ephemeral }) => ({
      event,
      data,
      ...(ephemeral === true && { ephemeral }),
    }))
    const options = idempotencyKey === undefined ? {} : { idempotencyKey }
    this.#publishing++
    const attempt = async (): Promise<readonly Position[]> => {
      const beganAt = this.#time.now()
      try {
        return await process.multiplexer.publishMany(channel, messages, options)
      } finally {
        const tookMs = this.#time.now() - beganAt
        if (tookMs > this.#scenario.commandTimeoutMs + SETTLE_MS) {
          this.#history.violate(`a publication on ${channel} by ${process.name} took ${tookMs} ms`)
        }
      }
    }
    const positions = await publishRecorded(
      this.#history,
      { by: process.name, channel, events, idempotencyKey },
      attempt,
      () => this.#time.sleep(200),
    )
    this.#publishing--
    return positions
  }

  async #revoke(index: number, number: number): Promise<void> {
    const process = this.#processes[index]
    const client = this.#clients[number] as SimulatedClient
    const { signedIn } = client
    if (process?.isRunning !== true || signedIn === undefined) return
    try {
      await process.revocations?.revoke({ tokenId: signedIn.id })
    } catch {
      // It may have taken effect or not.
      return
    }
    client.revoked(signedIn, process)
    this.#revoked.push({ client, signedIn })
  }

  #crash(index: number, ms: number): void {
    const process = this.#processes[index]
    if (process?.isRunning !== true) return
    process.crash()
    if (this.#scenario.embedded) this.#lossy = true
    this.#time.after(ms, () => this.#startProcess(index))
  }

  #close(index: number, windowMs: number, ms: number): void {
    const process = this.#processes[index]
    if (process?.isRunning !== true) return
    this.#closing++
    if (this.#scenario.embedded) this.#lossy = true
    const beganAt = this.#time.now()
    void process.close(windowMs).then(() => {
      this.#closing--
      const tookMs = this.#time.now() - beganAt
      if (tookMs > CLOSE_MS + windowMs) this.#history.violate(`${process.name} took ${tookMs} ms to close`)
    })
    this.#time.after(windowMs + ms + 100, () => this.#startProcess(index))
  }

  /** After the faults every client must receive new events. */
  async #recover(): Promise<void> {
    const time = this.#time
    const redis = this.#redis
    redis?.resume()
    redis?.allow()
    if (redis?.isUp === false) redis.start()
    // Restarts all processes that have ended.
    await time.run(() => this.#processes.every(({ isRunning }) => isRunning), 10_000)
    await this.#arrive()
    if (this.#revoked.length > 0) await this.#enforce()
    // A client that resumes from before a reset begins at the head, so it may miss a round.
    const rounds: (readonly Final[])[] = []
    const misses = (session: Session, finals: readonly Final[]): boolean =>
      finals.some((final) => session.channels.includes(final.channel) && !this.#hasPassed(session, final))
    const haveOne = (): boolean =>
      this.#clients.every(({ session }) => rounds.some((finals) => !misses(session, finals)))
    for (let left = RECOVERY_MS; left > 0; left -= ROUND_MS) {
      rounds.push(await this.#publishFinals())
      if (await time.run(haveOne, ROUND_MS)) {
        await time.run(() => this.#publishing === 0 && this.#closing === 0, 20_000)
        return
      }
    }
    for (const { session } of this.#clients) {
      this.#history.violate(
        `${session.client} did not receive all of what was published within ${RECOVERY_MS} ms after the faults`,
      )
      session.note('VIOLATION waits')
    }
  }

  /** Once nothing is wrong with Redis, no process accepts a revoked session. */
  async #enforce(): Promise<void> {
    await this.#time.run(() => false, REVOCATION_MS.cacheMs + REVOCATION_MS.checkMs + STORE_MS)
    // An embedded store, and a Redis that has lost its data, may have forgotten them.
    if (this.#lossy || this.#redis?.lossy === true) return
    for (const { client, signedIn } of this.#revoked) client.revoked(signedIn, undefined)
  }

  /** The client has received the event, or an announcement instead. */
  #hasPassed(session: Session, { channel, token, position }: Final): boolean {
    if (session.hadEver(token) || session.missesDropped) return true
    const at = session.at(channel)
    if (at === undefined || at.offset < position.offset) return false
    // `sse.gap` has no id, so the client's epoch may be an earlier one, or unknown.
    return at.epoch === position.epoch || at.epoch === '' || this.#scenario.historySize === 0
  }

  /** The events of the logs must reach every client without a later event that would reveal the gap. */
  async #arrive(): Promise<void> {
    const redis = this.#redis
    // If PUBLISH and then its undo are refused, an event stays in a log that no process knows of. Its outcome is unknown.
    const mayStay = this.#scenario.actions.some((action) => action.do === 'refuse' && action.command === 'xdel')
    if (redis === undefined || mayStay) return
    const isBehind = ({ session }: SimulatedClient, channel: string): boolean =>
      session.channels.includes(channel) &&
      !session.missesDropped &&
      (session.at(channel)?.offset ?? -1) < Number(redis.data.hash(`sse:{${channel}}:m`).get('o') ?? 0)
    // If no event is kept any more, `from=earliest` begins after the last one, without an id.
    const clients = this.#clients.filter((_, i) => this.#scenario.clients[i]?.earliest === false)
    const behind = (): string | undefined => {
      for (const client of clients) {
        for (const channel of this.#scenario.channels)
          if (isBehind(client, channel)) return `${client.session.client} in ${channel}`
      }
      return undefined
    }
    // A paced stream may have to send all of them after the faults.
    const { pacing } = this.#scenario.stream
    const withinMs = ARRIVAL_MS + (pacing === undefined ? 0 : (this.#tokens * 1000) / pacing.refillPerSecond)
    if (await this.#time.run(() => behind() === undefined, withinMs)) return
    this.#history.violate(`${behind()} has not received what is in the log ${withinMs} ms after the faults`)
    for (const { session } of clients) session.note('VIOLATION waits')
  }

  /** One event of each process on each channel. */
  async #publishFinals(): Promise<readonly Final[]> {
    const finals: Final[] = []
    let pending = 0
    for (const process of this.#processes) {
      for (const channel of this.#scenario.channels) {
        pending++
        const publish = async (): Promise<void> => {
          for (let given = false; !given && process.isRunning; ) {
            const event = this.#event(channel, 0, false)
            const [position] = await this.#publish(process, channel, [event])
            if (position !== undefined) {
              finals.push({ channel, token: event.token, position })
              given = true
            }
          }
          pending--
        }
        void publish()
      }
    }
    const done = await this.#time.run(() => pending === 0, 30_000)
    if (!done) this.#history.violate('some process could not publish within 30 s after the faults')
    return finals
  }

  /** Every client must learn of the end, after the last event. */
  async #endChannels(): Promise<void> {
    const { ending, channels } = this.#scenario
    if (ending === undefined) return
    const time = this.#time
    this.#history.mayEnd = true
    for (const action of ending.actions) time.after(action.at, () => this.#act(action))
    await time.run(() => false, ENDING_MS)
    const finals: Final[] = []
    for (const channel of channels) void this.#endChannel(ending.process, channel).then((final) => finals.push(final))
    if (!(await time.run(() => finals.length === channels.length, 30_000))) {
      this.#history.violate('a channel could not be ended within 30 s')
      return
    }
    if (!(await time.run(() => this.#clients.every(({ session }) => session.completed), RECOVERY_MS))) {
      const waiting = this.#clients.filter(({ session }) => !session.completed)
      for (const { session } of waiting) session.violate(`did not learn of the end within ${RECOVERY_MS} ms`)
    }
    for (const { session } of this.#clients) {
      for (const final of finals) {
        if (!session.channels.includes(final.channel) || this.#hasPassed(session, final)) continue
        session.violate(`completed without the last event ${final.token} of ${final.channel}`)
      }
    }
    await this.#refuseMore()
  }

  async #endChannel(index: number, channel: string): Promise<Final> {
    const event = this.#event(channel, 0, false)
    for (;;) {
      const process = this.#processes[index] as KitProcess
      const attempt = async (): Promise<readonly Position[]> => [
        await process.multiplexer.end(channel, { event: event.event, data: event.data }),
      ]
      const publication = { by: process.name, channel, events: [event], idempotencyKey: event.token }
      const [position] = await publishRecorded(this.#history, publication, attempt, () => this.#time.sleep(200))
      if (position !== undefined) return { channel, token: event.token, position }
    }
  }

  /** Nothing may be published on a channel that has ended. */
  async #refuseMore(): Promise<void> {
    let pending = 0
    for (const { multiplexer, name } of this.#processes) {
      for (const channel of this.#scenario.channels) {
        pending++
        multiplexer.publish(channel, { data: 'late' }).then(
          () => {
            this.#history.violate(`${name} published on ${channel} after its end`)
            pending--
          },
          () => pending--,
        )
      }
    }
    if (!(await this.#time.run(() => pending === 0, 30_000))) this.#history.violate('a late publication never settled')
  }

  async #end(): Promise<void> {
    const time = this.#time
    const redis = this.#redis
    this.#checkAnnouncements()
    for (const client of this.#clients) client.stop()
    const isSilent = this.#scenario.actions.some((action) => action.do === 'vanishClient')
    const haveLeft = () => this.#processes.every(({ multiplexer }) => multiplexer.status().streams === 0)
    if (!(await time.run(haveLeft, isSilent ? LEAVE_MS.silent : LEAVE_MS.closed)))
      this.#history.violate('streams are open although all clients have left')
    await time.run(() => this.#processes.every(({ multiplexer }) => multiplexer.status().channels === 0), 60_000)
    for (const { name, multiplexer } of this.#processes) {
      const { streams, channels, state } = multiplexer.status()
      if (streams !== 0 || channels !== 0) {
        this.#history.violate(
          `${name} has ${streams} streams and ${channels} channels after all clients have left (${state})`,
        )
      }
    }
    // The subscriptions to the kit's own signals stay.
    const left = () => redis?.subscriptions.filter((name) => name.includes('{')) ?? []
    if (!(await time.run(() => left().length === 0, UNSUBSCRIBED_MS)))
      this.#history.violate(`Redis has the subscriptions [${left()}] after all clients have left`)
    let open = this.#allProcesses.length
    for (const process of this.#allProcesses) void process.close(0).then(() => open--)
    if (!(await time.run(() => open === 0, 30_000))) this.#history.violate(`${open} processes did not close`)
    await time.run(() => false, IDLE_MS)
    if (time.pending > 0) this.#history.violate(`${time.pending} timers are left after everything is closed`)
    if (redis !== undefined && (redis.subscriptions.length > 0 || redis.connections > 0)) {
      this.#history.violate(
        `Redis has ${redis.connections} connections and the subscriptions [${redis.subscriptions}] after the end`,
      )
    }
  }

  /** A loss is announced only if there was one. */
  #checkAnnouncements(): void {
    const redis = this.#redis
    const lossy = this.#lossy || redis?.lossy === true
    const mayTrim = this.#scenario.historySize < 2000 || redis?.trimmed === true
    for (const { session } of this.#clients) {
      for (const { type, channel, data } of session.announcements) {
        // A tab that returns to tabs which no longer have what it missed.
        if (type === 'reset' && data.includes('"reason":"behind"')) continue
        if (type === 'reset' && !lossy)
          this.#history.violate(`${session.client}: a reset of ${channel} without a loss: ${data}`)
        if (type === 'gap' && !lossy && !mayTrim)
          this.#history.violate(`${session.client}: a gap of ${channel} without a loss: ${data}`)
      }
    }
  }
}
