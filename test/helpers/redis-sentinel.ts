import { Redis } from 'ioredis'
import { eventually } from './eventually.js'
import { RedisServer } from './redis-server.js'

export interface SentinelOptions {
  /** @defaultValue 1 */
  readonly replicas?: number
  /** More than half of them must agree that the master is down. @defaultValue 1 */
  readonly sentinels?: number
  /** Further redis-server arguments of the master and its replicas. */
  readonly args?: readonly string[]
}

/** A real master and its replicas, monitored by real sentinels, which promote a replica when the master fails. */
export class RedisSentinel {
  /** The master's name. */
  static readonly NAME = 'inbox'
  /** The first one is the master until the sentinels replace it. */
  readonly servers: readonly RedisServer[]
  readonly sentinels: readonly RedisServer[]

  private constructor(servers: readonly RedisServer[], sentinels: readonly RedisServer[]) {
    this.servers = servers
    this.sentinels = sentinels
  }

  static async start({ replicas = 1, sentinels = 1, args = [] }: SentinelOptions = {}): Promise<RedisSentinel> {
    const common = ['--repl-diskless-sync-delay', '0', ...args]
    const servers = [await RedisServer.start(common)]
    const monitors: RedisServer[] = []
    const sentinel = new RedisSentinel(servers, monitors)
    const { port } = sentinel.master
    const name = RedisSentinel.NAME
    try {
      for (let i = 0; i < replicas; i++) {
        servers.push(await RedisServer.start(['--replicaof', `127.0.0.1 ${port}`, ...common]))
      }
      for (let i = 0; i < sentinels; i++) {
        const lines = [
          `sentinel monitor ${name} 127.0.0.1 ${port} ${(sentinels >> 1) + 1}`,
          `sentinel down-after-milliseconds ${name} 1000`,
          `sentinel failover-timeout ${name} 5000`,
        ]
        const monitor = await RedisServer.startSentinel(lines)
        monitors.push(monitor)
        await neverTilt(monitor)
      }
      await sentinel.agree()
    } catch (error) {
      await sentinel.stop()
      throw error
    }
    return sentinel
  }

  /** The first master. */
  get master(): RedisServer {
    return this.servers[0] as RedisServer
  }

  /** The port of the first sentinel. */
  get port(): number {
    return (this.sentinels[0] as RedisServer).port
  }

  /** Kills the first master, as in a crash. Resolves when the first sentinel reports a replica as the master. */
  async crash(): Promise<void> {
    await this.master.kill()
    await eventually(async () => {
      const port = await this.#reportedBy(this.sentinels[0] as RedisServer)
      const master = this.servers.slice(1).find((server) => server.port === port)
      return master !== undefined && (await roleOf(master)).role === 'master'
    }, 30_000)
  }

  /**
   * Waits until all sentinels report the same master, and all other servers are its connected replicas.
   * @throws Error after `withinMs`
   */
  async agree(withinMs = 20_000): Promise<RedisServer> {
    let master: RedisServer | undefined
    await eventually(async () => {
      const [port, ...others] = await Promise.all(this.sentinels.map((sentinel) => this.#reportedBy(sentinel)))
      master = this.servers.find((server) => server.port === port)
      if (master === undefined || others.some((other) => other !== port)) return false
      const replicas = this.servers.filter((server) => server !== master)
      const [head, ...rest] = await Promise.all([master, ...replicas].map(roleOf))
      if (head?.role !== 'master' || rest.some(({ linkedTo }) => linkedTo !== port)) return false
      const counts = await Promise.all(this.sentinels.map((sentinel) => this.#usableReplicas(sentinel)))
      return counts.every((count) => count === replicas.length)
    }, withinMs)
    return master as RedisServer
  }

  async stop(): Promise<void> {
    await Promise.all([...this.sentinels, ...this.servers].map((server) => server.stop()))
  }

  /** The port of the master that a sentinel reports. */
  async #reportedBy(sentinel: RedisServer): Promise<number | undefined> {
    const address = await ask(sentinel, (it) => it.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', RedisSentinel.NAME))
    return Array.isArray(address) ? Number(address[1]) : undefined
  }

  /** How many replicas a sentinel could promote now. */
  async #usableReplicas(sentinel: RedisServer): Promise<number> {
    const replicas = await ask(sentinel, (it) => it.call('SENTINEL', 'REPLICAS', RedisSentinel.NAME))
    const flags = (replicas as string[][] | undefined)?.map((fields) => fields[fields.indexOf('flags') + 1])
    return flags?.filter((flag) => flag === 'slave').length ?? 0
  }
}

/**
 * Disables tilt: a sentinel that was stopped for 2 s, as on a busy machine, starts no failover for 30 s. Redis 6.2 has
 * no such setting.
 */
export async function neverTilt(sentinel: RedisServer): Promise<void> {
  await ask(sentinel, (it) => it.call('SENTINEL', 'DEBUG', 'tilt-trigger', 600_000))
}

/** @returns the role of a server, and the port of the master that it is connected to as a replica */
async function roleOf(server: RedisServer): Promise<{ readonly role?: string; readonly linkedTo?: number }> {
  const [role, , port, link] = ((await ask(server, (it) => it.call('ROLE'))) ?? []) as unknown[]
  if (role === 'master') return { role }
  return link === 'connected' ? { role: 'slave', linkedTo: Number(port) } : {}
}

/** `undefined`: the server does not answer, or refuses. */
async function ask(server: RedisServer, question: (admin: Redis) => Promise<unknown>): Promise<unknown> {
  const admin = new Redis(server.url, { retryStrategy: null, maxRetriesPerRequest: 0, commandTimeout: 2000 })
  admin.on('error', () => undefined)
  try {
    return await question(admin)
  } catch {
    return undefined
  } finally {
    admin.disconnect()
  }
}
