/** The parts and the actions of one simulated world, derived from a seed. No action is random itself. */
import { Random } from '../random.js'

interface ClientPlan {
  readonly channels: readonly string[]
  /** The kit's own client. */
  readonly isKit: boolean
  /** A tab that shares a stream with the other tabs. */
  readonly isTab: boolean
  readonly polls: number
  readonly window: number | undefined
  readonly earliest: boolean
  /** Bytes that the client's host and the path hold. */
  readonly bufferBytes: number
  readonly delayMs: readonly [number, number]
  readonly splitBytes: number
  /** How long the client's sessions last, in ms; `undefined`: until they are revoked. */
  readonly sessionMs: number | undefined
}

/** The options of all streams. */
interface StreamPlan {
  readonly queuePolicy: 'replay' | 'drop-newest' | 'drop-oldest' | 'drop-random' | 'coalesce' | 'disconnect'
  readonly queueEvents: number
  /** 0: no maximum. */
  readonly maxAgeMs: number
  /** Tokens of each stream; `undefined`: no pacing. */
  readonly pacing: { readonly capacity: number; readonly refillPerSecond: number } | undefined
  /** Clients may be moved to polling. */
  readonly polling: boolean
}

/** Which connections of a process to Redis. */
export type Links = 'all' | 'commands' | 'subscribers'

export type Action = { readonly at: number } & (
  | {
      readonly do: 'publish'
      readonly process: number
      readonly channel: string
      readonly count: number
      readonly pad: number
      readonly key?: boolean
      readonly ephemeral?: boolean
      /** At the same time on all channels. */
      readonly everywhere?: boolean
    }
  | { readonly do: 'cutClient' | 'vanishClient'; readonly client: number }
  | { readonly do: 'pauseClient' | 'leaveClient'; readonly client: number; readonly ms: number }
  | { readonly do: 'pauseRedis' | 'restartRedis' | 'emptyRedis' | 'restoreRedis'; readonly ms: number }
  | { readonly do: 'saveRedis' | 'flushScripts' | 'flushAll' }
  | { readonly do: 'killSubscribers' | 'killCommands' }
  | { readonly do: 'holdRedis'; readonly process: number; readonly links: Links; readonly ms: number }
  | { readonly do: 'cutRedis' | 'vanishRedis'; readonly process: number; readonly links: Links }
  | { readonly do: 'refuse'; readonly command: string; readonly ms: number }
  | { readonly do: 'trim'; readonly channel: string; readonly count: number }
  | { readonly do: 'removeEntry'; readonly channel: string; readonly back: number }
  | { readonly do: 'deleteKey'; readonly channel: string; readonly key: 's' | 'm' }
  | { readonly do: 'revoke'; readonly process: number; readonly client: number }
  | { readonly do: 'crash'; readonly process: number; readonly ms: number }
  | { readonly do: 'close'; readonly process: number; readonly windowMs: number; readonly ms: number }
)

export interface Scenario {
  readonly seed: number
  readonly processes: number
  readonly embedded: boolean
  readonly channels: readonly string[]
  readonly historySize: number
  readonly tailEntries: number
  readonly tailBytes: number
  readonly lingerMs: number
  readonly probeMs: number
  readonly commandTimeoutMs: number
  readonly heartbeatMs: number
  readonly redisDelayMs: readonly [number, number]
  /** Redis refuses INFO, so the kit cannot see that another server, or one with other data, answers. */
  readonly refusesInfo: boolean
  /** Requests have a session, which may expire or be revoked. */
  readonly sessions: boolean
  readonly stream: StreamPlan
  readonly clients: readonly ClientPlan[]
  readonly actions: readonly Action[]
  /** How the channels end after that; `undefined`: they do not. */
  readonly ending: Ending | undefined
}

interface Ending {
  /** The process that ends them. */
  readonly process: number
  /** Publications and faults around that time. `at`: after the first of them may happen. */
  readonly actions: readonly Action[]
}

const REFUSED = ['publish', 'subscribe', 'xadd', 'hset', 'set', 'evalsha', 'xrange', 'xdel', 'pexpire', 'hmget']

/** What comes together in a share of the worlds, because it meets too seldom by chance. */
interface Theme {
  readonly faults: readonly Action['do'][]
  readonly world?: Partial<Pick<Scenario, 'historySize' | 'tailEntries' | 'redisDelayMs'>>
  readonly stream?: Partial<StreamPlan>
  readonly client?: Partial<ClientPlan>
  /** Data of some events, in bytes. */
  readonly largeBytes?: number
  /** Requests have a session, and sessions are revoked. */
  readonly sessions?: boolean
  /** The first clients are tabs that share a stream. */
  readonly tabs?: boolean
}

const THEMES: readonly Theme[] = [
  // Connections to Redis that look open and are dead.
  { faults: ['vanishRedis', 'vanishRedis', 'killSubscribers', 'crash'] },
  // Events that arrive while the log cannot be read, more than a process keeps.
  {
    faults: ['holdRedis', 'killCommands', 'refuse', 'cutRedis'],
    client: { splitBytes: 0, bufferBytes: 100_000 },
    largeBytes: 400_000,
  },
  // Readers that stay behind what the log keeps.
  {
    faults: ['pauseClient', 'pauseClient', 'leaveClient', 'trim', 'removeEntry'],
    world: { historySize: 3, tailEntries: 0 },
    stream: { queuePolicy: 'replay', pacing: { capacity: 2, refillPerSecond: 3 } },
    client: { bufferBytes: 300, earliest: true },
  },
  // Logs that are replaced and return.
  { faults: ['restoreRedis', 'restoreRedis', 'emptyRedis', 'deleteKey', 'crash', 'saveRedis'] },
  // Revocations and expiries that other processes must find by themselves.
  {
    faults: ['killSubscribers', 'holdRedis', 'cutRedis', 'pauseRedis'],
    sessions: true,
    client: { polls: 0.3, isKit: false },
  },
  // Logs that are replaced while processes and readers read them.
  {
    faults: ['killSubscribers', 'cutRedis', 'flushAll', 'flushAll', 'deleteKey'],
    world: { tailEntries: 0, redisDelayMs: [0, 200] },
  },
  // Tabs that come and go, with logs that keep little.
  {
    faults: ['leaveClient', 'leaveClient', 'leaveClient', 'pauseClient', 'cutClient', 'close'],
    world: { historySize: 0 },
    tabs: true,
  },
  // Acknowledgements that are lost on their way to another process.
  {
    faults: ['killSubscribers', 'holdRedis', 'cutRedis', 'pauseRedis', 'refuse'],
    stream: { queuePolicy: 'replay', maxAgeMs: 0 },
    client: { isKit: true, window: 2, polls: 0, sessionMs: undefined },
  },
]

/** The time during which actions happen, in ms. */
export const ACTIVE_MS = 10_000

export function createScenario(seed: number): Scenario {
  const random = new Random(seed)
  const embedded = random.chance(0.15)
  const processes = embedded ? 1 : random.pick([1, 2, 2, 2, 3])
  const channels = ['a', 'b', 'c'].slice(0, 1 + random.below(3))
  const delays: readonly (readonly [number, number])[] = [
    [0, 1],
    [0, 5],
    [1, 30],
    [0, 200],
  ]
  const theme = embedded || !random.chance(0.3) ? undefined : random.pick(THEMES)
  const sessions = theme === undefined ? random.chance(0.2) : theme.sessions === true
  const stream = { ...streamPlanOf(random), ...theme?.stream }
  const hasTabs = theme === undefined ? !sessions && random.chance(0.15) : theme.tabs === true
  const tabs = hasTabs ? 2 + random.below(2) : 0
  const plans = Array.from({ length: 1 + random.below(4) }, () => {
    const count = random.chance(0.7) ? 1 : 1 + random.below(channels.length)
    const first = random.below(channels.length - count + 1)
    return {
      channels: channels.slice(first, first + count),
      isKit: !sessions && random.chance(0.3),
      isTab: false,
      polls: random.pick([0, 0, 0, 0.3, 1]),
      window: stream.queuePolicy === 'replay' && random.chance(0.2) ? 1 + random.below(20) : undefined,
      earliest: random.chance(0.3),
      bufferBytes: random.pick([300, 2000, 100_000]),
      delayMs: random.pick(delays),
      splitBytes: random.chance(0.1) ? 1 + random.below(50) : 0,
      sessionMs: sessions && random.chance(0.5) ? 2500 + random.below(6000) : undefined,
      ...((theme?.largeBytes !== undefined || random.chance(0.7)) && theme?.client),
    }
  })
  // Tabs have the same URL and options, and each its own network.
  const clients: readonly ClientPlan[] = plans
    .map((plan, i) => (i < tabs ? { ...plan, ...tabPlanOf(plans[0] as ClientPlan) } : plan))
    .concat(tabs > plans.length ? [{ ...(plans[0] as ClientPlan), ...tabPlanOf(plans[0] as ClientPlan) }] : [])
  const base = {
    seed,
    embedded,
    processes,
    channels,
    historySize: random.pick([0, 3, 20, 2000, 2000, 2000]),
    tailEntries: random.pick([0, 3, 1024, 1024]),
    tailBytes: random.pick([0, 500, 262_144, 262_144]),
    lingerMs: random.pick([0, 500, 3000]),
    probeMs: random.pick([1000, 5000, 5000]),
    commandTimeoutMs: random.pick([500, 2000, 2000]),
    heartbeatMs: random.pick([2000, 10_000]),
    redisDelayMs: random.pick(delays),
    refusesInfo: random.chance(0.05),
    sessions,
    stream,
    clients,
    ...theme?.world,
  }
  const actions = actionsOf(random, base, theme)
  return { ...base, actions, ending: random.chance(0.3) ? endingOf(random, base) : undefined }
}

/** With `from=earliest` a tab that is ahead is not told of what the log lost before the leader's first event. */
function tabPlanOf({ channels, polls }: ClientPlan) {
  return { channels, earliest: false, polls, isKit: true, isTab: true, window: undefined }
}

function streamPlanOf(random: Random): StreamPlan {
  return {
    queuePolicy: random.chance(0.8)
      ? 'replay'
      : random.pick(['drop-newest', 'drop-oldest', 'drop-random', 'coalesce', 'disconnect']),
    queueEvents: random.pick([0, 2, 256]),
    maxAgeMs: random.chance(0.15) ? 1000 + random.below(5000) : 0,
    pacing: random.chance(0.15) ? { capacity: 1 + random.below(5), refillPerSecond: 2 + random.below(50) } : undefined,
    polling: random.chance(0.2),
  }
}

type Base = Omit<Scenario, 'actions' | 'ending'>

/** The channels end 200 ms after this time begins, in ms. */
export const ENDING_MS = 200
/** What loses no entries: every client must learn of the end. */
const ENDING_FAULTS: readonly Action['do'][] = [
  ...(['cutClient', 'vanishClient', 'pauseClient', 'flushScripts', 'cutRedis', 'killSubscribers'] as const),
  ...(['killCommands', 'holdRedis', 'vanishRedis', 'pauseRedis'] as const),
]

function endingOf(random: Random, { processes, channels, clients, embedded }: Base): Ending {
  const faults = faultsOf(random, processes, channels, clients.length, embedded, false)
  const kinds = faults.filter((fault) => ENDING_FAULTS.includes(fault(0).do))
  const at = (): number => random.below(2 * ENDING_MS)
  const actions: Action[] = Array.from({ length: random.below(4) }, () => random.pick(kinds)(at()))
  for (let i = random.below(8); i > 0; i--) {
    actions.push({
      at: random.chance(0.5) ? at() : ENDING_MS - random.below(20),
      do: 'publish',
      process: random.below(processes),
      channel: random.pick(channels),
      count: 1 + random.below(2),
      pad: 0,
    })
  }
  return { process: random.below(processes), actions }
}

function actionsOf(
  random: Random,
  { processes, channels, clients, embedded, sessions, refusesInfo }: Base,
  theme: Theme | undefined,
): readonly Action[] {
  const time = (): number => Math.round(random.next() * ACTIVE_MS)
  // Published in bursts, so that events and faults meet.
  const burstCount = 1 + random.below(4)
  const bursts = Array.from({ length: burstCount }, time)
  const publishAt = (): number => (random.chance(0.7) ? random.pick(bursts) + random.below(100) : time())
  const actions: Action[] = Array.from({ length: 3 + random.below(25) }, () => ({
    at: publishAt(),
    do: 'publish',
    process: random.below(processes),
    channel: random.pick(channels),
    count: random.chance(0.75) ? 1 : 1 + random.below(6),
    pad: random.chance(0.9) ? random.below(80) : random.below(theme?.largeBytes ?? 3000),
    ...(random.chance(0.15) && { key: true }),
    ...(random.chance(0.05) && { ephemeral: true }),
    ...(random.chance(0.15) && { everywhere: true }),
  }))
  for (let i = sessions ? random.below(theme === undefined ? 3 : 6) : 0; i > 0; i--) {
    const at = random.chance(0.5) ? random.pick(bursts) + random.below(100) : time()
    actions.push({ at, do: 'revoke', process: random.below(processes), client: random.below(clients.length) })
  }
  const kinds = kindsOf(random, faultsOf(random, processes, channels, clients.length, embedded, refusesInfo), theme)
  const count = kinds.length === 0 ? 0 : random.below(7)
  for (let i = 0; i < count; i++) {
    const at = random.chance(0.5) ? random.pick(bursts) + random.below(200) : time()
    const action = random.pick(kinds)(at)
    if (action.do === 'restoreRedis') actions.push({ at: Math.max(0, at - random.below(3000)), do: 'saveRedis' })
    actions.push(action)
  }
  return actions.map((action) => ({ ...action, at: Math.min(action.at, ACTIVE_MS) })).sort((a, b) => a.at - b.at)
}

/** A few kinds at a time find more than all of them. */
function kindsOf(random: Random, faults: readonly Fault[], theme: Theme | undefined): readonly Fault[] {
  if (theme === undefined) return faults.filter(() => random.chance(0.3))
  return theme.faults.flatMap((kind) => faults.filter((fault) => fault(0).do === kind))
}

type Fault = (at: number) => Action

function faultsOf(
  random: Random,
  processes: number,
  channels: readonly string[],
  clients: number,
  embedded: boolean,
  refusesInfo: boolean,
): readonly Fault[] {
  const process = (): number => random.below(processes)
  const client = (): number => random.below(clients)
  const channel = (): string => random.pick(channels)
  const links = (): Links => random.pick(['all', 'commands', 'subscribers'] as const)
  const ms = (most: number): number => random.below(most)
  const ofClients: readonly Fault[] = [
    (at) => ({ at, do: 'cutClient', client: client() }),
    (at) => ({ at, do: 'vanishClient', client: client() }),
    (at) => ({ at, do: 'pauseClient', client: client(), ms: ms(5000) }),
    (at) => ({ at, do: 'leaveClient', client: client(), ms: ms(5000) }),
    (at) => ({ at, do: 'crash', process: process(), ms: ms(3000) }),
    (at) => ({ at, do: 'close', process: process(), windowMs: random.pick([0, 1000]), ms: ms(3000) }),
  ]
  if (embedded) return ofClients
  return [
    ...ofClients,
    (at) => ({ at, do: 'pauseRedis', ms: ms(6000) }),
    (at) => ({ at, do: 'restartRedis', ms: ms(1500) }),
    (at) => ({ at, do: 'emptyRedis', ms: ms(1500) }),
    // Without INFO nothing shows that a log was restored, unless the process knows a later entry.
    ...(refusesInfo ? [] : [(at: number): Action => ({ at, do: 'restoreRedis', ms: ms(1500) })]),
    (at) => ({ at, do: 'flushScripts' }),
    (at) => ({ at, do: 'flushAll' }),
    (at) => ({ at, do: 'cutRedis', process: process(), links: links() }),
    (at) => ({ at, do: 'killSubscribers' }),
    (at) => ({ at, do: 'killCommands' }),
    (at) => ({ at, do: 'holdRedis', process: process(), links: links(), ms: ms(4000) }),
    (at) => ({ at, do: 'vanishRedis', process: process(), links: links() }),
    (at) => ({ at, do: 'refuse', command: random.pick(REFUSED), ms: ms(3000) }),
    (at) => ({ at, do: 'trim', channel: channel(), count: random.below(5) }),
    (at) => ({ at, do: 'removeEntry', channel: channel(), back: random.below(5) }),
    (at) => ({ at, do: 'deleteKey', channel: channel(), key: random.pick(['s', 'm'] as const) }),
  ]
}
