import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { eventually } from './eventually.js'
import { freePort } from './free-port.js'
import { RedisServer } from './redis-server.js'

/** A real master and its replica, monitored by a real sentinel, which promotes the replica when the master fails. */
export class RedisSentinel {
  readonly port: number
  readonly master: RedisServer
  readonly #replica: RedisServer
  readonly #stopSentinel: () => Promise<void>

  private constructor(port: number, master: RedisServer, replica: RedisServer, stopSentinel: () => Promise<void>) {
    this.port = port
    this.master = master
    this.#replica = replica
    this.#stopSentinel = stopSentinel
  }

  /** The master's name is `inbox`. */
  static async start(): Promise<RedisSentinel> {
    const master = await RedisServer.start(['--repl-diskless-sync-delay', '0'])
    const replica = await RedisServer.start(['--replicaof', `127.0.0.1 ${master.port}`])
    const port = await freePort()
    const folder = await mkdtemp(join(tmpdir(), 'sse-sentinel-'))
    const file = join(folder, 'sentinel.conf')
    // The sentinel stores its state in its configuration file.
    await writeFile(
      file,
      [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${folder}`,
        `sentinel monitor inbox 127.0.0.1 ${master.port} 1`,
        'sentinel down-after-milliseconds inbox 1000',
        'sentinel failover-timeout inbox 5000',
      ].join('\n'),
    )
    const child = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' })
    const kill = () => child.kill('SIGKILL')
    process.once('exit', kill)
    const sentinel = new RedisSentinel(port, master, replica, async () => {
      process.off('exit', kill)
      const ended = once(child, 'exit')
      kill()
      await ended
      await rm(folder, { recursive: true, force: true })
    })
    try {
      await sentinel.#ask(async (admin) => {
        // A sentinel whose process has stood still for 2 s, as on a busy machine, fails nothing over for the next 30 s.
        // Redis 6.2 has no such setting.
        await admin.call('SENTINEL', 'DEBUG', 'tilt-trigger', 600_000).catch(() => undefined)
        await eventually(
          async () => ((await admin.call('SENTINEL', 'REPLICAS', 'inbox')) as unknown[]).length === 1,
          20_000,
        )
      })
      await eventually(async () => (await replicationOf(replica)).includes('master_link_status:up'))
    } catch (error) {
      await sentinel.stop()
      throw error
    }
    return sentinel
  }

  /** Kills the master, as in a crash. Resolves when the replica is the master and the sentinel reports that. */
  async crash(): Promise<void> {
    await this.master.kill()
    await eventually(async () => (await replicationOf(this.#replica)).includes('role:master'), 30_000)
    await this.#ask(async (admin) => {
      const address = () => admin.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'inbox') as Promise<string[]>
      await eventually(async () => (await address())[1] === String(this.#replica.port), 30_000)
    })
  }

  async stop(): Promise<void> {
    await this.#stopSentinel()
    await Promise.all([this.master.stop(), this.#replica.stop()])
  }

  async #ask(questions: (admin: Redis) => Promise<void>): Promise<void> {
    const admin = new Redis(this.port)
    // The sentinel may not listen yet.
    admin.on('error', () => undefined)
    try {
      await questions(admin)
    } finally {
      admin.disconnect()
    }
  }
}

async function replicationOf({ url }: RedisServer): Promise<string> {
  const admin = new Redis(url)
  const info = await admin.info('replication')
  admin.disconnect()
  return info
}
