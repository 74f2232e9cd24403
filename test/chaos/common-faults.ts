/** The faults that any arrangement of Redis servers can have: commands of an administrator, and a bad network. */
import type { TcpProxy } from '../helpers/tcp-proxy.js'
import type { Random } from '../proof/random.js'
import { type Fault, pause, type Setting } from './topology.js'

/** Sends a command to servers. */
type Send = (name: string, ...args: readonly (string | number)[]) => Promise<unknown>

export interface Servers {
  /** To all servers that have their own keys. */
  readonly masters: Send
  /** To all servers. */
  readonly all: Send
  /** To the master of a key. */
  of(key: string): Send
}

async function allowEverything({ all }: Servers): Promise<void> {
  await all('ACL', 'SETUSER', 'kit', 'allchannels', '+@all')
}

/** Undoes the remaining effects of `serverFaults`. */
export async function calmServers(servers: Servers): Promise<void> {
  await allowEverything(servers)
  await servers.all('CONFIG', 'SET', 'maxmemory', '0')
  await servers.all('CLIENT', 'UNPAUSE')
}

export function serverFaults(servers: Servers, { random, channels }: Setting): Readonly<Record<string, Fault>> {
  const { masters, all, of } = servers
  const keyOf = (part: string) => `sse:{${random.pick(channels)}}:${part}`
  const killType = (type: string) => masters('CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes')
  const rules = 'resetchannels -publish -subscribe -xadd -eval -evalsha -hset -xrange -info -xdel'.split(' ')
  return {
    killSubscribers: burst(random, () => killType('pubsub')),
    killClients: burst(random, () => killType('normal')),
    killAll: burst(random, async () => {
      await killType('pubsub')
      await killType('normal')
    }),
    acl: {
      async strike() {
        await all('ACL', 'SETUSER', 'kit', random.pick(rules), ...(random.chance(0.2) ? ['-xdel', '-xsetid'] : []))
        await pause(random, 200, 4000)
        await allowEverything(servers)
      },
    },
    scriptFlush: burst(random, () => all('SCRIPT', 'FLUSH')),
    flushAll: command(() => masters('FLUSHALL')),
    trim: command(() => {
      const key = keyOf('s')
      return of(key)('XTRIM', key, 'MAXLEN', random.below(20))
    }),
    delete: {
      async strike() {
        const key = keyOf('s')
        const entries = (await of(key)('XRANGE', key, '-', '+')) as [string, unknown][] | undefined
        if (!Array.isArray(entries) || entries.length === 0) return
        for (let i = 0; i < 5; i++) await of(key)('XDEL', key, random.pick(entries)[0])
      },
    },
    evict: command(() => {
      const key = keyOf(random.pick(['s', 'm']))
      return of(key)('DEL', key)
    }),
    smallBuffers: setting(random, [1000, 5000], all, 'client-output-buffer-limit', [
      'pubsub 20kb 0 0',
      'pubsub 32mb 8mb 60',
    ]),
    fullMemory: setting(random, [500, 3000], masters, 'maxmemory', ['1mb', '0']),
    pauseWrites: command(() => masters('CLIENT', 'PAUSE', 500 + random.below(3500), 'WRITE')),
    pauseAll: command(() => masters('CLIENT', 'PAUSE', 500 + random.below(3500), 'ALL')),
  }
}

/** @param proxies between the second process and the servers */
export function networkFaults(proxies: readonly TcpProxy[], random: Random): Readonly<Record<string, Fault>> {
  const each = (act: (proxy: TcpProxy) => void): void => {
    for (const proxy of proxies) act(proxy)
  }
  const cut = () => each((proxy) => proxy.breakConnections())
  return {
    cut: burst(random, async () => cut()),
    halfClose: burst(random, async () => each((proxy) => proxy.halfClose())),
    truncate: burst(random, async () => each((proxy) => proxy.truncateAnswers())),
    freeze: command(async () => each((proxy) => proxy.freeze())),
    dropAnswers: {
      async strike() {
        each((proxy) => proxy.dropAnswers())
        await pause(random, 200, 3000)
        cut()
      },
    },
    hold: {
      async strike() {
        const held = proxies.map((proxy) => proxy.holdRequests())
        await pause(random, 50, 3000)
        if (random.chance(0.5)) cut()
        await pause(random, 0, 2000)
        for (const { release } of held) release()
      },
    },
    splitBytes: {
      async strike() {
        const pieces = () => 1 + random.below(random.chance(0.7) ? 4 : 400)
        const delays = () => (random.chance(0.02) ? random.below(40) : 0)
        each((proxy) => proxy.splitNewConnections(pieces, delays))
        cut()
        await pause(random, 500, 3000)
        each((proxy) => proxy.splitNewConnections(undefined))
        cut()
      },
    },
  }
}

function command(act: () => Promise<unknown>): Fault {
  return {
    async strike() {
      await act()
    },
  }
}

function burst(random: Random, act: () => Promise<unknown>): Fault {
  return {
    async strike() {
      for (let i = 1 + random.below(12); i > 0; i--) {
        await act()
        await pause(random, 0, 200)
      }
    },
  }
}

/** Sets a harmful value of a setting for some time. */
function setting(
  random: Random,
  [least, most]: readonly [number, number],
  send: Send,
  name: string,
  [bad, good]: readonly [string, string],
): Fault {
  return {
    async strike() {
      await send('CONFIG', 'SET', name, bad)
      await pause(random, least, most)
      await send('CONFIG', 'SET', name, good)
    },
  }
}
